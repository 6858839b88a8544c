"""UDP peers for tests, in process: clients with a timeout, servers that answer and remember.

What lives here: `Client`, `Origin`. Both work on uvloop and on stock asyncio.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_DATAGRAM = 65535


class Client:
    """A UDP client; connected to `where`, so that it hears only what comes from exactly there."""

    def __init__(self, where: tuple[str, int], *, source: str = "") -> None:
        family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect(where)

    def send(self, data: bytes) -> None:
        self.sock.send(data)

    async def hear(self, timeout: float = 5.0) -> bytes:
        loop = asyncio.get_running_loop()
        return await asyncio.wait_for(loop.sock_recv(self.sock, MAX_DATAGRAM), timeout)

    async def ask(self, data: bytes) -> bytes:
        self.send(data)
        return await self.hear()

    def hears_nothing(self) -> bool:
        try:
            self.sock.recv(1)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self.sock.close()


class Origin:
    """A UDP server on the running loop: answers with what `answer` makes of a datagram, if anything.

    heard: (datagram, peer) in the order of arrival.
    """

    def __init__(
        self,
        answer: Callable[[bytes], bytes | None] = lambda data: data,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.sock.bind((host, port))
        self.host = host
        self.port: int = self.sock.getsockname()[1]
        self.heard: list[tuple[bytes, Any]] = []
        self._loop.add_reader(self.sock.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        while self.sock.fileno() >= 0:
            try:
                data, peer = self.sock.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                continue
            self.heard.append((data, peer))
            answer = self._answer(data)
            if answer is not None:
                self.sock.sendto(answer, peer)

    @property
    def datagrams(self) -> list[bytes]:
        return [data for data, _ in self.heard]

    def send(self, data: bytes, peer: Any) -> None:
        self.sock.sendto(data, peer)

    def close(self) -> None:
        if self.sock.fileno() >= 0:
            self._loop.remove_reader(self.sock.fileno())
            self.sock.close()
