"""A small name server in a thread of its own, for what real clients (dig) ask.

What lives here: `name_server`, which knows every name, and gives each the one address it was made with.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

QUESTION = 12
"""Octets of a message's head (RFC 1035 section 4.1.1)."""


class NameServer:
    """asked: the names, in the order they were asked for. port: on 127.0.0.1."""

    def __init__(self, sock: socket.socket, address: str) -> None:
        self._sock = sock
        self._address = socket.inet_aton(address)
        self.asked: list[str] = []
        self.port: int = sock.getsockname()[1]

    def serve(self) -> None:
        while True:
            query, peer = self._sock.recvfrom(4096)
            if query == b"stop":
                return
            self.asked.append(name_in(query))
            with contextlib.suppress(ConnectionRefusedError):
                self._sock.sendto(self._answer(query), peer)

    def _answer(self, query: bytes) -> bytes:
        end = query.index(b"\0", QUESTION) + 5
        # Authoritative; one question, one answer, which names what was asked: A, IN, 60 s, 4 octets.
        record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04" + self._address
        return query[:2] + b"\x84\x00\0\x01\0\x01\0\0\0\0" + query[QUESTION:end] + record


def name_in(query: bytes) -> str:
    """The name of a message's first question."""
    labels, place = [], QUESTION
    while length := query[place]:
        labels.append(query[place + 1 : place + 1 + length].decode())
        place += 1 + length
    return ".".join(labels)


@contextlib.contextmanager
def name_server(address: str, *, port: int = 0) -> Iterator[NameServer]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", port))
        server = NameServer(sock, address)
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            sock.sendto(b"stop", sock.getsockname())
            thread.join(5)
