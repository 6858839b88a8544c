"""Descriptors: how many there are, and how many a configuration may come to need.

What lives here: raising the limit, and the remark where it is too low. What must not: what happens when they run out
(`net/listener.py`). Called by `process/control.py` and `serving.py`. Specified by getrlimit(2), RLIMIT_NOFILE.
"""

from __future__ import annotations

import contextlib
import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlb.config.model import Config
    from streamlb.config.static import EntryPoint

PER_CONVERSATION = 2
"""A conversation over TCP has a client and a server; a UDP flow has a server."""
EXPECTED = 1_000
"""Connections at once that an entry point without a limit of its own should have room for."""
RESERVE = 100
"""Listening sockets, files, and what else a worker has open."""
FEW = 16_384
"""Descriptors of a process that can well run out."""


def raise_limit() -> None:
    """Every connection takes descriptors: use all the system lets us have; workers inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit() -> int:
    """Descriptors this process may have at once."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 2**31


def are_few() -> bool:
    """Whether it must be expected that they run out."""
    return limit() < FEW


def remark(config: Config, available: int) -> str:
    """What an operator should know about the descriptors of each worker; empty if there are enough."""
    needed = RESERVE + sum(map(_need, config.entry_points.values()))
    if available >= needed:
        return ""
    return (
        f"each worker may open {available} files, and this configuration may need {needed}: clients beyond that wait;"
        " raise it with LimitNOFILE= (systemd) or `ulimit -n`"
    )


def _need(entry_point: EntryPoint) -> int:
    if entry_point.kind == "udp":
        return entry_point.udp.max_flows
    return PER_CONVERSATION * (entry_point.transport.max_connections or EXPECTED)
