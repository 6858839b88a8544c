"""One entry point in one worker: its socket, the engine behind it, and its end.

What lives here: `Serving` and `serve`, which choose the engine for an entry point and undo it in the right order.
What must not: the engines. Called by `process/worker.py`.
Specified in docs/architecture.md; TCP routers are tried before HTTP routers, as in Traefik.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from streamlb.net.address import BACKLOG
from streamlb.net.listener import Acceptor
from streamlb.net.tasks import spawn
from streamlb.proxy.http import HttpEntry
from streamlb.proxy.live import Live
from streamlb.proxy.tcp import TcpEntry
from streamlb.proxy.udp import UdpEntry

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from streamlb.runtime.snapshot import World

ABORT_TIMEOUT = 1.0
"""Seconds that aborted conversations get to leave the loop."""


class Serving:
    """An open entry point. Its life: open, then `stop`, then `drain`."""

    def __init__(self, name: str, live: Live, grace: float, stop: Callable[[], None], *, is_udp: bool = False) -> None:
        # process
        self.name = name
        self.live = live
        self.grace = grace
        self.stop = stop
        """Accept no more and let go of the listening socket."""
        self.leave_down: Callable[[], None] = lambda: None
        """A server has gone down: take away from it what can be taken away."""
        self._is_udp = is_udp

    async def drain(self, *, free_port: bool = False) -> int:
        """Wait until everything in flight has ended, at most `grace` seconds; how many did not.

        free_port: a successor wants the address now. A UDP entry point has but one socket, so it ends at once.
        """
        self.live.drain()
        await self.live.wait_empty(0.0 if free_port and self._is_udp else self.grace)
        cut = len(self.live)
        self.live.abort()
        await self.live.wait_empty(ABORT_TIMEOUT)
        return cut


async def serve(world: World, name: str, sock: socket.socket) -> Serving:
    """Open the entry point `name` on `sock`, which it owns from now on."""
    loop = asyncio.get_running_loop()
    table = world.runtime.entry_points[name]
    grace = table.options.transport.life_cycle.grace_time_out
    live = Live()
    if table.options.kind == "udp":
        entry = UdpEntry(world, name, loop, live, sock)
        # Answers leave through the same socket, so it stays until the last flow has ended.
        serving = Serving(name, live, grace, lambda: None, is_udp=True)
        serving.leave_down = entry.leave_down
        return serving
    if table.tcp is None:
        server = await loop.create_server(HttpEntry(world, name, loop, live), sock=sock, backlog=BACKLOG)
        return Serving(name, live, grace, server.close)
    tcp = TcpEntry(world, name, loop, live)
    http = HttpEntry(world, name, loop, live)
    acceptor = Acceptor(loop, sock, lambda client, peer: _accept(world, tcp, http, client, peer))
    return Serving(name, live, grace, acceptor.stop)


def _accept(world: World, tcp: TcpEntry, http: HttpEntry, client: socket.socket, peer: Any) -> None:
    """A connection of an entry point with TCP routers: theirs, else HTTP's, else nobody's."""
    if tcp.accept(client, peer):
        return
    if world.runtime.entry_points[tcp.name].http is None:
        client.close()
        return
    spawn(_adopt(http, client), f"HTTP connection of entry point {tcp.name}")


async def _adopt(http: HttpEntry, client: socket.socket) -> None:
    """Hand a connection that was accepted raw to the HTTP engine."""
    try:
        await http.loop.connect_accepted_socket(http, client)
    except OSError:
        # The client left in between.
        client.close()
