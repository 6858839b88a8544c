"""Failover: the fallback answers when the main service has nobody, cannot be reached, or fails with certain statuses.

The story: a main service that breaks in every way there is, and clients that see a good answer all the same.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.configs import entry_point, http_servers
from tests.support.http import After, Client, Recorder, ok
from tests.support.programs import running_streamlb, running_whoami
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.http import Answer, Reply

HOST = "app.test.com"
ERRORS = 'errors: {status: ["500-504", 429]},'


def failing(address: str, main: int | list[int], fallback: int, errors: str = ERRORS, more: str = "") -> str:
    ports = main if isinstance(main, list) else [main]
    servers = ", ".join(f"{{url: 'http://127.0.0.1:{port}'}}" for port in ports)
    return f"""
entryPoints: {{web: {{address: "{address}"}}}}
{more}
http:
  routers: {{app: {{rule: "Host(`{HOST}`)", service: app}}}}
  services:
    app: {{failover: {{{errors} service: main, fallback: fallback, healthCheck: {{}}}}}}
    main: {{loadBalancer: {{servers: [{servers}], sticky: {{cookie: {{name: main}}}}}}}}
    fallback:
      loadBalancer: {{servers: [{{url: "http://127.0.0.1:{fallback}"}}], sticky: {{cookie: {{name: spare}}}}}}
"""


def status(code: int, body: bytes = b"broken") -> bytes:
    return b"HTTP/1.1 %d Whatever\r\nContent-Length: %d\r\n\r\n%b" % (code, len(body), body)


@contextlib.contextmanager
def pair(
    answer: Answer, errors: str = ERRORS, fallback: Answer | None = None
) -> Iterator[tuple[Recorder, Recorder, Client]]:
    """A main service that answers so, its fallback, and a client of both."""
    port, address = entry_point()
    with Recorder(answer) as main, Recorder(fallback or ok(b"fallback")) as spare:
        with running_streamlb(failing(address, main.port, spare.port, errors)), Client(port) as client:
            yield main, spare, client


def test_a_status_in_range_never_reaches_the_client() -> None:
    with pair(ok()) as (main, spare, client):
        for code in (429, 500, 503, 504):
            main.answer = status(code)
            reply = client.request(f"/{code}", host=HOST, headers=[("X-Thing", "a")])
            assert (reply.status, reply.text) == (200, "fallback")
        assert [len(main.requests), len(spare.requests)] == [4, 4]
        for first, second in zip(main.requests, spare.requests, strict=True):
            assert (first.start_line, first.headers) == (second.start_line, second.headers)
        # The main service's connection was good for every one of them.
        assert main.connections == 1


def test_another_status_is_the_answer() -> None:
    with pair(ok()) as (main, spare, client):
        for code in (200, 204, 304, 400, 404, 499, 505):
            main.answer = b"HTTP/1.1 %d X\r\n\r\n" % code if code in (204, 304) else status(code)
            assert client.request(host=HOST).status == code
        assert not spare.requests


def test_the_fallback_s_answer_is_final() -> None:
    with pair(status(503), fallback=status(500, b"both")) as (_, spare, client):
        reply = client.request(host=HOST)
        assert (reply.status, reply.text) == (500, "both")
        assert len(spare.requests) == 1


def test_cookies_are_those_of_who_answers() -> None:
    with pair(status(503)) as (main, _, client):
        [cookie] = client.request(host=HOST).values("Set-Cookie")
        assert cookie.startswith(b"spare=")
        main.answer = ok(b"main")
        [cookie] = client.request(host=HOST).values("Set-Cookie")
        assert cookie.startswith(b"main=")


FAILURES: dict[str, Answer] = {
    "chunked": b"HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
    "large": b"HTTP/1.1 503 X\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100000,
    "never complete": (b"HTTP/1.1 503 X\r\nContent-Length: 100\r\n\r\nhalf", After.HANG),
    "until close": (b"HTTP/1.1 503 X\r\n\r\nuntil the end", After.CLOSE),
    "hints": (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", status(503)),
    "closed": (After.CLOSE,),
    "reset": (After.RESET,),
    "garbage": (b"garbage\r\n\r\n", After.CLOSE),
}


def test_every_way_to_fail() -> None:
    with pair(ok()) as (main, spare, client):
        for way, answer in FAILURES.items():
            main.answer = answer
            for number in range(2):
                target = f"/{way.replace(' ', '-')}/{number}"
                assert client.request(target, host=HOST).text == "fallback", way
                assert spare.targets()[-1] == target
        assert len(spare.requests) == 2 * len(FAILURES)


def body_of(size: int, chunked: bool) -> tuple[bytes, bytes]:
    """The framing field and the body as it is sent."""
    body = bytes(range(256)) * (size // 256)
    if chunked:
        return b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return b"Content-Length: %d\r\n" % len(body), body


def post(client: Client, size: int, chunked: bool) -> Reply:
    framing, body = body_of(size, chunked)
    client.sock.sendall(f"POST / HTTP/1.1\r\nHost: {HOST}\r\n".encode() + framing + b"\r\n" + body)
    return client.reply()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [256, 64 * 1024, 768 * 1024])
def test_the_same_body_goes_to_the_fallback(size: int, chunked: bool) -> None:
    with pair(status(503)) as (main, spare, client):
        for _ in range(2):
            assert post(client, size, chunked).text == "fallback"
        assert [len(request.body) for request in spare.requests] == [size, size]
        assert spare.requests[0].body == main.requests[0].body
        assert spare.requests[0].method == "POST"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_gets_the_main_answer(chunked: bool) -> None:
    errors = "errors: {status: [503], maxRequestBodyBytes: 1000},"
    with pair(status(503), errors) as (main, spare, client):
        reply = post(client, 4096, chunked)
        assert (reply.status, reply.text) == (503, "broken")
        assert len(main.requests[0].body) == 4096
        assert not spare.requests
        assert post(client, 512, chunked).text == "fallback"


def test_a_main_service_that_fails_before_it_has_the_whole_body() -> None:
    port, address = entry_point()
    with socket.create_server(("127.0.0.1", 0)) as early, Recorder(ok(b"fallback")) as spare:
        with running_streamlb(failing(address, early.getsockname()[1], spare.port)), Client(port) as client:
            client.sock.sendall(f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 200000\r\n\r\n".encode())
            client.sock.sendall(b"a" * 100_000)
            sock, _ = early.accept()
            with sock:
                sock.settimeout(5)
                sock.recv(1000)
                sock.sendall(status(503))
                until(lambda: spare.connections == 1)
                client.sock.sendall(b"b" * 100_000)
                assert client.reply().text == "fallback"
        assert spare.requests[0].body == b"a" * 100_000 + b"b" * 100_000


def test_a_main_service_that_does_not_answer_in_time() -> None:
    port, address = entry_point()
    more = "serversTransport: {forwardingTimeouts: {responseHeaderTimeout: 300ms}}"
    with Recorder([After.HANG]) as main, Recorder(ok(b"fallback")) as spare:
        with running_streamlb(failing(address, main.port, spare.port, more=more)), Client(port) as client:
            assert client.request(host=HOST, method="POST", body=b"x").text == "fallback"
        assert spare.requests[0].body == b"x"


@pytest.mark.parametrize("errors", ["", ERRORS])
@pytest.mark.parametrize("dead", [1, 12])
def test_a_main_service_that_cannot_be_reached(errors: str, dead: int) -> None:
    """Without any status too: nothing was sent to it. With more dead servers than are tried for one request."""
    port, address = entry_point()
    ports = [entry_point()[0] for _ in range(dead)]
    with Recorder(ok(b"fallback")) as spare:
        with running_streamlb(failing(address, ports, spare.port, errors)) as proxy, Client(port) as client:
            for _ in range(2):
                assert client.request(host=HOST, method="POST", body=b"once").text == "fallback"
            if dead > 5:
                proxy.wait_for("service main: cannot be reached, service fallback takes over")
        assert [request.body for request in spare.requests] == [b"once", b"once"]


def test_without_statuses_an_error_is_an_answer() -> None:
    with pair(status(503), errors="") as (_, spare, client):
        assert client.request(host=HOST).status == 503
        assert not spare.requests


def test_a_fallback_that_is_dead_too() -> None:
    port, address = entry_point()
    with Recorder(status(503)) as main:
        dead = entry_point()[0]
        with running_streamlb(failing(address, main.port, dead)), Client(port) as client:
            for _ in range(2):
                assert client.request(host=HOST).status == 502


def test_main_is_used_again_once_it_is_well_and_each_failing_over_is_told() -> None:
    port, address = entry_point()
    with Recorder(ok(b"main"), [status(503)]) as main, Recorder(ok(b"fallback")) as spare:
        with running_streamlb(failing(address, main.port, spare.port)) as proxy, Client(port) as client:
            assert [client.request(host=HOST).text for _ in range(3)] == ["fallback", "main", "main"]
            proxy.wait_for("service main: failed with 503, service fallback takes over")


def test_a_chain_of_three() -> None:
    port, address = entry_point()
    with Recorder(status(503)) as a, Recorder(status(500)) as b, Recorder(ok(b"third")) as c:
        config = f"""
entryPoints: {{web: {{address: "{address}"}}}}
http:
  routers: {{app: {{rule: "Host(`{HOST}`)", service: app}}}}
  services:
    app: {{failover: {{service: inner, fallback: c, errors: {{status: [500]}}}}}}
    inner: {{failover: {{service: a, fallback: b, errors: {{status: [503]}}}}}}
{http_servers(a=a.port, b=b.port, c=c.port)}
"""
        with running_streamlb(config), Client(port) as client:
            assert client.request(host=HOST, method="PUT", body=b"data").text == "third"
        assert [each.requests[0].body for each in (a, b, c)] == [b"data"] * 3


def test_an_http_1_0_client_and_a_head_request() -> None:
    with pair(status(503)) as (_, _, client):
        client.sock.sendall(f"HEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        reply = client.reply(b"HEAD")
        assert (reply.status, reply.value("Content-Length")) == (200, b"8")
        client.sock.sendall(f"GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode())
        assert client.reply().text == "fallback"


def test_tcp_falls_back_when_main_cannot_be_reached() -> None:
    port, address = entry_point()
    dead = ", ".join(f"{{address: '127.0.0.1:{entry_point()[0]}'}}" for _ in range(12))
    with running_whoami("spare", text="spare", tcp=True) as spare:
        config = f"""
entryPoints: {{db: {{address: "{address}"}}}}
tcp:
  routers: {{app: {{rule: "HostSNI(`*`)", service: app}}}}
  services:
    app: {{failover: {{service: main, fallback: spare}}}}
    main: {{loadBalancer: {{servers: [{dead}]}}}}
    spare: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{spare.tcp_port}"}}]}}}}
"""
        with running_streamlb(config):
            for _ in range(2):
                with socket.create_connection(("127.0.0.1", port), 5) as sock:
                    sock.sendall(b"x\n")
                    assert sock.recv(100) == b"spare: x\n"


def test_udp_falls_back_when_main_is_not_there() -> None:
    port, address = entry_point("/udp")
    dead = entry_point("/udp")[0]
    with running_whoami("spare", text="spare", udp=True) as spare:
        config = f"""
entryPoints: {{dns: {{address: "{address}"}}}}
udp:
  routers: {{app: {{service: app}}}}
  services:
    app: {{failover: {{service: main, fallback: spare}}}}
    main: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{dead}"}}]}}}}
    spare: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{spare.udp_port}"}}]}}}}
"""
        with running_streamlb(config), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            for _ in range(3):
                sock.sendto(b"x", ("127.0.0.1", port))
                assert sock.recv(100) == b"spare: x"
