"""The shapes of what workers say of themselves when the control process asks.

What lives here: `ServerLoad`, `EntryPointLoad`, `Beat`. What must not: the engines, which only cost the control process
time at its start.
Written by `answers.py` and `pulse.py`, read by `desk.py`, `views.py` and `heartbeat.py`.
"""

from __future__ import annotations

import msgspec


class ServerLoad(msgspec.Struct, array_like=True):
    """One server in one worker. idle: connections kept for the next exchange.

    ejected: taken out for what clients' requests showed. up: whether it may be picked here. waiting: for a place at a
    server of its service.
    """

    protocol: str
    service: str
    server: str
    up: bool
    active: int
    total: int
    failures: int
    idle: int
    ejected: bool
    waiting: int


class EntryPointLoad(msgspec.Struct, array_like=True):
    """How many conversations an entry point has in one worker."""

    name: str
    active: int


class Beat(msgspec.Struct):
    """What a worker says of itself.

    lag: seconds the loop was late just now; worst: at most, since it was asked last. is_short: it cannot accept for
    want of descriptors or memory, which starting anew would not mend.
    """

    lag: float
    worst: float
    is_short: bool
