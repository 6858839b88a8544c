"""The access log of a worker: a line per request, TCP connection and UDP flow.

What lives here: `AccessLog`, which says what is wanted, and takes the records.
What must not: how a line looks, how it gets into a file. Given records by `proxy/ledger.py`; made by
`process/worker.py`. Specified by Traefik's page on access logs, and docs/logs.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlb.observe.records import HttpRecord, TcpRecord, UdpRecord


class AccessLog:
    """Takes records, never waits, never raises. `on`: whether anybody reads them; nobody makes one else."""

    __slots__ = ("on",)

    def __init__(self) -> None:
        self.on = False

    def http(self, record: HttpRecord) -> None:
        """A request is over."""

    def tcp(self, record: TcpRecord) -> None:
        """A connection is over."""

    def udp(self, record: UdpRecord) -> None:
        """A flow is over."""
