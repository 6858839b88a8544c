"""What a reader of a connection's first bytes can say besides what it read.

What lives here: `Incomplete`, `Malformed`. What must not: any protocol (`clienthello.py`, `proxy_protocol.py`).
Readers of a preamble are asked again with all bytes so far, which are still the kernel's; outcomes are values, for
every one of them is an everyday thing.
"""

from __future__ import annotations

from typing import NamedTuple


class Incomplete(NamedTuple):
    """So far so good. needed: bytes there must be in all before it is worth looking again; always more than now."""

    needed: int


class Malformed(NamedTuple):
    """What began like it and cannot be it any more. reason: for an operator. alert: what TLS calls it, else 0."""

    reason: str
    alert: int = 0
