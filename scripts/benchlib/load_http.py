"""The loads of HTTP: wrk for requests over kept connections, own clients for short connections and for large bodies.

What lives here: `Wrk`, `Requests`, `Download`, `Upload`, each plain or over TLS.
"""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchlib.load import HOST, READ_SIZE, OwnLoad, Work, connect
from benchlib.programs import find

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

BODY_SIZE = 100_000_000
"""Bytes of a large body."""
BLOCK_SIZE = 1 << 20


@dataclass(slots=True, frozen=True)
class Wrk:
    """HTTP requests over keep-alive connections."""

    connections: int
    headers: tuple[str, ...] = ()
    path: str = "/"
    secure: bool = False
    needs: str = "wrk"

    def run(self, port: int, seconds: float) -> Work:
        command = [find("wrk") or "wrk", "-t1", f"-c{self.connections}", f"-d{max(1, round(seconds))}s", "--latency"]
        for header in self.headers:
            command += ["-H", header]
        command.append(f"{'https' if self.secure else 'http'}://{HOST}:{port}{self.path}")
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
class Requests(OwnLoad):
    """Connections of one request each, some at a time; the proxy is asked to end them."""

    at_once: int
    secure: bool = False

    def run(self, port: int, seconds: float) -> Work:
        latencies: list[float] = []
        started_at = time.perf_counter()
        with ThreadPoolExecutor(self.at_once) as threads:
            turns = [threads.submit(self._visit, port, started_at + seconds, latencies) for _ in range(self.at_once)]
            for turn in turns:
                turn.result()
        return Work(len(latencies), time.perf_counter() - started_at, latencies)

    def _visit(self, port: int, until: float, latencies: list[float]) -> None:
        begun_at = time.perf_counter()
        while begun_at < until:
            with connect(port, secure=self.secure) as sock:
                sock.send(b"GET / HTTP/1.1\r\nHost: myapp.test.com\r\nConnection: close\r\n\r\n")
                answer = b"".join(iter(lambda: sock.recv(READ_SIZE), b""))
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise SystemExit(f"the load had errors: {answer[:100]!r}")
            now = time.perf_counter()
            latencies.append(now - begun_at)
            begun_at = now


@dataclass(slots=True, frozen=True)
class Download(OwnLoad):
    """Large answers over one connection; a unit is a gigabyte (10**9 bytes)."""

    secure: bool = False

    def run(self, port: int, seconds: float) -> Work:
        block = bytearray(BLOCK_SIZE)
        return _transfers(port, seconds, self.secure, lambda sock: _receive(sock, block))


@dataclass(slots=True, frozen=True)
class Upload(OwnLoad):
    """Large requests over one connection; a unit is a gigabyte (10**9 bytes)."""

    secure: bool = False

    def run(self, port: int, seconds: float) -> Work:
        block = os.memfd_create("block")
        os.ftruncate(block, BLOCK_SIZE)
        try:
            return _transfers(port, seconds, self.secure, lambda sock: _send(sock, block))
        finally:
            os.close(block)


def _transfers(port: int, seconds: float, secure: bool, once: Callable[[socket.socket], None]) -> Work:
    count = 0
    with connect(port, secure=secure) as sock:
        started_at = now = time.perf_counter()
        while now < started_at + seconds:
            once(sock)
            count += 1
            now = time.perf_counter()
    return Work(count * BODY_SIZE / 1e9, now - started_at)


def _receive(sock: socket.socket, block: bytearray) -> None:
    sock.send(b"GET / HTTP/1.1\r\nHost: myapp.test.com\r\n\r\n")
    left = BODY_SIZE - len(_head(sock))
    while left:
        # Really received, for the reason that `Bulk` has.
        count = sock.recv_into(block, min(left, len(block)))
        if not count:
            raise SystemExit("the load had errors: the connection was closed")
        left -= count


def _send(sock: socket.socket, block: int) -> None:
    sock.send(b"PUT / HTTP/1.1\r\nHost: myapp.test.com\r\nContent-Length: %d\r\n\r\n" % BODY_SIZE)
    left = BODY_SIZE
    piece = bytes(BLOCK_SIZE) if isinstance(sock, ssl.SSLSocket) else b""
    while left:
        size = min(left, BLOCK_SIZE)
        left -= sock.send(piece[:size]) if piece else os.sendfile(sock.fileno(), block, 0, size)
    _head(sock)


def _head(sock: socket.socket) -> bytes:
    """Reads the head of an answer; returns what of the body came with it."""
    data = b""
    while b"\r\n\r\n" not in data and len(data) < READ_SIZE:
        piece = sock.recv(READ_SIZE)
        if not piece:
            break
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise SystemExit(f"the load had errors: {head[:100]!r}")
    return rest
