"""Limits, as the user sets them: heads, requests per connection, connections, exchanges per server.

The story: what is over a limit waits or is refused with a plain answer; nobody who was let in is cut.
"""

from __future__ import annotations

import socket
import time
from signal import SIGTERM
from typing import TYPE_CHECKING

import pytest

from tests.support.configs import entry_point
from tests.support.http import Client, Recorder, raw_http
from tests.support.programs import running_streamlb, running_whoami

if TYPE_CHECKING:
    from collections.abc import Iterator


def config(address: str, origin: int, entry: str = "", server: str = "", balancer: str = "") -> str:
    return f"""
entryPoints: {{web: {{address: "{address}"{entry}}}}}
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: app}}}}
  services:
    app: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{origin}"{server}}}]{balancer}}}}}
"""


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
