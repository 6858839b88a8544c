"""Small origin servers, cheap enough not to be what is measured: `python origin.py echo|source|udp PORT`.

echo: sends TCP bytes back. source: reads a size (8 bytes), sends that many bytes, and so on. udp: sends datagrams back.
"""

from __future__ import annotations

import os
import select
import socket
import sys

READ_SIZE = 65536
BLOCK_SIZE = 64 * 1024 * 1024


def listen(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(1024)
    return sock


def echo(port: int) -> None:
    listener = listen(port)
    watched = select.epoll()
    watched.register(listener.fileno(), select.EPOLLIN)
    clients: dict[int, socket.socket] = {}
    while True:
        for descriptor, _ in watched.poll():
            client = clients.get(descriptor)
            if client is None:
                client, _ = listener.accept()
                clients[client.fileno()] = client
                watched.register(client.fileno(), select.EPOLLIN)
                continue
            try:
                data = client.recv(READ_SIZE)
                if data:
                    client.sendall(data)
            except OSError:
                data = b""
            if not data:
                del clients[descriptor]
                client.close()


def source(port: int) -> None:
    """One connection at a time; the bytes come from memory the kernel holds, so that sending costs little."""
    listener = listen(port)
    block = os.memfd_create("block")
    os.ftruncate(block, BLOCK_SIZE)
    os.pwrite(block, bytes(BLOCK_SIZE), 0)
    while True:
        client, _ = listener.accept()
        try:
            while len(size := client.recv(8, socket.MSG_WAITALL)) == 8:
                left = int.from_bytes(size, "big")
                while left:
                    left -= os.sendfile(client.fileno(), block, 0, min(left, BLOCK_SIZE))
        except OSError:
            pass
        client.close()


def udp(port: int) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
    sock.bind(("127.0.0.1", port))
    receive, send = sock.recvfrom, sock.sendto
    while True:
        try:
            send(*receive(READ_SIZE))
        except OSError:
            continue


if __name__ == "__main__":
    {"echo": echo, "source": source, "udp": udp}[sys.argv[1]](int(sys.argv[2]))
