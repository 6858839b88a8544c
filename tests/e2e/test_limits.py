"""Limits, as the user sets them: heads, requests per connection, connections, exchanges per server.

The story: what is over a limit waits or is refused with a plain answer; nobody who was let in is cut.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGTERM
from typing import TYPE_CHECKING

import pytest

from tests.support.configs import entry_point
from tests.support.http import Client, Recorder, elapsed, http_get, ok, raw_http
from tests.support.programs import running_streamlb, running_whoami

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.http import Recorded, Script


def config(address: str, origin: int, entry: str = "", server: str = "", balancer: str = "") -> str:
    return f"""
entryPoints: {{web: {{address: "{address}"{entry}}}}}
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: app}}}}
  services:
    app: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{origin}"{server}}}]{balancer}}}}}
"""


def resident(pid: int) -> int:
    """Bytes of memory a process holds."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize()


# --- connections that wear out ---------------------------------------------------------------------------------------


def test_the_last_request_of_a_connection_is_answered_with_close() -> None:
    port, address = entry_point()
    with (
        Recorder() as origin,
        running_streamlb(config(address, origin.port, ", transport: {keepAliveMaxRequests: 3}")),
        Client(port) as client,
    ):
        assert [client.request().value("Connection") for _ in range(3)] == [None, None, b"close"]
        assert client.sock.recv(10) == b""
        assert origin.connections == 1  # The server's side is nobody's fault.


def test_an_old_connection_is_closed_after_its_next_answer() -> None:
    port, address = entry_point()
    with (
        Recorder() as origin,
        running_streamlb(config(address, origin.port, ", transport: {keepAliveMaxTime: 1s}")),
        Client(port) as client,
    ):
        born_at = time.monotonic()
        replies = [client.request()]
        while replies[-1].value("Connection") is None:
            time.sleep(0.1)
            replies.append(client.request())
        assert 0.7 < time.monotonic() - born_at < 1.9
        assert all(reply.status == 200 for reply in replies)
        assert client.sock.recv(10) == b""


# --- heads -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def roomy_and_strict() -> Iterator[tuple[int, int]]:
    """The ports of an entry point that takes heads of 64 KiB, and of one that takes 2 KiB."""
    (roomy, one), (strict, two) = entry_point(), entry_point()
    both = f'"{one}", http: {{maxHeaderBytes: 65536}}}}, strict: {{address: "{two}", http: {{maxHeaderBytes: 2048}}'
    with Recorder() as origin:
        text = config("@", origin.port).replace('"@"', both)
        with running_streamlb(text):
            yield roomy, strict


@pytest.mark.parametrize(("size", "roomy", "strict"), [(1_000, 200, 200), (3_000, 200, 431), (70_000, 431, 431)])
@pytest.mark.parametrize("field", [b"X", b"X: folded\r\nConnection"], ids=["plain", "other"])
def test_the_size_of_a_head_is_limited_per_entry_point(
    roomy_and_strict: tuple[int, int], size: int, roomy: int, strict: int, field: bytes
) -> None:
    head = b"GET / HTTP/1.0\r\nHost: a\r\n%b: %b\r\n\r\n" % (field, b"x" * size)
    statuses = [int(raw_http(port, head).split()[1]) for port in roomy_and_strict]
    assert statuses == [roomy, strict]


def test_a_request_line_over_the_limit_is_414(roomy_and_strict: tuple[int, int]) -> None:
    _, strict = roomy_and_strict
    assert raw_http(strict, b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 3_000)).split()[1] == b"414"
    assert raw_http(strict, b"GET /%b" % (b"x" * 3_000)).split()[1] == b"414"


# --- connections at once ---------------------------------------------------------------------------------------------


def hears_nothing(sock: socket.socket, seconds: float = 0.4) -> bool:
    """Whether nothing at all comes for a while: no answer, no end."""
    sock.settimeout(seconds)
    try:
        sock.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(10)
    return False


def test_over_the_limit_clients_wait_and_nobody_is_cut() -> None:
    port, address = entry_point()
    with (
        Recorder() as origin,
        running_streamlb(config(address, origin.port, ", transport: {maxConnections: 2}")) as proxy,
        Client(port) as first,
        Client(port) as second,
    ):
        assert [first.request().status, second.request().status] == [200, 200]
        with Client(port) as third, Client(port) as fourth:
            for waiting in (third, fourth):
                waiting.sock.sendall(b"GET /waited HTTP/1.1\r\nHost: a\r\n\r\n")
            assert hears_nothing(third.sock)
            assert [first.request().status, second.request().status] == [200, 200]
            first.sock.close()
            assert third.reply().status == 200
            assert hears_nothing(fourth.sock)
            second.sock.close()
            assert fourth.reply().status == 200
        with Client(port) as fifth:
            assert fifth.request().status == 200
        assert "entry point web: 2 connections are open, others wait" in proxy.log()


def test_the_limit_holds_for_tcp_routers_too() -> None:
    port, address = entry_point()
    with running_whoami("v1", http=False, tcp=True) as whoami:
        text = f"""
entryPoints: {{echo: {{address: "{address}", transport: {{maxConnections: 1}}}}}}
tcp:
  routers: {{all: {{rule: "HostSNI(`*`)", service: app}}}}
  services: {{app: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{whoami.tcp_port}"}}]}}}}}}
"""
        with (
            running_streamlb(text),
            socket.create_connection(("127.0.0.1", port), 10) as first,
            socket.create_connection(("127.0.0.1", port), 10) as second,
        ):
            first.sendall(b"hello")
            second.sendall(b"hello")
            assert first.recv(100) == b"v1: hello"
            assert hears_nothing(second)
            first.shutdown(socket.SHUT_WR)
            assert first.recv(100) == b""
            assert second.recv(100) == b"v1: hello"


# --- places at a server ----------------------------------------------------------------------------------------------


class Counted:
    """An origin's script that takes its time, and counts how many requests are with it at once."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, request: Recorded) -> Script:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.seconds)
        with self._lock:
            self.now -= 1
        return ok()


def visit(port: int, count: int, stagger: float = 0.05) -> list[tuple[int, float]]:
    """Status and duration of `count` requests that begin one soon after the other."""

    def one(number: int) -> tuple[int, float]:
        time.sleep(number * stagger)
        started_at = time.monotonic()
        status = http_get(port, f"/{number}").status
        return status, time.monotonic() - started_at

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_over_its_limit_a_server_is_waited_for_in_turn() -> None:
    port, address = entry_point()
    script = Counted(0.1)
    with Recorder(script) as origin, running_streamlb(config(address, origin.port, server=", maxConnections: 2")):
        replies = visit(port, 12, stagger=0.01)
    assert [status for status, _ in replies] == [200] * 12
    assert (script.most, len(origin.requests)) == (2, 12)
    assert origin.targets()[2:] == [f"/{number}" for number in range(2, 12)]


def test_a_full_queue_is_503_at_once_and_a_long_wait_503_later() -> None:
    port, address = entry_point()
    limited = {"server": ", maxConnections: 1", "balancer": ", queue: {maxSize: 1, timeout: 500ms}"}
    with Recorder(Counted(1.5)) as origin, running_streamlb(config(address, origin.port, **limited)) as proxy:
        first, second, third = visit(port, 3)
        assert (first[0], second[0], third[0]) == (200, 503, 503)
        assert 0.5 <= second[1] < 1.4
        assert third[1] < 0.3
        assert len(origin.requests) == 1
        assert "service app: all servers have their maxConnections, its queue is full" in proxy.log()
        assert "service app: all servers have their maxConnections, a request waited too long" in proxy.log()


def test_who_leaves_the_queue_takes_no_place() -> None:
    port, address = entry_point()
    with Recorder(Counted(0.6)) as origin:
        text = config(address, origin.port, server=", maxConnections: 1")
        with running_streamlb(text), Client(port) as first, Client(port) as third:
            with Client(port) as second:
                for client, target in ((first, "/first"), (second, "/second"), (third, "/third")):
                    client.sock.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                    time.sleep(0.1)
                # A reset: who only shuts his side may be waiting for the answer all the same.
                second.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            assert [first.reply().status, third.reply().status] == [200, 200]
        assert origin.targets() == ["/first", "/third"]


def test_tcp_connections_wait_for_a_place_too() -> None:
    port, address = entry_point()
    with running_whoami("v1", http=False, tcp=True) as whoami:
        text = f"""
entryPoints: {{echo: {{address: "{address}"}}}}
tcp:
  routers: {{all: {{rule: "HostSNI(`*`)", service: app}}}}
  services:
    app:
      loadBalancer:
        servers: [{{address: "127.0.0.1:{whoami.tcp_port}", maxConnections: 1}}]
        queue: {{maxSize: 1, timeout: 1s}}
"""
        with (
            running_streamlb(text) as proxy,
            socket.create_connection(("127.0.0.1", port), 10) as first,
            socket.create_connection(("127.0.0.1", port), 10) as second,
        ):
            first.sendall(b"hello")
            second.sendall(b"hello")
            assert first.recv(100) == b"v1: hello"
            assert hears_nothing(second, 0.3)
            with socket.create_connection(("127.0.0.1", port), 10) as third:
                assert third.recv(1) == b""  # There is no room to wait in.
            first.shutdown(socket.SHUT_WR)
            assert first.recv(100) == b""
            assert second.recv(100) == b"v1: hello"
            with socket.create_connection(("127.0.0.1", port), 10) as fourth:
                assert 1 <= elapsed(lambda: fourth.recv(1)) < 2
            assert "router all: no server of service app has a place" in proxy.log()


# --- memory ----------------------------------------------------------------------------------------------------------


def flood(sock: socket.socket, data: bytes) -> None:
    """Send until nothing more goes through for a while."""
    sock.settimeout(0.5)
    with contextlib.suppress(TimeoutError):
        while True:
            sock.sendall(data)


def test_two_sides_that_send_and_do_not_read_cost_what_the_reference_says() -> None:
    count, cap = 24, 1.5 * (1 << 20)
    port, address = entry_point()
    big = b"x" * 1_000_000
    rest = b"X: %b\r\nContent-Length: 9999999999\r\n\r\n" % (b"y" * 30_000)
    with (
        socket.create_server(("127.0.0.1", 0)) as origin,
        running_streamlb(config(address, origin.getsockname()[1])) as proxy,
        contextlib.ExitStack() as stack,
    ):
        assert raw_http(port, b"BAD\r\n\r\n")
        [worker] = proxy.workers()
        before = resident(worker)
        ends = []
        for _ in range(count):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\n" + rest)
            server = stack.enter_context(origin.accept()[0])
            server.sendall(b"HTTP/1.1 200 OK\r\n" + rest)
            ends += [client, server]
        with ThreadPoolExecutor(len(ends)) as pool:
            list(pool.map(lambda sock: flood(sock, big), ends))
        assert resident(worker) - before < count * cap


# --- the end ---------------------------------------------------------------------------------------------------------


def test_after_a_stop_signal_requests_are_taken_for_a_while() -> None:
    port, address = entry_point()
    options = ", transport: {lifeCycle: {requestAcceptGraceTimeout: 1s, graceTimeOut: 5s}}"
    with Recorder() as origin, running_streamlb(config(address, origin.port, options)) as proxy, Client(port) as client:
        assert client.request().status == 200
        proxy.signal(SIGTERM)
        stopped_at = time.monotonic()
        proxy.wait_for("SIGTERM: accepting for 1 s more, then work in flight has 5 s")
        with Client(port) as another:
            assert another.request().value("Connection") is None
        assert client.request().status == 200
        assert client.sock.recv(1) == b""
        assert 0.9 < time.monotonic() - stopped_at < 3
        with pytest.raises(ConnectionError):
            Client(port)
        assert proxy.wait() == 0
