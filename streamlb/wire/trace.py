"""Trace context: which trace a request belongs to, and which span of it speaks to the server.

What lives here: `Trace`, `read`, which takes what a client sent only if it is right to the letter, and `render`.
What must not: randomness (identities come in as bytes), whether a trace is wanted. Called by `proxy/heads.py`.
Specified by W3C Trace Context, version 00.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

TRACEPARENT: Final = b"traceparent"
TRACESTATE: Final = b"tracestate"

MAX_STATE: Final = 512
"""Bytes of `tracestate` that are passed on at most (section 3.3.1.5); a longer one is dropped whole."""
MAX_MEMBERS: Final = 32

SAMPLED: Final = 1

_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[\x21-\x7e]*)?\Z")
_MEMBER = re.compile(
    rb"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    rb"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]\Z"
)
_NO_TRACE = b"0" * 32
_NO_SPAN = b"0" * 16


class Trace(NamedTuple):
    """trace_id, span_id, parent_id: lower-case hexadecimal; parent_id is empty where the trace begins here.

    sampled: whether somebody records it. state: the client's `tracestate`, checked, or empty.
    """

    trace_id: bytes
    span_id: bytes
    parent_id: bytes = b""
    sampled: bool = False
    state: bytes = b""


def read(parents: list[bytes], states: list[bytes], span_id: bytes) -> Trace | None:
    """The trace that a request's fields continue, with `span_id` for our part of it; None if they are not right.

    parents, states: the values of `traceparent` and `tracestate`, one per line.
    """
    if len(parents) != 1:
        return None
    found = _PARENT.match(parents[0])
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == b"ff" or trace_id == _NO_TRACE or parent_id == _NO_SPAN:
        return None
    if version == b"00" and more is not None:
        return None
    return Trace(trace_id, span_id, parent_id, bool(int(flags, 16) & SAMPLED), read_state(states))


def read_state(values: list[bytes]) -> bytes:
    """`tracestate` on one line, or nothing where it is not right."""
    joined = b",".join(values)
    if not joined or len(joined) > MAX_STATE:
        return b""
    members = [member for each in joined.split(b",") if (member := each.strip(b" \t"))]
    keys = {member.partition(b"=")[0] for member in members}
    if len(members) > MAX_MEMBERS or len(keys) < len(members):
        return b""
    return b",".join(members) if all(map(_MEMBER.match, members)) else b""


def render(trace: Trace) -> bytes:
    """The fields for the server, each with its CRLF."""
    flags = b"01" if trace.sampled else b"00"
    line = b"traceparent: 00-%b-%b-%b\r\n" % (trace.trace_id, trace.span_id, flags)
    return line + b"tracestate: %b\r\n" % trace.state if trace.state else line
