"""All entry points of one worker, through all its configurations.

What lives here: `Entries`, which opens what a configuration adds, changes what it changes, and lets go of the rest.
What must not: one entry point (`serving.py`), which sockets there are (`sockets.py`). Called by `process/worker.py`.
Specified in docs/reference.md ("Reload"): whatever is not changed notices nothing.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

from streamlb.net.tasks import spawn
from streamlb.process.serving import identity, serve

if TYPE_CHECKING:
    from streamlb.observe.books import Books
    from streamlb.process.channel import Drain
    from streamlb.process.serving import Serving
    from streamlb.runtime.snapshot import World


class Entries:
    """The entry points of one worker. open: by name, those of the present configuration."""

    def __init__(self) -> None:
        # process
        self.open: dict[str, Serving] = {}
        self._offered: dict[str, socket.socket] = {}
        self._leaving: set[asyncio.Task[int]] = set()

    def offer(self, name: str, sock: socket.socket) -> None:
        """The socket of this entry point from the next `change` on."""
        if name in self._offered:
            self._offered[name].close()
        self._offered[name] = sock

    async def change(self, world: World, books: Books) -> None:
        """Serve what the world has now on the sockets that were offered."""
        offered, self._offered = self._offered, {}
        taken = {identity(sock) for sock in offered.values()}
        tables = world.runtime.entry_points
        gone = [each for name, each in self.open.items() if name not in tables or self._has_moved(name, offered)]
        for serving in gone:
            del self.open[serving.name]
            # Two entry points cannot share a UDP socket: each would get datagrams of the other's clients.
            self._let_go(serving, at_once=serving.is_udp and serving.identity in taken)
        for name, table in tables.items():
            sock = offered.pop(name, None)
            present = self.open.get(name)
            if present is None:
                if sock is not None:
                    self.open[name] = await serve(world, name, sock, books=books)
                continue
            if sock is not None:
                sock.close()
            if not present.suits(table):
                # Who has come in stays with what he found; who comes from now on finds the new.
                again = socket.socket(fileno=os.dup(present.sock.fileno()))
                self.open[name] = await serve(world, name, again, present.live, books)
                present.stop()
        for sock in offered.values():
            sock.close()

    def leave_down(self) -> None:
        """A server has gone down: take away from it what can be taken away."""
        for serving in self.open.values():
            serving.leave_down()

    async def drain(self, told: Drain, *, free_port: bool = False) -> int:
        """End all entry points in good order; how many conversations were cut off."""
        drains = [
            spawn(
                each.drain(free_port=free_port, at_once=told.handed_over, shared=each.name in told.shared),
                f"drain of {each.name}",
            )
            for each in self.open.values()
        ]
        return sum(await asyncio.gather(*drains, *self._leaving))

    def _has_moved(self, name: str, offered: dict[str, socket.socket]) -> bool:
        return name in offered and identity(offered[name]) != self.open[name].identity

    def _let_go(self, serving: Serving, *, at_once: bool) -> None:
        """An entry point is no more: it accepts nothing, and what is in flight has its grace time."""
        task = spawn(serving.finish(0.0 if at_once else serving.grace), f"end of {serving.name}")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
