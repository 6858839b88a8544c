"""HTTP through the installed command: bodies of any size, keep-alive, forwarding fields, answers of our own.

The story: what a user's browser, curl and servers may take for granted.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.configs import entry_point, http_servers
from tests.support.http import Client, Recorder, ok
from tests.support.programs import curl, running_streamlb, running_whoami

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.programs import Proxy

HOST = "myapp.test.com"
GIB = 1 << 30
MIB = 1 << 20


def one_server(address: str, port: int, options: str = "", top: str = "") -> str:
    return f"""
{top}
entryPoints: {{web: {{address: "{address}"{options}}}}}
http:
  routers: {{myapp: {{rule: "Host(`{HOST}`)", service: app}}}}
  services:
{http_servers(app=port)}
"""


@pytest.fixture(scope="module")
def proxied() -> Iterator[tuple[Proxy, int]]:
    """A proxy in front of whoami, and its port."""
    port, address = entry_point()
    with running_whoami("v1") as whoami, running_streamlb(one_server(address, whoami.http_port)) as proxy:
        yield proxy, port


def resident(pid: int) -> int:
    """Bytes of memory a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no VmRSS of {pid}")


def test_the_server_sees_the_request_and_who_sent_it(proxied: tuple[Proxy, int]) -> None:
    _, port = proxied
    url = f"http://127.0.0.1:{port}/api?x=1"
    spoofed = ("-H", "X-Forwarded-For: 6.6.6.6", "-H", "X_Forwarded_Host: evil", "-H", "X-Real-Ip: 6.6.6.6")
    seen = json.loads(curl("-H", f"Host: {HOST}", "-H", "Connection: x-mine", "-H", "X-Mine: 1", *spoofed, url).stdout)
    fields = {name.lower(): value for name, value in seen["headers"]}
    assert (seen["method"], seen["target"]) == ("GET", "/api?x=1")
    assert fields["host"] == HOST
    assert fields["x-forwarded-for"] == fields["x-real-ip"] == "127.0.0.1"
    assert fields["x-forwarded-host"] == HOST
    assert (fields["x-forwarded-proto"], fields["x-forwarded-port"]) == ("http", "80")
    assert fields["x-forwarded-server"] == socket.gethostname()
    assert not {"x-mine", "connection", "x_forwarded_host"} & set(fields)


def test_a_trusted_proxy_in_front_is_believed() -> None:
    port, address = entry_point()
    trusted = ', forwardedHeaders: {trustedIPs: ["127.0.0.0/8"]}'
    with Recorder() as origin, running_streamlb(one_server(address, origin.port, trusted)), Client(port) as client:
        client.request(host=HOST, headers=[("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "https")])
    assert origin.requests[0].value("X-Forwarded-For") == b"1.2.3.4, 127.0.0.1"
    assert origin.requests[0].value("X-Forwarded-Proto") == b"https"


def test_connections_are_kept_on_both_sides() -> None:
    port, address = entry_point()
    with Recorder() as origin, running_streamlb(one_server(address, origin.port)), Client(port) as client:
        for number in range(50):
            assert client.request(f"/{number}", host=HOST).status == 200
    assert (len(origin.requests), origin.connections) == (50, 1)


def test_pipelined_requests_are_answered_in_order() -> None:
    port, address = entry_point()
    with Recorder(lambda request: ok(request.target.encode())) as origin:
        with running_streamlb(one_server(address, origin.port)), Client(port) as client:
            requests = [f"GET /{n} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode() for n in range(20)]
            client.sock.sendall(b"".join(requests))
            assert [client.reply().text for _ in requests] == [f"/{n}" for n in range(20)]


@pytest.mark.parametrize("query", ["", "&chunked=1"])
def test_a_large_answer_through_a_slow_reader_costs_no_memory(proxied: tuple[Proxy, int], query: str) -> None:
    proxy, port = proxied
    [worker] = proxy.workers()
    with Client(port) as client:
        client.request("/data?size=1000000", host=HOST)
        before = resident(worker)
        request = f"GET /data?size={GIB}{query} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
        client.sock.sendall(request.encode())
        received, most = 0, before
        while piece := client.sock.recv(MIB):
            if received // (64 * MIB) != (received + len(piece)) // (64 * MIB):
                most = max(most, resident(worker))
            received += len(piece)
    assert received > GIB
    assert most - before < 16 * MIB


def test_a_large_upload_comes_back_as_it_was(proxied: tuple[Proxy, int], tmp_path: Path) -> None:
    _, port = proxied
    sent = tmp_path / "sent"
    sent.write_bytes(bytes(range(256)) * (64 * MIB // 256))
    for framing in ((), ("-H", "Transfer-Encoding: chunked")):
        got = tmp_path / "got"
        curl("-H", f"Host: {HOST}", *framing, "--data-binary", f"@{sent}", "-o", got, f"http://127.0.0.1:{port}/echo")
        assert got.read_bytes() == sent.read_bytes()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)
def test_what_cannot_be_read_with_certainty_is_refused(
    proxied: tuple[Proxy, int], request_bytes: bytes, status: int
) -> None:
    _, port = proxied
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(request_bytes + b"GET /second HTTP/1.1\r\nHost: %b\r\n\r\n" % HOST.encode())
        sock.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1") == 1


def test_a_server_that_does_not_answer_in_time_is_a_504() -> None:
    port, address = entry_point()
    top = "serversTransport: {forwardingTimeouts: {responseHeaderTimeout: 500ms}}"
    with running_whoami("v1") as whoami, running_streamlb(one_server(address, whoami.http_port, top=top)):
        with Client(port) as client:
            reply = client.request("/?wait=5s", host=HOST)
            assert (reply.status, reply.text) == (504, "Gateway Timeout")
            assert client.request("/", host=HOST).status == 200


def test_health_of_whoami_can_be_set_through_the_proxy(proxied: tuple[Proxy, int]) -> None:
    _, port = proxied
    with Client(port) as client:
        client.request("/health", host=HOST, method="POST", body=b"503")
        assert client.request("/health", host=HOST).status == 503
        client.request("/health", host=HOST, method="POST", body=b"200")
        assert client.request("/health", host=HOST).status == 200
