"""Clients that never stop asking, for what must happen under load without one of them noticing.

What lives here: `constant_load` (HTTP) and `constant_datagrams` (UDP), a few threads of blocking clients that count
what they got and note every failure with its reason. What must not: judging; the asserts are the test's.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.http import Client
from tests.support.until import until

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

MAX_FAILURES = 50
"""Failures noted in words; more are only counted."""


@dataclass(slots=True)
class Load:
    """What the clients have seen so far.

    answered: good answers. failed: requests without one; `failures` says why. bodies: how often each text was answered.
    connections: how many were made.
    """

    answered: int = 0
    failed: int = 0
    connections: int = 0
    failures: list[str] = field(default_factory=list)
    bodies: Counter[str] = field(default_factory=Counter)
    started_at: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def await_more(self, count: int = 100, timeout: float = 15.0) -> None:
        """Wait until `count` more requests than now have been answered (or have failed)."""
        goal = self.answered + self.failed + count
        until(lambda: self.answered + self.failed >= goal, timeout, f"{count} more requests; so far {self}")

    def stop(self) -> None:
        """Ask no more, and wait for what was asked."""
        self._over.set()
        for thread in self._threads:
            thread.join(20.0)

    def _good(self, body: str) -> None:
        with self._lock:
            self.answered += 1
            self.bodies[body] += 1

    def _bad(self, reason: str) -> None:
        with self._lock:
            self.failed += 1
            if len(self.failures) < MAX_FAILURES:
                self.failures.append(f"after {time.monotonic() - self.started_at:.3f} s: {reason}")

    def __str__(self) -> str:
        return "\n  ".join([f"{self.answered} answered, {self.failed} failed", *self.failures])


@contextlib.contextmanager
def constant_load(
    port: int,
    *,
    fresh: int = 2,
    kept: int = 2,
    target: str = "/",
    host: str = "127.0.0.1",
    pause: float = 0.002,
    timeout: float = 10.0,
    status: int = 200,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Load]:
    """HTTP requests all through the block; it ends when the last answer has come.

    fresh: clients that make a connection for every request. kept: clients that keep theirs until they are told
    `Connection: close`, or see before a request that the other side has closed it. pause: seconds between two requests
    of one client. status: of a good answer.
    """
    load = Load()

    def ask(client: Client, what: str, close: bool) -> bool:
        """One request; whether the connection may carry another."""
        reply = client.request(target, host=host, headers=[("Connection", "close")] if close else [])
        if reply.status == status:
            load._good(reply.text)
        else:
            load._bad(f"{what}: {reply.start_line.decode()}")
        return not close and (reply.value("connection") or b"").lower() != b"close"

    def connect() -> Client:
        client = Client(port, timeout=timeout)
        load.connections += 1
        if tls is not None:
            client.secure(tls, host)
        return client

    def once() -> None:
        with connect() as client:
            ask(client, "fresh", close=True)

    def keep() -> None:
        with connect() as client:
            while ask(client, "kept", close=False) and not load._over.wait(pause):
                if _has_ended(client.sock):
                    return

    threads = [_repeat(load, once, "fresh", pause) for _ in range(fresh)]
    threads += [_repeat(load, keep, "kept", pause) for _ in range(kept)]
    with _running(load, threads):
        yield load


@contextlib.contextmanager
def constant_datagrams(
    port: int, *, clients: int = 2, each: int = 3, pause: float = 0.002, timeout: float = 2.0
) -> Iterator[Load]:
    """Datagrams all through the block: every client asks `each` questions from one port, one after the other, each
    answered before the next is sent, then goes on from another port. A question without an answer has failed."""
    load = Load()

    def flow() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(timeout)
            sock.connect(("127.0.0.1", port))
            load.connections += 1
            for number in range(each):
                what = f"question {number + 1} of {each}"
                sock.send(what.encode())
                try:
                    load._good(sock.recv(65536).decode(errors="replace"))
                except OSError as error:
                    load._bad(f"{what}: {error!r}")
                    return

    with _running(load, [_repeat(load, flow, "udp", pause) for _ in range(clients)]):
        yield load


def _repeat(load: Load, work: Callable[[], None], what: str, pause: float) -> threading.Thread:
    def run() -> None:
        while not load._over.is_set():
            try:
                work()
            except (OSError, AssertionError) as error:
                load._bad(f"{what}: {error!r}")
                load._over.wait(0.02)
            load._over.wait(pause)

    return threading.Thread(target=run, daemon=True)


@contextlib.contextmanager
def _running(load: Load, threads: list[threading.Thread]) -> Iterator[None]:
    load._threads = threads
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        load.stop()


def _has_ended(sock: socket.socket) -> bool:
    """Whether the other side has closed an idle connection, as a client's pool looks before it sends."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(0))
