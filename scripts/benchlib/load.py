"""The loads: each runs against a port for some seconds and says how much work was done and how long it took.

What lives here: small epoll loops for TCP and UDP; HTTP is in `load_http.py`. A load measures latencies, never CPU
(`command.py`).
"""

from __future__ import annotations

import functools
import select
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Protocol

HOST = "127.0.0.1"
READ_SIZE = 65536
LOST_AFTER = 0.25
"""Seconds of silence after which datagrams are taken for lost and sent again."""
SERIES_SIZE = 1 << 27
"""Bytes asked for at a time by the bulk load."""


@dataclass(slots=True)
class Work:
    """What was done. latencies: seconds, one per unit or fewer; p50 and p99 override them where known."""

    units: float
    seconds: float
    latencies: list[float] = field(default_factory=list)
    p50: float | None = None
    p99: float | None = None

    def percentile(self, share: float) -> float | None:
        known = {0.5: self.p50, 0.99: self.p99}.get(share)
        if known is not None or not self.latencies:
            return known
        return sorted(self.latencies)[int(share * (len(self.latencies) - 1))]


class Load(Protocol):
    """needs: a program it is made with, "" for none."""

    @property
    def needs(self) -> str: ...

    def run(self, port: int, seconds: float) -> Work: ...


class OwnLoad:
    """A load made by this very process."""

    needs = ""


def connect(port: int, *, secure: bool = False) -> socket.socket:
    """A connection to the proxy; secure: with TLS 1.3, and nothing remembered of earlier ones."""
    sock = socket.create_connection((HOST, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not secure:
        return sock
    return _tls().wrap_socket(sock, server_hostname="localhost")


@functools.cache
def _tls() -> ssl.SSLContext:
    """Whose certificate it is does not matter to the proxy, so the client saves itself the look."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(slots=True, frozen=True)
class PingPong(OwnLoad):
    """Small messages over TCP connections that stay, or UDP flows: the next goes when the last is answered."""

    kind: socket.SocketKind
    peers: int
    size: int = 64
    secure: bool = False

    def run(self, port: int, seconds: float) -> Work:
        message = bytes(self.size)
        watched = select.epoll()
        sockets: dict[int, socket.socket] = {}
        sent_at: dict[int, float] = {}
        for _ in range(self.peers):
            if self.kind is socket.SOCK_STREAM:
                sock = connect(port, secure=self.secure)
            else:
                sock = socket.socket(socket.AF_INET, self.kind)
                sock.connect((HOST, port))
            sockets[sock.fileno()] = sock
            watched.register(sock.fileno(), select.EPOLLIN)
        started_at = now = time.perf_counter()
        for descriptor, sock in sockets.items():
            sock.send(message)
            sent_at[descriptor] = now
        latencies: list[float] = []
        look_at = now + LOST_AFTER
        while now < started_at + seconds:
            ready = watched.poll(LOST_AFTER)
            now = time.perf_counter()
            for descriptor, _ in ready:
                sock = sockets[descriptor]
                if not sock.recv(READ_SIZE) and self.kind is socket.SOCK_STREAM:
                    raise SystemExit("the load had errors: a connection was closed")
                latencies.append(now - sent_at[descriptor])
                sent_at[descriptor] = now
                sock.send(message)
            if self.kind is socket.SOCK_DGRAM and now > look_at:
                look_at = now + LOST_AFTER
                for descriptor, sock in sockets.items():
                    if now - sent_at[descriptor] > LOST_AFTER:
                        sent_at[descriptor] = now
                        sock.send(message)
        watched.close()
        for sock in sockets.values():
            sock.close()
        return Work(len(latencies), now - started_at, latencies)


@dataclass(slots=True, frozen=True)
class Bulk(OwnLoad):
    """One TCP connection that downloads as fast as it can; a unit is a gigabyte (10**9 bytes)."""

    def run(self, port: int, seconds: float) -> Work:
        block = bytearray(1 << 20)
        received = 0
        with socket.create_connection((HOST, port)) as sock:
            started_at = now = time.perf_counter()
            while now < started_at + seconds:
                sock.send(SERIES_SIZE.to_bytes(8, "big"))
                left = SERIES_SIZE
                while left:
                    # Really received: a reader that drops its bytes sleeps between two segments, and waking it
                    # costs the sender, that is the proxy, more than anybody's clients do.
                    count = sock.recv_into(block, min(left, len(block)))
                    if not count:
                        raise SystemExit("the load had errors: the connection was closed")
                    left -= count
                received += SERIES_SIZE
                now = time.perf_counter()
        return Work(received / 1e9, now - started_at)


@dataclass(slots=True, frozen=True)
class Connections(OwnLoad):
    """TCP connections, each for one small message and its answer, some at a time."""

    at_once: int

    def run(self, port: int, seconds: float) -> Work:
        watched = select.epoll()
        sockets: dict[int, tuple[socket.socket, float]] = {}

        def begin(now: float) -> None:
            sock = socket.create_connection((HOST, port))
            sock.send(b"hello")
            sockets[sock.fileno()] = sock, now
            watched.register(sock.fileno(), select.EPOLLIN)

        started_at = now = time.perf_counter()
        latencies: list[float] = []
        for _ in range(self.at_once):
            begin(now)
        while now < started_at + seconds:
            for descriptor, _ in watched.poll():
                sock, begun_at = sockets.pop(descriptor)
                if sock.recv(READ_SIZE) != b"hello":
                    raise SystemExit("the load had errors: a connection was closed early")
                watched.unregister(descriptor)
                sock.close()
                now = time.perf_counter()
                latencies.append(now - begun_at)
                begin(now)
        watched.close()
        for sock, _ in sockets.values():
            sock.close()
        return Work(len(latencies), now - started_at, latencies)
