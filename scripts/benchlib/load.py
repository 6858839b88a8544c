"""The loads: each runs against a port for some seconds and says how much work was done and how long it took.

What lives here: wrk for HTTP, small epoll loops for TCP and UDP. A load measures latencies, never CPU (`command.py`).
"""

from __future__ import annotations

import re
import select
import socket
import subprocess
import time
from dataclasses import dataclass, field
from typing import Protocol

from benchlib.programs import find

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
    def run(self, port: int, seconds: float) -> Work: ...


@dataclass(slots=True, frozen=True)
class Wrk:
    """HTTP requests over keep-alive connections."""

    connections: int
    headers: tuple[str, ...] = ()
    path: str = "/"

    def run(self, port: int, seconds: float) -> Work:
        command = [find("wrk") or "wrk", "-t1", f"-c{self.connections}", f"-d{max(1, round(seconds))}s", "--latency"]
        for header in self.headers:
            command += ["-H", header]
        command.append(f"http://{HOST}:{port}{self.path}")
        out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
        if bad := re.search(r"Non-2xx.*|Socket errors:.*", out):
            raise SystemExit(f"the load had errors: {bad[0]}\n{out}")
        done = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", out)
        assert done is not None, out
        return Work(int(done[1]), _seconds(done[2], done[3]), p50=_latency(out, 50), p99=_latency(out, 99))


def _latency(out: str, share: int) -> float | None:
    found = re.search(rf"^\s+{share}%\s+([\d.]+)(us|ms|s|m)$", out, re.MULTILINE)
    return _seconds(found[1], found[2]) if found else None


def _seconds(number: str, unit: str) -> float:
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[unit]


@dataclass(slots=True, frozen=True)
class PingPong:
    """Small messages over TCP connections that stay, or UDP flows: the next goes when the last is answered."""

    kind: socket.SocketKind
    peers: int
    size: int = 64

    def run(self, port: int, seconds: float) -> Work:
        message = bytes(self.size)
        watched = select.epoll()
        sockets: dict[int, socket.socket] = {}
        sent_at: dict[int, float] = {}
        for _ in range(self.peers):
            sock = socket.socket(socket.AF_INET, self.kind)
            sock.connect((HOST, port))
            if self.kind is socket.SOCK_STREAM:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
class Bulk:
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
class Connections:
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
