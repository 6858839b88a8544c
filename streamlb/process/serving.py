"""One entry point in one worker: its socket, the engine behind it, and its end.

What lives here: `Serving` and `serve`, which choose the engine for an entry point and undo it in the right order.
What must not: the engines; who gets a connection (`proxy/door.py`). Called by `process/worker.py`.
Specified in docs/architecture.md.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from streamlb.net.address import BACKLOG
from streamlb.proxy.door import Door
from streamlb.proxy.http import HttpEntry
from streamlb.proxy.live import Live
from streamlb.proxy.udp import UdpEntry

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from streamlb.config.static import EntryPoint
    from streamlb.runtime.snapshot import World

ABORT_TIMEOUT = 1.0
"""Seconds that aborted conversations get to leave the loop."""


class Serving:
    """An open entry point, until it is drained. `accept_grace`, `grace`: seconds, see `LifeCycle`."""

    def __init__(
        self, name: str, live: Live, options: EntryPoint, stop: Callable[[], None], *, is_udp: bool = False
    ) -> None:
        # process
        self.name = name
        self.live = live
        self.accept_grace = options.transport.life_cycle.request_accept_grace_timeout
        self.grace = options.transport.life_cycle.grace_time_out
        self.stop = stop
        """Accept no more and let go of the listening socket."""
        self.leave_down: Callable[[], None] = lambda: None
        """A server has gone down: take away from it what can be taken away."""
        self._is_udp = is_udp

    async def drain(self, *, free_port: bool = False) -> int:
        """Accept for `accept_grace` seconds more, then wait until everything in flight has ended, at most `grace`
        seconds; how many did not.

        free_port: a successor wants the address now. A UDP entry point has but one socket, so it ends at once.
        """
        if self.accept_grace and not free_port:
            await asyncio.sleep(self.accept_grace)
        self.stop()
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
    options = table.options
    live = Live()
    if options.kind == "udp":
        entry = UdpEntry(world, name, loop, live, sock)
        # Answers leave through the same socket, so it stays until the last flow has ended.
        serving = Serving(name, live, options, lambda: None, is_udp=True)
        serving.leave_down = entry.leave_down
        return serving
    if table.tcp or table.speaks_tls or options.proxy_protocol or options.transport.max_connections:
        return Serving(name, live, options, Door(world, name, loop, live, sock).stop)
    server = await loop.create_server(HttpEntry(world, name, loop, live), sock=sock, backlog=BACKLOG)
    return Serving(name, live, options, server.close)
