"""What the kernel knows of a peer that reads slowly, or not at all."""

from __future__ import annotations

import os
import socket

from streamlb.net.outgoing import count_untaken
from tests.support.until import until


def test_what_a_peer_takes_is_seen_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        with socket.create_connection(listener.getsockname()) as sock, listener.accept()[0] as peer:
            assert count_untaken(sock.fileno()) == 0
            sock.setblocking(False)
            sent = sock.send(b"x" * 4_000_000)
            until(lambda: 0 < count_untaken(sock.fileno()) < sent)
            before = count_untaken(sock.fileno())
            taken = 0
            while taken < 100_000:
                taken += len(peer.recv(100_000))
            until(lambda: count_untaken(sock.fileno()) < before)


def test_what_is_no_socket_owes_nothing() -> None:
    with open(os.devnull, "rb") as null:
        assert count_untaken(null.fileno()) == 0
