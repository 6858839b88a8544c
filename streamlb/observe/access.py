"""The access log of a worker: a line per request, TCP connection and UDP flow.

What lives here: `AccessLog`, which follows the configuration, filters records, and has them shaped and written.
What must not: how a line looks (`access_json.py`, `access_clf.py`), how it gets into a file (`writer.py`). Given
records by `proxy/ledger.py`; made by `process/worker.py`. Specified by Traefik's page on access logs, and docs/logs.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from streamlb.config.observation import AccessLogFields
from streamlb.observe.access_clf import GenericLines, TraefikLines
from streamlb.observe.access_json import JsonLines
from streamlb.observe.access_text import SECOND, now
from streamlb.observe.spans import Spans
from streamlb.observe.writer import CLOSE_TIMEOUT, Writer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from streamlb.config.model import Config
    from streamlb.config.observation import AccessLog as Options
    from streamlb.config.observation import AccessLogFilters
    from streamlb.observe.records import HttpRecord, TcpRecord, UdpRecord
    from streamlb.observe.spans import Span
    from streamlb.routing.router import Route

INTERNAL: Final = "@internal"
"""How the names of streamlb's own services end."""


class Lines(Protocol):
    """A shape of lines; `count` is the number of the conversation."""

    def http(self, record: HttpRecord, instant: int, count: int) -> bytes: ...
    def tcp(self, record: TcpRecord, instant: int, count: int) -> bytes: ...
    def udp(self, record: UdpRecord, instant: int, count: int) -> bytes: ...


class AccessLog:
    """Takes records, never waits, never raises. `on`: whether anybody reads them; nobody makes one else.

    dispatch: gets the spans of traces, as `Spans` says. tally: is told how many lines were `written` or `dropped`.
    count: conversations told of since the start, those that were filtered out among them.
    """

    __slots__ = (
        "_filters",
        "_hidden",
        "_lines",
        "_loop",
        "_options",
        "_quiet",
        "_spans",
        "_writer",
        "count",
        "on",
        "tally",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        dispatch: Callable[[list[Span], int], None] = lambda _spans, _lost: None,
    ) -> None:
        # worker
        self._loop = loop
        self._spans = Spans(loop, dispatch) if loop is not None else None
        self._writer: Writer | None = None
        self.tally: Callable[[str, int], None] = lambda _outcome, _count: None
        self.count = 0
        # snapshot
        self.on = False
        self._options: Options | None = None
        self._lines: Lines = GenericLines(AccessLogFields())
        self._filters: Filters | None = None
        self._hidden: frozenset[str] = frozenset()
        self._quiet: frozenset[str] = frozenset()

    def adopt(self, config: Config) -> None:
        """Another configuration is served from now on."""
        options = config.access_log
        self._quiet = frozenset(
            name for name, each in config.entry_points.items() if not each.observability.access_logs
        )
        self.on = self._loop is not None and (options is not None or config.tracing is not None)
        if options is None or self._loop is None:
            self._retire()
            return
        if options != self._options:
            self._lines = _SHAPES[options.format](options.fields)
            self._filters = Filters.of(options.filters)
            writer = self._writer
            if writer is None or (writer.path, writer.said) != (options.file_path, options.buffering_size):
                self._retire()
                self._writer = Writer(self._loop, options.file_path, options.buffering_size, self.tally)
        self._options = options
        routers = {} if options.add_internals else config.http.routers
        self._hidden = frozenset(name for name, router in routers.items() if router.service.endswith(INTERNAL))

    def reopen(self) -> None:
        """Write to whatever has the file's name from now on."""
        if self._writer is not None:
            self._writer.reopen()

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Write what there is: the process ends."""
        self.on = False
        if self._spans is not None:
            self._spans.flush()
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close(timeout)

    def _retire(self) -> None:
        writer, self._writer = self._writer, None
        self._options = None
        if writer is not None:
            writer.retire()

    @property
    def written(self) -> int:
        """Lines that this file has got from us."""
        return self._writer.written if self._writer is not None else 0

    @property
    def dropped(self) -> int:
        """Lines that it has not, for it did not take them in time."""
        return self._writer.dropped if self._writer is not None else 0

    # --- records ---------------------------------------------------------------------------------------------------

    def http(self, record: HttpRecord) -> None:
        """A request is over. Hot."""
        self.count += 1
        if record.head is not None and record.head.marks is not None:
            self._trace(record)
        if self._writer is not None and self._wants(record.route, record.entry_point):
            filters = self._filters
            if filters is None or filters.accept(record.duration, record.retries, record.status):
                self._write(self._lines.http(record, now(), self.count))

    def _trace(self, record: HttpRecord) -> None:
        trace = record.head.marks.trace if record.head is not None else None
        wanted = record.route is None or record.route.observed is None or record.route.observed.tracing
        if trace is not None and trace.sampled and wanted and self._spans is not None:
            self._spans.add(record, now())

    def tcp(self, record: TcpRecord) -> None:
        """A connection is over."""
        self.count += 1
        if self._writer is not None and self._wants(record.route, record.entry_point):
            filters = self._filters
            if filters is None or filters.accept(record.duration, record.retries):
                self._write(self._lines.tcp(record, now(), self.count))

    def udp(self, record: UdpRecord) -> None:
        """A flow is over."""
        self.count += 1
        if self._writer is not None and self._wants(record.route, record.entry_point):
            filters = self._filters
            if filters is None or filters.accept(record.duration):
                self._write(self._lines.udp(record, now() - int(record.ago * SECOND), self.count))

    def _wants(self, route: Route | None, entry_point: str) -> bool:
        """Whether anything is to be told of a router, or of what no router has taken."""
        if route is None:
            return entry_point not in self._quiet
        if route.observed is not None and not route.observed.access_logs:
            return False
        return route.name not in self._hidden

    def _write(self, line: bytes) -> None:
        if self._writer is not None:
            self._writer.write(line)


class Filters:
    """Who is told of: whom any of the filters accepts. min_duration: seconds; statuses: ranges, both ends included."""

    __slots__ = ("_min_duration", "_retries", "_statuses")

    def __init__(self, options: AccessLogFilters) -> None:
        said = (text.partition("-") for text in options.status_codes)
        ranges = [(int(first), int(last or first)) for first, _, last in said]
        self._statuses = frozenset(status for first, last in ranges for status in range(first, last + 1))
        self._retries = options.retry_attempts
        self._min_duration = options.min_duration or float("inf")

    @classmethod
    def of(cls, options: AccessLogFilters) -> Filters | None:
        """None where nothing is filtered."""
        is_said = options.status_codes or options.retry_attempts or options.min_duration
        return cls(options) if is_said else None

    def accept(self, duration: float, retries: int = 0, status: int = 0) -> bool:
        return status in self._statuses or (self._retries and retries > 0) or duration > self._min_duration


_SHAPES: Final[dict[str, Callable[[AccessLogFields], Lines]]] = {
    "common": TraefikLines,
    "genericCLF": GenericLines,
    "json": JsonLines,
}
