"""One entry point in one worker: its socket, the engine behind it, and its end.

What lives here: `Serving` and `serve`, which choose the engine for an entry point and undo it in the right order.
What must not: the engines; who gets a connection (`proxy/door.py`). Called by `process/worker.py`.
Specified in docs/architecture.md.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from streamlb.net.address import BACKLOG
from streamlb.process.descriptors import are_few
from streamlb.proxy.door import Door
from streamlb.proxy.http import HttpEntry
from streamlb.proxy.live import Live
from streamlb.proxy.udp import UdpEntry

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from streamlb.observe.books import Books
    from streamlb.runtime.snapshot import EntryPointTable, World

SETTLING_TURNS = 5
"""Turns of the loop until a connection in the kernel's queue is accepted, and one that is accepted has its protocol."""
ABORT_TIMEOUT = 1.0
"""Seconds that aborted conversations get to leave the loop."""


class Serving:
    """An open entry point under one set of options, until it is drained or somebody goes on in its place.

    identity: of its socket, the same for all descriptors of it. accept_grace, grace: seconds, see `LifeCycle`.
    stop: accept no more and let go of the socket. leave_down: a server has gone down; take from it what can be taken.
    stop_reading: leave the datagrams of clients to others, who have the same socket.
    """

    def __init__(
        self, table: EntryPointTable, live: Live, sock: socket.socket, stop: Callable[[], object] = lambda: None
    ) -> None:
        # process
        self.name = table.name
        self.live = live
        self.sock = sock
        self.identity = identity(sock)
        self.accept_grace = table.options.transport.life_cycle.request_accept_grace_timeout
        self.grace = table.options.transport.life_cycle.grace_time_out
        self.is_udp = table.options.kind == "udp"
        self.stop = stop
        self.leave_down: Callable[[], None] = lambda: None
        self.stop_reading: Callable[[], None] = lambda: None
        self._options = table.options
        self._tracing = table.tracing
        self._has_door = needs_door(table)

    def suits(self, table: EntryPointTable) -> bool:
        """Whether it can serve this as it is. UDP takes its options over as it goes."""
        if self.is_udp:
            life_cycle = table.options.transport.life_cycle
            self.accept_grace, self.grace = life_cycle.request_accept_grace_timeout, life_cycle.grace_time_out
            return True
        return self._has_door == needs_door(table) and (self._options, self._tracing) == (table.options, table.tracing)

    async def drain(self, *, free_port: bool = False, at_once: bool = False, shared: bool = False) -> int:
        """Accept for `accept_grace` seconds more, then wait until everything in flight has ended, at most `grace`
        seconds; how many did not.

        free_port: a successor wants the address now. A UDP entry point has but one socket, so it ends at once.
        at_once: there is nobody to accept for. shared: others go on with the socket, and get what clients send.
        """
        if self.accept_grace and not (free_port or at_once):
            await asyncio.sleep(self.accept_grace)
        if shared:
            self.stop_reading()
        else:
            # What has come so far still gets in.
            await settle()
        return await self.finish(0.0 if free_port and self.is_udp else self.grace)

    async def finish(self, grace: float) -> int:
        """Accept no more, and wait at most so many seconds for what is in flight; how much of it did not end."""
        self.stop()
        if not self.is_udp:
            # Who was accepted last is on the way to being live.
            await settle()
        self.live.drain()
        await self.live.wait_empty(grace)
        cut = len(self.live)
        self.live.abort()
        await self.live.wait_empty(ABORT_TIMEOUT)
        return cut


async def settle() -> None:
    """Let those in who have come already."""
    for _ in range(SETTLING_TURNS):
        await asyncio.sleep(0)


def needs_door(table: EntryPointTable) -> bool:
    """Whether connections must be looked at before HTTP gets them."""
    options = table.options
    if table.tcp or table.speaks_tls or options.proxy_protocol or options.transport.max_connections:
        return True
    # uvloop closes the connections of who waits when there are no descriptors left; our own acceptor, which costs more,
    # lets them wait.
    return are_few()


def identity(sock: socket.socket) -> int:
    """What all descriptors of one socket have in common, in all processes."""
    return os.fstat(sock.fileno()).st_ino


async def serve(
    world: World, name: str, sock: socket.socket, live: Live | None = None, books: Books | None = None
) -> Serving:
    """Open the entry point `name` on `sock`, which it owns from now on.

    live: what its predecessor on this socket has in flight, which counts as its own. books: where all is written down.
    """
    loop = asyncio.get_running_loop()
    table = world.runtime.entry_points[name]
    live = Live() if live is None else live
    live.on_left = None
    if table.options.kind == "udp":
        entry = UdpEntry(world, name, loop, live, sock, books)
        # Answers leave through the same socket, so it stays until the last flow has ended.
        serving = Serving(table, live, sock)
        serving.leave_down = entry.leave_down
        serving.stop_reading = entry.stop_reading
        return serving
    if needs_door(table):
        return Serving(table, live, sock, Door(world, name, loop, live, sock, books).stop)
    server = await loop.create_server(HttpEntry(world, name, loop, live, books), sock=sock, backlog=BACKLOG)
    return Serving(table, live, sock, server.close)
