"""What a request is called on its way: its own number, and its place in a trace.

What lives here: `Marking`, of an entry point that wants either, and `Marks`, of one request.
What must not: the grammar of trace context (`wire/trace.py`), what is recorded of a trace. Called by `heads.py`.
Specified by W3C Trace Context; a request's number is streamlb's own (`http.requestId` of entry points).
"""

from __future__ import annotations

import re
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Final, NamedTuple

from streamlb.wire import trace

if TYPE_CHECKING:
    from streamlb.config.observation import Tracing
    from streamlb.config.static import EntryPoint
    from streamlb.wire.message import RequestFields, RequestHead
    from streamlb.wire.trace import Trace

GOOD_ID: Final = re.compile(rb"[0-9A-Za-z._~+/=@:-]{1,128}")
"""Numbers that are taken over from a trusted peer; any other is replaced."""


class Marks(NamedTuple):
    """lines: for the server, each with its CRLF. request_id: empty where there is none."""

    lines: bytes
    request_id: bytes
    trace: Trace | None


class Marking:
    """field: the name of the one with a request's number, or empty. rate: of the traces that begin here, how many are
    recorded, 0 to 1; None where there are no traces."""

    __slots__ = ("_bits", "_draw", "_field", "_names", "_rate", "_start")

    def __init__(self, field: str, rate: float | None) -> None:
        self._field = _plain(field.lower().encode())
        self._start = f"{field}: ".encode()
        self._rate = rate
        self._names = {self._field} if field else set[bytes]()
        if rate is not None:
            self._names |= {trace.TRACEPARENT, trace.TRACESTATE}
        source = Random(SystemRandom().getrandbits(256))
        self._bits, self._draw = source.getrandbits, source.random

    @classmethod
    def of(cls, options: EntryPoint, tracing: Tracing | None) -> Marking | None:
        """None where nobody wants any of it."""
        field = options.http.request_id
        return cls(field, tracing.sample_rate if tracing else None) if field or tracing else None

    def clear(self, fields: RequestFields, trusted: bool) -> None:
        """Take what the client said of it out of what the server gets, in every spelling that servers may mix up."""
        if not any(_plain(name) in self._names for name, _ in fields.pairs):
            return
        lines = fields.kept.split(b"\r\n")
        fields.kept = b"\r\n".join(line for line in lines if _plain(line.partition(b":")[0].lower()) not in self._names)
        if not trusted:
            fields.pairs = [pair for pair in fields.pairs if _plain(pair[0]) != self._field]

    def mark(self, head: RequestHead) -> None:
        """Give the request its marks; what untrusted clients said of a number was taken out before."""
        lines = request_id = b""
        context: Trace | None = None
        fields = head.fields
        if self._field:
            said = fields.values(self._field)
            request_id = said[0] if len(said) == 1 and GOOD_ID.fullmatch(said[0]) else b"%032x" % self._bits(128)
            lines = b"%b%b\r\n" % (self._start, request_id)
        if self._rate is not None:
            context = self._trace(fields, self._rate)
            lines += trace.render(context)
        head.mark(Marks(lines, request_id, context))

    def _trace(self, fields: RequestFields, rate: float) -> Trace:
        span_id = b"%016x" % (self._bits(64) or 1)
        parents = fields.values(trace.TRACEPARENT)
        if parents:
            found = trace.read(parents, fields.values(trace.TRACESTATE), span_id)
            if found is not None:
                return found
        return trace.Trace(b"%032x" % (self._bits(128) or 1), span_id, sampled=self._draw() < rate)


def _plain(name: bytes) -> bytes:
    """The name as servers see it that turn `-` into `_`."""
    return name.replace(b"_", b"-") if b"_" in name else name
