"""What goes wrong on a port with TLS: silence, halves, garbage, floods, lack of descriptors, a worker that is killed.

The story: none of it reaches the other clients, and what it holds is given back.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import ssl
from typing import TYPE_CHECKING

from tests.e2e.test_https import https
from tests.support.certificates import authority, local_pair
from tests.support.configs import entry_point
from tests.support.http import elapsed, recording
from tests.support.peers import connect, everything
from tests.support.programs import STREAMLB, curl, descriptors, resident, running, running_streamlb
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 0.6
"""Seconds the entry points of these tests give a connection to say what it is."""
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def impatient(address: str, origin: int, patience: float = PATIENCE) -> str:
    text = https(address, origin, local_pair())
    transport = f"transport: {{respondingTimeouts: {{readHeaderTimeout: {patience}s}}}}"
    return text.replace(f'address: "{address}"', f'address: "{address}", {transport}')


def client_hello(name: str = "localhost") -> bytes:
    """What a client says first."""
    outgoing = ssl.MemoryBIO()
    client = trusting().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority().pair.certificate)


def served(port: int) -> bool:
    """Whether somebody well-behaved is."""
    url = f"https://localhost:{port}/"
    return curl("--cacert", authority().pair.certificate, url, timeout=5).stdout == "ok\n"


@contextlib.contextmanager
def held(port: int, count: int, first: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many connections that say this much and no more."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(port)) for _ in range(count)]
        for sock in held:
            sock.sendall(first)
        yield held


HELLO = client_hello()


def test_who_falls_silent_is_cut_in_time() -> None:
    port, address = entry_point()
    beginnings = [HELLO[:size] for size in (0, 1, 5, len(HELLO) // 2, len(HELLO) - 1, len(HELLO))]
    with recording() as origin, running_streamlb(impatient(address, origin.port)) as proxy:
        assert served(port)  # What is kept from the first connection on is there.
        before = descriptors(proxy.workers()[0])
        with contextlib.ExitStack() as stack:
            silent = [sock for first in beginnings for sock in stack.enter_context(held(port, 5, first))]
            lasted = elapsed(lambda: [everything(sock) for sock in silent])
            assert PATIENCE * 0.5 < lasted < PATIENCE + 3
        until(lambda: descriptors(proxy.workers()[0]) <= before, 5, "its descriptors are given back")
        assert served(port)


def records(body: bytes, size: int = 16_384) -> bytes:
    """A handshake message in TLS records."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


GARBAGE = {
    "bytes": b"\x16" + bytes(range(255)),
    "words": b"\x16\x03\x01\x00\x05hello" * 10,
    "SSL 2": b"\x80\x2e\x01\x03\x01" + bytes(50),
    "16 MiB announced": records(b"\x01\xff\xff\xff" + bytes(100_000)),
    "a byte in a record": records(b"\x01\x00\x10\x00" + bytes(4096), 1),
    "empty records": b"\x16\x03\x01\x00\x00" * 5000,
    "a length that lies": HELLO[:43] + b"\xff" + HELLO[44:],
    "after PostgreSQL's request": b"\x00\x00\x00\x08\x04\xd2\x16\x2f" + b"no hello",
}


def test_garbage_is_refused_at_once() -> None:
    port, address = entry_point()
    with recording() as origin, running_streamlb(impatient(address, origin.port, 30)) as proxy:
        worker = proxy.workers()
        for name, first in GARBAGE.items():
            with connect(port) as sock:
                # Refused before all was sent: ENOTCONN is no ConnectionError.
                with contextlib.suppress(OSError):
                    sock.sendall(first)
                    sock.shutdown(socket.SHUT_WR)
                # An alert, PostgreSQL's `S`, or HTTP's 400.
                assert len(everything(sock)) < 200, name
        assert served(port)
        assert proxy.workers() == worker
        assert "Traceback" not in proxy.log()


def test_plain_http_on_an_https_port_hears_why() -> None:
    port, address = entry_point()
    with recording() as origin, running_streamlb(impatient(address, origin.port)), connect(port) as sock:
        sock.sendall(GET)
        assert everything(sock).startswith(b"HTTP/1.1 400 ")
        assert origin.requests == []


def test_a_connection_ended_inside_a_request_is_no_request() -> None:
    """Without the goodbye of TLS, what came may have been cut off."""
    port, address = entry_point()
    with recording() as origin, running_streamlb(impatient(address, origin.port)):
        sock = trusting().wrap_socket(connect(port), server_hostname="localhost")
        sock.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
        sock.close()
        assert served(port)
        assert [request.method for request in origin.requests] == ["GET"]


def test_slow_handshakes_hinder_nobody() -> None:
    """200 clients send their hello a byte at a time; others are served meanwhile as ever."""
    port, address = entry_point()
    with recording() as origin, running_streamlb(impatient(address, origin.port, 30)):
        with held(port, 200) as slow:
            for at in range(20):
                for sock in slow:
                    sock.sendall(HELLO[at : at + 1])
                assert elapsed(lambda: served(port)) < 2
            # And they get their answer in the end.
            for sock in slow:
                sock.sendall(HELLO[20:])
            assert all(sock.recv(1) == b"\x16" for sock in slow)


def test_two_thousand_half_handshakes_hold_little() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(2000, hard - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    port, address = entry_point()
    try:
        with recording() as origin, running_streamlb(impatient(address, origin.port, 60)) as proxy:
            assert served(port)
            worker = proxy.workers()[0]
            before, descriptors_before = resident(worker), descriptors(worker)
            with held(port, count // 2, HELLO[:-1]), held(port, count - count // 2, HELLO):
                until(lambda: descriptors(worker) >= count, 10, "all of them are in")
                assert served(port)
                grown = (resident(worker) - before) / count
                assert grown < 100_000, f"{grown:.0f} bytes each"
            until(lambda: descriptors(worker) <= descriptors_before + 5, 15, "all of them are out")
            assert proxy.workers() == [worker]
            assert served(port)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_one_waits_and_is_served_later(tmp_path: Path) -> None:
    port, address = entry_point()
    path = tmp_path / "lb.yaml"
    with recording() as origin:
        path.write_text(impatient(address, origin.port, 30))
        limited = ["sh", "-c", f'ulimit -n 60; exec "$@" run {path}', "sh", *STREAMLB]
        with running(limited, name="streamlb") as proxy:
            proxy.wait_for("ready in")
            with held(port, 100, HELLO[:-1]):
                proxy.wait_for("cannot accept connections")
                with connect(port) as waiting:
                    waiting.sendall(HELLO)
                    waiting.settimeout(0.3)
                    with contextlib.suppress(TimeoutError):
                        waiting.recv(1)
            until(lambda: served(port), 10, "those who come later are served")
            assert proxy.process.poll() is None
            assert "Traceback" not in proxy.log()
            assert proxy.log().count("\n") < 100, "the log does not drown in it"


def test_a_worker_that_is_killed_takes_only_its_connections_with_it() -> None:
    port, address = entry_point()
    with recording() as origin, running_streamlb(impatient(address, origin.port)) as proxy:
        with held(port, 10, HELLO[:-1]) as half:
            whole = trusting().wrap_socket(connect(port), server_hostname="localhost")
            with whole:
                [worker] = proxy.workers()
                os.kill(worker, signal.SIGKILL)
                assert all(everything(sock) == b"" for sock in half)
                with contextlib.suppress(OSError):
                    assert whole.recv(1) == b""
        until(lambda: proxy.workers() not in ([], [worker]), 10, "another worker is there")
        until(lambda: served(port), 10, "it serves")


def test_stopping_waits_for_exchanges_and_not_for_handshakes() -> None:
    port, address = entry_point()
    with recording([0.8, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone"]) as origin:
        with running_streamlb(impatient(address, origin.port, 30)) as proxy:
            with (
                held(port, 10, HELLO[:-1]) as half,
                trusting().wrap_socket(connect(port), server_hostname="localhost") as sock,
            ):
                sock.sendall(GET)
                until(lambda: origin.requests, 5, "the request is under way")
                proxy.signal(signal.SIGTERM)
                assert everything(sock).endswith(b"done")
                assert [everything(each) for each in half] == [b""] * 10
                assert elapsed(proxy.wait) < 5
