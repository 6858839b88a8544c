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
from streamlb.process.serving import identity, serve, settle

if TYPE_CHECKING:
    from streamlb.observe.books import Books
    from streamlb.process.channel import Drain
    from streamlb.process.serving import Serving
    from streamlb.runtime.snapshot import Runtime, World


class Entries:
    """The entry points of one worker. open: by name, those of the present configuration."""

    def __init__(self) -> None:
        # process
        self.open: dict[str, Serving] = {}
        self._offered: dict[str, socket.socket] = {}
        self._gone: list[Serving] = []
        self._leaving: dict[asyncio.Task[int], str] = {}

    def offer(self, name: str, sock: socket.socket) -> None:
        """The socket of this entry point from the next `change` on."""
        if name in self._offered:
            self._offered[name].close()
        self._offered[name] = sock

    def keep(self, former: Runtime, runtime: Runtime) -> None:
        """Let those who are still at an entry point that is gone find what they found before."""
        for name in [*self.open, *[each.name for each in self._gone], *self._leaving.values()]:
            if name not in runtime.entry_points and name in former.entry_points:
                runtime.entry_points[name] = former.entry_points[name]

    async def change(self, world: World, books: Books) -> None:
        """Serve what the world has now on the sockets that were offered; then `release` what it does not have."""
        await self.release()
        offered, self._offered = self._offered, {}
        taken = {identity(sock) for sock in offered.values()}
        wanted = world.runtime.config.entry_points
        gone = [each for name, each in self.open.items() if name not in wanted or self._has_moved(name, offered)]
        for serving in gone:
            del self.open[serving.name]
            if serving.identity not in taken:
                continue
            # The socket goes on under another name. Two entry points cannot share one of UDP: each would get datagrams
            # of the other's clients.
            if serving.is_udp:
                await serving.finish(0.0)
            serving.stop()
        for name in wanted:
            await self._serve(world, books, name, offered.pop(name, None))
        for sock in offered.values():
            sock.close()
        self._gone += gone

    async def release(self) -> None:
        """Accept no more on the sockets that the present configuration does not need. Until nobody else has them open,
        clients still come there, and would find nobody."""
        gone, self._gone = self._gone, []
        if gone:
            # Who has come in time is let in.
            await settle()
        for serving in gone:
            serving.stop()
            task = spawn(serving.finish(serving.grace), f"end of {serving.name}")
            self._leaving[task] = serving.name
            task.add_done_callback(self._leaving.pop)

    async def _serve(self, world: World, books: Books, name: str, sock: socket.socket | None) -> None:
        present = self.open.get(name)
        if present is None:
            if sock is not None:
                self.open[name] = await serve(world, name, sock, books=books)
            return
        if sock is not None:
            sock.close()
        if not present.suits(world.runtime.entry_points[name]):
            # Who has come in stays with what he found; who comes from now on finds the new.
            again = socket.socket(fileno=os.dup(present.sock.fileno()))
            self.open[name] = await serve(world, name, again, present.live, books)
            present.stop()

    def leave_down(self) -> None:
        """A server has gone down: take away from it what can be taken away."""
        for serving in self.open.values():
            serving.leave_down()

    async def drain(self, told: Drain, *, free_port: bool = False) -> int:
        """End all entry points in good order; how many conversations were cut off."""
        await self.release()
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
