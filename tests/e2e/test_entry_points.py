"""Entry points that carry more than one protocol, or nothing at all."""

from __future__ import annotations

import socket

import pytest

from tests.support.http import http_get, ok, raw_http, recording
from tests.support.ports import free_port
from tests.support.programs import running_streamlb, running_whoami


def config(port: int, http: int, tcp: int, clients: str) -> str:
    return f"""
entryPoints: {{web: {{address: "127.0.0.1:{port}"}}}}
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: app}}}}
  services: {{app: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{http}"}}]}}}}}}
tcp:
  routers: {{some: {{rule: "ClientIP(`{clients}`)", service: echo}}}}
  services: {{echo: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{tcp}"}}]}}}}}}
"""


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_tcp_routers_come_first_and_http_gets_the_rest(loop: str) -> None:
    port = free_port()
    with recording(ok(b"http")) as origin, running_whoami("v1", http=False, tcp=True) as whoami:
        strangers = config(port, origin.port, whoami.tcp_port, "10.0.0.0/8")
        with running_streamlb(strangers, env={"STREAMLB_LOOP": loop}) as proxy:
            assert [http_get(port).body for _ in range(3)] == [b"http"] * 3
            assert proxy.stop() == 0
        locals_too = config(port, origin.port, whoami.tcp_port, "127.0.0.0/8")
        with running_streamlb(locals_too, env={"STREAMLB_LOOP": loop}) as proxy:
            with socket.create_connection(("127.0.0.1", port), 5) as sock:
                sock.sendall(b"hello\n")
                assert sock.recv(100) == b"v1: hello\n"
            assert proxy.stop() == 0


def test_a_tcp_client_without_a_route_is_sent_away() -> None:
    port = free_port()
    text = config(port, 1, 1, "10.0.0.0/8")
    without_http = text[: text.index("http:")] + text[text.index("tcp:") :]
    with running_streamlb(without_http):
        assert raw_http(port, b"hello\n") == b""


def test_an_entry_point_without_routers_answers_404() -> None:
    port = free_port()
    with running_streamlb(f'entryPoints: {{web: {{address: "127.0.0.1:{port}"}}}}\n') as proxy:
        assert f"entry point web on 127.0.0.1:{port}: no routers" in proxy.log()
        assert http_get(port).status == 404
