"""One entry point in one worker: its socket, the engine behind it, and its end.

What lives here: `Serving` and `serve`, which choose the engine for an entry point and undo it in the right order;
`Door`, which accepts raw where TCP routers or a limit ask for it.
What must not: the engines. Called by `process/worker.py`.
Specified in docs/architecture.md; TCP routers are tried before HTTP routers, as in Traefik.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from streamlb.net.address import BACKLOG
from streamlb.net.listener import Acceptor
from streamlb.net.tasks import spawn
from streamlb.observe.throttle import Throttle
from streamlb.proxy.arrival import Arrival
from streamlb.proxy.http import HttpEntry
from streamlb.proxy.live import Live
from streamlb.proxy.tcp import TcpEntry
from streamlb.proxy.udp import UdpEntry

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from streamlb.config.static import EntryPoint
    from streamlb.runtime.snapshot import World

log = logging.getLogger(__name__)

ABORT_TIMEOUT = 1.0
"""Seconds that aborted conversations get to leave the loop."""
LOG_INTERVAL = 10.0
"""Seconds between two lines about the same limit."""


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
    http = HttpEntry(world, name, loop, live)
    limit = options.transport.max_connections
    if table.tcp is None and not limit:
        server = await loop.create_server(http, sock=sock, backlog=BACKLOG)
        return Serving(name, live, options, server.close)
    tcp = TcpEntry(world, name, loop, live) if table.tcp is not None else None
    return Serving(name, live, options, Door(world, tcp, http, sock, limit).stop)


class Door:
    """Where connections come in that are accepted raw: for TCP routers, or not more than `limit` at once (0: any).

    adopting: connections on their way to the HTTP engine, which are not live yet.
    """

    def __init__(
        self, world: World, tcp: TcpEntry | None, http: HttpEntry, sock: socket.socket, limit: int = 0
    ) -> None:
        # process
        self._world = world
        self._tcp = tcp
        self._http = http
        self._limit = limit
        self._adopting = 0
        self._throttle = Throttle(LOG_INTERVAL)
        self._acceptor = Acceptor(http.loop, sock, self._accept, self._has_room if limit else None)
        self.stop = self._acceptor.stop
        if limit:
            http.live.on_left = self._acceptor.resume

    def _has_room(self) -> bool:
        if len(self._http.live) + self._adopting < self._limit:
            return True
        if self._throttle.admit(self._limit, self._http.loop.time()):
            log.warning("entry point %s: %d connections are open, others wait", self._http.name, self._limit)
        return False

    def _accept(self, client: socket.socket, peer: Any) -> None:
        """A connection is the TCP routers', else HTTP's, else nobody's."""
        http = self._http
        if self._tcp is not None and self._tcp.accept(client, Arrival(peer)):
            return
        if self._world.runtime.entry_points[http.name].http is None:
            client.close()
            return
        self._adopting += 1
        spawn(self._adopt(client), f"HTTP connection of entry point {http.name}")

    async def _adopt(self, client: socket.socket) -> None:
        """Hand a connection that was accepted raw to the HTTP engine."""
        try:
            await self._http.loop.connect_accepted_socket(self._http, client)
        except OSError:
            # The client left in between.
            client.close()
        finally:
            self._adopting -= 1
            self._acceptor.resume()
