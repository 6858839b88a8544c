"""A worker's signs of life: how late its loop is, and a door through which the control process asks like a client.

What lives here: `Pulse`. What must not: judging (`heartbeat.py`). Owned by `process/worker.py`.

The door leads through accept(2) and the HTTP engine, in a small world of its own that no configuration changes.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

import msgspec

from streamlb.config.model import Config, HttpSection, Router
from streamlb.config.observation import PING, Ping
from streamlb.config.static import EntryPoint
from streamlb.net.listener import Acceptor
from streamlb.net.tasks import spawn
from streamlb.process.lifeline import PULSE, STACK_SIGNAL
from streamlb.process.loads import Beat
from streamlb.proxy.http import HttpEntry
from streamlb.proxy.live import Live
from streamlb.runtime.build import build
from streamlb.runtime.registry import Registry
from streamlb.runtime.snapshot import World

if TYPE_CHECKING:
    import asyncio

    from streamlb.observe.cells import Cells

log = logging.getLogger(__name__)

INTERVAL = 0.25
"""Seconds between two looks at how late the loop is."""
CREDENTIALS = struct.Struct("iII")
"""Process, user and group of who has connected (unix(7))."""


class Pulse:
    """The signs of life of one worker. lag, worst: see `Beat`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, stack: int = -1) -> None:
        """stack: the descriptor of a file for the stack of a loop that stands."""
        # process
        self._loop = loop
        self._acceptor: Acceptor | None = None
        self._entry: HttpEntry | None = None
        self.lag = self.worst = 0.0
        self._cells: Cells | None = None
        self._due_at = loop.time() + INTERVAL
        if stack >= 0:
            faulthandler.register(STACK_SIGNAL, file=stack, all_threads=True)
        loop.call_at(self._due_at, self._look)

    def open(self, sock: socket.socket) -> None:
        """Accept from the door."""
        router = Router(rule="PathPrefix(`/ping`)", service=PING)
        config = Config(
            entry_points={PULSE: EntryPoint(address="127.0.0.1:0")},
            http=HttpSection(routers={PING: router}),
            ping=Ping(),
        )
        self._entry = HttpEntry(World(build(config, Registry())), PULSE, self._loop, Live())
        self._acceptor = Acceptor(self._loop, sock, self._accept, is_quiet=True)

    def close(self) -> None:
        """Shut the door."""
        if self._acceptor is not None:
            self._acceptor.stop()

    def count_in(self, cells: Cells) -> None:
        """Keep them where the control process reads them for metrics, too."""
        self._cells = cells

    def tell(self) -> bytes:
        """How it goes."""
        beat = Beat(self.lag, self.worst, self._acceptor is not None and self._acceptor.is_short)
        self.worst = self.lag
        return msgspec.json.encode(beat)

    def _look(self) -> None:
        now = self._loop.time()
        self.lag = max(0.0, now - self._due_at)
        self.worst = max(self.worst, self.lag)
        if self._cells is not None:
            self._cells.beat(now, self.lag)
        self._due_at = now + INTERVAL
        self._loop.call_at(self._due_at, self._look)

    def _accept(self, sock: socket.socket, _peer: Any) -> None:
        spawn(self._adopt(sock), "a sign of life")

    async def _adopt(self, sock: socket.socket) -> None:
        entry = self._entry
        try:
            pid, _, _ = CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
            if pid != os.getppid() or entry is None:
                sock.close()  # The door is for the control process alone.
                return
            await self._loop.connect_accepted_socket(entry, sock)
        except OSError:
            sock.close()
