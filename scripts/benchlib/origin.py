"""Small origin servers, cheap enough not to be what is measured: `python origin.py echo|source|bodies|udp PORT`.

echo: sends TCP bytes back. source: reads a size (8 bytes), sends that many bytes, and so on. udp: sends datagrams back.
bodies: HTTP, answers a GET with a large body, and reads that of a PUT.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import sys
import threading

READ_SIZE = 65536
BLOCK_SIZE = 64 * 1024 * 1024
BODY_SIZE = 100_000_000


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
    block = memory()
    while True:
        client, _ = listener.accept()
        try:
            while len(size := client.recv(8, socket.MSG_WAITALL)) == 8:
                give(client, block, int.from_bytes(size, "big"))
        except OSError:
            pass
        client.close()


def memory() -> int:
    """A file of BLOCK_SIZE zeros that the kernel keeps in memory."""
    block = os.memfd_create("block")
    os.ftruncate(block, BLOCK_SIZE)
    os.pwrite(block, bytes(BLOCK_SIZE), 0)
    return block


def give(client: socket.socket, block: int, left: int) -> None:
    while left:
        left -= os.sendfile(client.fileno(), block, 0, min(left, BLOCK_SIZE))


def bodies(port: int) -> None:
    """A thread per connection, as proxies keep theirs."""
    listener = listen(port)
    block = memory()
    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve_bodies, args=(client, block), daemon=True).start()


def serve_bodies(client: socket.socket, block: int) -> None:
    pit = bytearray(1 << 20)
    with client, contextlib.suppress(OSError):
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                piece = client.recv(READ_SIZE)
                if not piece:
                    return
                data += piece
            head, _, data = data.partition(b"\r\n\r\n")
            if head.startswith(b"GET "):
                client.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BODY_SIZE, socket.MSG_MORE)
                give(client, block, BODY_SIZE)
                continue
            length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
            left = int(length[1]) - len(data) if length else 0
            data = b""
            while left:
                count = client.recv_into(pit, min(left, len(pit)))
                if not count:
                    return
                left -= count
            client.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


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
    {"echo": echo, "source": source, "bodies": bodies, "udp": udp}[sys.argv[1]](int(sys.argv[2]))
