"""Spans of sampled requests, on their way to the process that exports them.

What lives here: `Span`, what is told of a request, and `Spans`, which collects them. What must not: the exporter
(`process/otlp.py`), whether a request is sampled (`proxy/marking.py`). Fed by `access.py` with the ledger's records.
Specified by OpenTelemetry's semantic conventions for HTTP servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from streamlb.config.observation import KeepDropRedact
from streamlb.observe.access_fields import Parameters
from streamlb.observe.access_text import SECOND, sentence, text

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from streamlb.observe.records import HttpRecord

MAX_SPANS: Final = 2_048
"""Spans collected between two dispatches; those beyond are counted and forgotten."""
DISPATCH_INTERVAL: Final = 1.0
"""Seconds a span waits at most before it is handed over."""


class Span(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A request. Identities are hexadecimal, parent_id is empty where the trace begins here; instants in nanoseconds
    since 1970. target: its parameters redacted. server: the address; empty with service where nobody was asked."""

    trace_id: str
    span_id: str
    parent_id: str
    start: int
    end: int
    entry_point: str
    router: str
    service: str
    server: str
    client: str
    method: str
    scheme: str
    host: str
    target: str
    minor: int
    user_agent: str
    status: int
    reason: str


class Spans:
    """Collects the spans of one worker. dispatch: gets them, and how many were lost."""

    __slots__ = ("_dispatch", "_loop", "_lost", "_parameters", "_spans", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, dispatch: Callable[[list[Span], int], None]) -> None:
        self._loop = loop
        self._dispatch = dispatch
        self._parameters = Parameters(KeepDropRedact(default_mode="redact"))
        self._spans: list[Span] = []
        self._lost = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, record: HttpRecord, now: int) -> None:
        """A sampled request is over."""
        if self._timer is None:
            self._timer = self._loop.call_later(DISPATCH_INTERVAL, self.flush)
        if len(self._spans) >= MAX_SPANS:
            self._lost += 1
        else:
            self._spans.append(self._made(record, now))

    def _made(self, record: HttpRecord, now: int) -> Span:
        head, server = record.head, record.server
        assert head is not None, "a request that could not be read has no trace"
        trace = head.marks.trace
        return Span(
            trace.trace_id.decode(),
            trace.span_id.decode(),
            trace.parent_id.decode(),
            now - int(record.duration * SECOND),
            now,
            record.entry_point,
            record.route.name if record.route is not None else "",
            server.service if server is not None else "",
            f"{server.host}:{server.port}" if server is not None else "",
            record.client,
            text(head.method),
            "https" if record.secure else "http",
            text(head.fields.host),
            text(self._parameters.shown(head.target)),
            head.minor,
            text(b", ".join(head.values(b"user-agent"))),
            record.status,
            sentence(record.reason),
        )

    def flush(self) -> None:
        """Hand over what there is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        spans, lost = self._spans, self._lost
        if spans or lost:
            self._spans, self._lost = [], 0
            self._dispatch(spans, lost)
