"""Spans on their way to a collector: OTLP over HTTP, in JSON.

What lives here: `Traces`, `Exporter` with its thread, and `render`, the message. What must not: which requests are
sampled. Fed by `process/control.py` with what workers tell. Specified by OTLP 1.x ("OTLP/HTTP" in JSON).
Nobody waits for a collector: what it does not take in time is counted and forgotten.
"""

from __future__ import annotations

import http.client
import logging
import ssl
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

import streamlb

if TYPE_CHECKING:
    from streamlb.config.observation import Tracing
    from streamlb.observe.spans import Span

MAX_WAITING: Final = 16_384
"""Spans that wait for the collector; the oldest give way to newer ones."""
MAX_BATCH: Final = 1_024
"""Spans in one message."""
TIMEOUT: Final = 10.0
"""Seconds the collector gets for an answer."""
RETRY_INTERVALS: Final = (1.0, 2.0, 5.0, 10.0)
"""Seconds between two tries to reach it; the last one again and again."""
CLOSE_TIMEOUT: Final = 2.0
"""Seconds the last spans get when the process ends."""
MAX_ANSWER: Final = 64 * 1024
"""Bytes of an answer that are read."""
RETRIED: Final = frozenset({429, 502, 503, 504})
"""Answers that mean "later" (OTLP, "Failures"); the spans of any other failure are forgotten."""

SERVER: Final = 2
ERROR: Final = 2

log = logging.getLogger(__name__)


class Exporter:
    """Sends spans to the collector of one configuration. exported, lost: spans since the start."""

    def __init__(self, options: Tracing) -> None:
        self.options = options
        self.exported = self.lost = 0
        self._waiting: deque[Span] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._trouble = ""
        self._connection: http.client.HTTPConnection | None = None
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def add(self, spans: list[Span], lost: int = 0) -> None:
        """Take spans; lost: how many more there were."""
        with self._changed:
            self._waiting.extend(spans)
            while len(self._waiting) > MAX_WAITING:
                self._waiting.popleft()
                lost += 1
            self.lost += lost
            self._changed.notify()

    def close(self, timeout: float = 0.0) -> None:
        """Send what there is, once, and end; wait for that at most so long."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if timeout:
            self._thread.join(timeout)

    # --- on the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        while batch := self._next():
            try:
                done = self._send(batch)
            except Exception as error:
                self._drop_connection()
                self._tell(str(error) or type(error).__name__)
                done = False
            if done:
                failures = 0
                continue
            with self._changed:
                self._waiting.extendleft(reversed(batch))
                if self._closing:
                    self.lost += len(self._waiting)
                    return
                self._pause(RETRY_INTERVALS[min(failures, len(RETRY_INTERVALS) - 1)])
            failures += 1
        self._drop_connection()

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._closing and (left := deadline - time.monotonic()) > 0:
            self._changed.wait(left)

    def _next(self) -> list[Span]:
        """Some spans; none when it is over."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_BATCH))]

    def _send(self, batch: list[Span]) -> bool:
        """Whether the collector is done with the batch, for better or worse."""
        parts = urlsplit(self.options.otlp.http.endpoint)
        if self._connection is None:
            self._connection = _connect(parts.scheme, parts.hostname or "", parts.port)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        fields = {"Content-Type": "application/json", "User-Agent": f"streamlb/{streamlb.__version__}"}
        self._connection.request("POST", path, render(batch, self.options.service_name),
                                 {**fields, **self.options.otlp.http.headers})  # fmt: skip
        answer = self._connection.getresponse()
        answer.read(MAX_ANSWER)
        if not answer.isclosed() or answer.will_close:
            self._drop_connection()
        if answer.status < 300:
            self.exported += len(batch)
            if self._trouble:
                self._trouble = ""
                log.info("the collector of traces takes them again")
            return True
        self._tell(f"it answers {answer.status} {answer.reason}")
        if answer.status in RETRIED:
            return False
        self.lost += len(batch)
        return True

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            log.warning("the collector of traces at %s takes none: %s", self.options.otlp.http.endpoint, trouble)

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class Traces:
    """Where spans go, if anywhere: an exporter for the configuration of now."""

    def __init__(self) -> None:
        self._exporter: Exporter | None = None

    def adopt(self, options: Tracing | None) -> None:
        """Another configuration is served from now on."""
        exporter = self._exporter
        if exporter is None or exporter.options != options:
            self.close(0.0)
            self._exporter = Exporter(options) if options is not None else None

    def add(self, spans: list[Span], lost: int) -> None:
        if self._exporter is not None:
            self._exporter.add(spans, lost)

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        exporter, self._exporter = self._exporter, None
        if exporter is not None:
            exporter.close(timeout)


def _connect(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, port, timeout=TIMEOUT)


# --- the message -----------------------------------------------------------------------------------------------------


def render(spans: list[Span], service_name: str) -> bytes:
    """An ExportTraceServiceRequest."""
    resource = {"attributes": _attributes({"service.name": service_name, "service.version": streamlb.__version__})}
    scope = {"name": "streamlb", "version": streamlb.__version__}
    told = [_span(span) for span in spans]
    return msgspec.json.encode(
        {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": told}]}]}
    )


def _span(span: Span) -> dict[str, Any]:
    path, _, query = span.target.partition("?")
    address, port = _split(span.host)
    peer, peer_port = _split(span.server)
    method = span.method if span.method in METHODS else "_OTHER"
    told = {
        "http.request.method": method,
        "http.request.method_original": span.method if method == "_OTHER" else "",
        "url.path": path,
        "url.query": query,
        "url.scheme": span.scheme,
        "server.address": address,
        "server.port": port,
        "network.protocol.name": "http",
        "network.protocol.version": f"1.{span.minor}",
        "client.address": span.client,
        "user_agent.original": span.user_agent,
        "http.response.status_code": span.status,
        "entry_point": span.entry_point,
        "traefik.router.name": span.router,
        "traefik.service.name": span.service,
        "network.peer.address": peer,
        "network.peer.port": peer_port,
        "streamlb.reason": span.reason,
    }
    made: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": f"{method} {span.router}" if span.router else method,
        "kind": SERVER,
        "startTimeUnixNano": str(span.start),
        "endTimeUnixNano": str(span.end),
        "attributes": _attributes(told),
        "status": {"code": ERROR} if span.status >= 500 else {},
    }
    if span.parent_id:
        made["parentSpanId"] = span.parent_id
    return made


METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})


def _split(address: str) -> tuple[str, int]:
    """Host and port; 0 where there is none."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and len(port) <= 5 and not host.endswith(":"):
        return host.removeprefix("[").removesuffix("]"), int(port)
    return address, 0


def _attributes(told: dict[str, Any]) -> list[dict[str, Any]]:
    """What there is, in protobuf's JSON: 64-bit integers are strings."""
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in told.items()
        if value
    ]
