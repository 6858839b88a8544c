"""The PROXY protocol with HAProxy and nginx on either side: whose address is believed, and whom it is told to.

The story: streamlb behind a TCP load balancer, or in front of one, and everybody still knows who the client is.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from tests.support.configs import entry_point
from tests.support.http import recording
from tests.support.peers import connect, everything, running_haproxy, running_nginx
from tests.support.ports import free_port
from tests.support.programs import running_streamlb
from tests.support.until import until

if TYPE_CHECKING:
    from tests.support.http import Recorder
    from tests.support.programs import Proxy

CLIENT = "127.0.0.2"
STRANGER = "127.0.0.3"
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"
V2 = (
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11"
    + struct.pack("!H", 12)
    + socket.inet_aton("192.0.2.7")
    + socket.inet_aton("198.51.100.1")
    + struct.pack("!HH", 4711, 443)
)
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"


def believing(address: str, origin: int, trusted: str = 'trustedIPs: ["127.0.0.1"]', patience: str = "10s") -> str:
    """HTTP behind the PROXY protocol, spoken by 127.0.0.1 only."""
    return f"""
entryPoints:
  web:
    address: "{address}"
    proxyProtocol: {{{trusted}}}
    transport: {{respondingTimeouts: {{readHeaderTimeout: {patience}}}}}
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: app}}}}
  services: {{app: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{origin}"}}]}}}}}}
"""


def forwarded_for(origin: Recorder) -> bytes | None:
    return origin.requests[-1].value("X-Forwarded-For")


SENDING = ("send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn", "send-proxy-v2 proxy-v2-options crc32c,unique-id")


def test_haproxy_in_front_says_who_the_client_is() -> None:
    port, address = entry_point()
    fronts = [free_port() for _ in SENDING]
    text = "".join(
        f"listen in{front}\n  bind 127.0.0.1:{front}\n  unique-id-format %[uuid()]\n"
        f"  source 127.0.0.1\n  server one 127.0.0.1:{port} {send}\n"
        for front, send in zip(fronts, SENDING, strict=True)
    )
    with recording() as origin, running_streamlb(believing(address, origin.port)), running_haproxy(fronts[-1], text):
        for front in fronts:
            with connect(front, CLIENT) as sock:
                sock.sendall(GET)
                assert everything(sock).startswith(b"HTTP/1.1 200 ")
            assert forwarded_for(origin) == CLIENT.encode()
    assert len(origin.requests) == len(SENDING)


def test_haproxy_s_health_checks_say_that_they_are_nobody_s() -> None:
    """`check-send-proxy` sends LOCAL: the connection is the balancer's own."""
    port, address = entry_point()
    front = free_port()
    text = f"frontend in\n  bind 127.0.0.1:{front}\n  default_backend out\n"
    text += "backend out\n  option httpchk GET /health\n"
    text += f"  server one 127.0.0.1:{port} send-proxy-v2 check check-send-proxy inter 100ms\n"
    with recording() as origin, running_streamlb(believing(address, origin.port)), running_haproxy(front, text):
        until(lambda: len(origin.requests) >= 2, 10, "two health checks arrive")
    assert {request.target for request in origin.requests} == {"/health"}
    assert forwarded_for(origin) == b"127.0.0.1"


HAPROXY_BEHIND = """
frontend in
  bind 127.0.0.1:{port} accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[fc_rcvd_proxy] %[dst_port]"
"""
NGINX_BEHIND = """server {{
  listen 127.0.0.1:{port} proxy_protocol;
  location / {{ return 200 "$proxy_protocol_addr 1 $proxy_protocol_server_port"; }}
}}"""


@pytest.mark.parametrize("peer", ["haproxy", "nginx"])
@pytest.mark.parametrize("protocol", ["tcp", "http"])
def test_servers_are_told_who_the_client_is(protocol: str, peer: str) -> None:
    ways = {version: entry_point() for version in (1, 2)}
    server = free_port()
    rule, field = ("HostSNI(`*`)", "address: '") if protocol == "tcp" else ("PathPrefix(`/`)", "url: 'http://")
    servers = f"[{{{field}127.0.0.1:{server}'}}]"
    text = f"""
entryPoints: {{in1: {{address: "{ways[1][1]}"}}, in2: {{address: "{ways[2][1]}"}}}}
{protocol}:
  routers:
    one: {{entryPoints: [in1], rule: "{rule}", service: one}}
    two: {{entryPoints: [in2], rule: "{rule}", service: two}}
  services:
    one: {{loadBalancer: {{serversTransport: one, servers: {servers}}}}}
    two: {{loadBalancer: {{serversTransport: two, servers: {servers}}}}}
  serversTransports: {{one: {{proxyProtocol: {{version: 1}}}}, two: {{proxyProtocol: {{version: 2}}}}}}
"""
    if peer == "haproxy":
        behind = running_haproxy(server, HAPROXY_BEHIND.format(port=server), "http")
    else:
        behind = running_nginx(server, NGINX_BEHIND.format(port=server))
    with behind, running_streamlb(text):
        for port, _ in ways.values():
            # Clients take turns, so that a connection kept for one would be seen serving the other.
            for client in (CLIENT, STRANGER, CLIENT):
                with connect(port, client) as sock:
                    sock.sendall(GET)
                    assert everything(sock).endswith(f"\r\n\r\n{client} 1 {port}".encode())


def test_the_client_s_address_goes_through_two_of_us() -> None:
    """HAProxy says v2 to one streamlb over TCP, which says v1 to another, which serves HTTP."""
    port, address = entry_point()
    outer_port, outer_address = entry_point()
    front = free_port()
    outer = f"""
entryPoints: {{in: {{address: "{outer_address}", proxyProtocol: {{insecure: true}}}}}}
tcp:
  routers: {{all: {{rule: "HostSNI(`*`)", service: app}}}}
  services: {{app: {{loadBalancer: {{proxyProtocol: {{version: 1}}, servers: [{{address: "127.0.0.1:{port}"}}]}}}}}}
"""
    text = f"listen in\n  bind 127.0.0.1:{front}\n  server one 127.0.0.1:{outer_port} send-proxy-v2\n"
    with recording() as origin, running_streamlb(believing(address, origin.port)), running_streamlb(outer):
        with running_haproxy(front, text), connect(front, CLIENT) as sock:
            sock.sendall(GET)
            assert everything(sock).startswith(b"HTTP/1.1 200 ")
    assert forwarded_for(origin) == CLIENT.encode()


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_a_header_may_come_in_any_pieces(header: bytes) -> None:
    port, address = entry_point()
    with recording() as origin, running_streamlb(believing(address, origin.port)):
        for step in (1, 5, len(header) - 1, len(header), len(header) + 3):
            with connect(port) as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                data = header + GET
                for at in range(0, len(header) + 3, step):
                    sock.sendall(data[at : at + step])
                sock.sendall(data[at + step :])
                assert everything(sock).startswith(b"HTTP/1.1 200 "), step
            assert forwarded_for(origin) == b"192.0.2.7"


def test_who_is_not_trusted_is_served_as_himself() -> None:
    """His header is read and thrown away, whichever it is."""
    port, address = entry_point()
    with recording() as origin, running_streamlb(believing(address, origin.port)):
        for header in (V1, V2, LOCAL, b""):
            with connect(port, STRANGER) as sock:
                sock.sendall(header + GET)
                assert everything(sock).startswith(b"HTTP/1.1 200 ")
            assert forwarded_for(origin) == STRANGER.encode()


def test_who_is_trusted_may_say_nothing() -> None:
    port, address = entry_point()
    with recording() as origin, running_streamlb(believing(address, origin.port)):
        for header in (b"", LOCAL, b"PROXY UNKNOWN\r\n"):
            with connect(port) as sock:
                sock.sendall(header + GET)
                assert everything(sock).startswith(b"HTTP/1.1 200 ")
            assert forwarded_for(origin) == b"127.0.0.1"


NO_HEADERS = {
    "short": b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n",
    "no address": b"PROXY TCP4 192.0.2.777 198.51.100.1 4711 443\r\n",
    "long": b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443" + b" " * 100 + b"\r\n",
    "version 3": b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0c" + bytes(12),
    "a short length": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x04" + bytes(4),
    "huge": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff" + bytes(65535),
}


def test_a_header_that_is_none_ends_the_connection() -> None:
    port, address = entry_point()
    with recording() as origin, running_streamlb(believing(address, origin.port)) as proxy:
        for name, header in NO_HEADERS.items():
            with connect(port) as sock:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(header + GET)
                assert b" 200 " not in everything(sock), name
        assert origin.requests == []
        still_serves(port, proxy)


def test_half_a_header_has_as_long_as_a_head_has() -> None:
    port, address = entry_point()
    with recording() as origin, running_streamlb(believing(address, origin.port, patience="500ms")) as proxy:
        halves = [connect(port) for _ in range(50)]
        for number, sock in enumerate(halves):
            sock.sendall((V1, V2)[number % 2][: 1 + number % 20])
        still_serves(port, proxy)
        for sock in halves:
            with sock:
                assert everything(sock) == b""
        assert len(origin.requests) == 1


def still_serves(port: int, proxy: Proxy) -> None:
    assert len(proxy.workers()) == 1
    with connect(port) as sock:
        sock.sendall(V2 + GET)
        assert everything(sock).startswith(b"HTTP/1.1 200 ")


def test_without_the_option_a_header_is_data() -> None:
    port, address = entry_point()
    text = "\n".join(line for line in believing(address, 9).splitlines() if "proxyProtocol" not in line)
    with running_streamlb(text), connect(port) as sock:
        sock.sendall(V1 + GET)
        assert everything(sock).startswith(b"HTTP/1.1 400 ")


def test_a_server_that_speaks_first_is_heard_when_the_header_has_come() -> None:
    port, address = entry_point("/tcp")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        text = f"""
entryPoints: {{mail: {{address: "{address}", proxyProtocol: {{trustedIPs: [127.0.0.0/8]}}}}}}
tcp:
  routers:
    office: {{rule: "HostSNI(`*`) && ClientIP(`192.0.2.0/24`)", service: mail}}
  services: {{mail: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{listener.getsockname()[1]}"}}]}}}}}}
"""
        with running_streamlb(text):
            with connect(port) as client:
                client.sendall(V1)
                server, _ = listener.accept()
                with server:
                    server.sendall(b"220 mail.example.com ESMTP\r\n")
                    assert client.recv(100) == b"220 mail.example.com ESMTP\r\n"
            # The rule is about whom the header names.
            with connect(port) as client:
                client.sendall(b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n")
                assert everything(client) == b""
