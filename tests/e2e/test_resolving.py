"""Servers by name: names that do not resolve stop nothing, and a name may be as many servers as it has addresses."""

from __future__ import annotations

import socket
import time

from tests.support.configs import entry_point
from tests.support.http import http_get, ok, recording
from tests.support.programs import running_streamlb
from tests.support.until import until


def config(address: str, *servers: str, more: str = "") -> str:
    return f"""
entryPoints: {{web: {{address: "{address}"}}}}
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: app}}}}
  services: {{app: {{loadBalancer: {{servers: [{", ".join(servers)}]}}}}}}
{more}
"""


def test_a_name_that_does_not_resolve_is_502_and_not_the_end() -> None:
    port, address = entry_point()
    with running_streamlb(config(address, '{url: "http://nope.invalid:80"}')) as proxy:
        assert http_get(port).status == 502
        assert "nope.invalid:80: the name does not resolve" in proxy.wait_for("does not resolve")


def test_the_others_serve_meanwhile() -> None:
    port, address = entry_point()
    with recording(ok(b"here")) as origin:
        servers = '{url: "http://nope.invalid"}', f'{{url: "http://localhost:{origin.port}"}}'
        with running_streamlb(config(address, *servers)):
            assert [http_get(port).body for _ in range(6)] == [b"here"] * 6


def test_a_name_with_its_addresses_as_servers_over_http_and_tcp() -> None:
    port, address = entry_point()
    tcp_port, tcp_address = entry_point()
    with recording(ok(b"here")) as origin:
        where = f"localhost:{origin.port}"
        tcp = f"""
tcp:
  routers: {{all: {{rule: "HostSNI(`*`)", service: app, entryPoints: [raw]}}}}
  services: {{app: {{loadBalancer: {{servers: [{{address: "{where}", resolve: all}}]}}}}}}
"""
        text = config(address, f'{{url: "http://{where}", resolve: all}}', more=tcp)
        text = text.replace("entryPoints: {web", f'entryPoints: {{raw: {{address: "{tcp_address}"}}, web', 1)
        with running_streamlb(text) as proxy:
            proxy.wait_for("localhost is 127.0.0.1")
            assert [http_get(port).body for _ in range(3)] == [b"here"] * 3
            assert http_get(tcp_port).body == b"here"
        assert len(origin.requests) == 4


def test_in_the_log_the_address_stands_beside_the_name() -> None:
    port, address = entry_point()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://localhost:{unused.getsockname()[1]}"
        with running_streamlb(config(address, f'{{url: "{url}", resolve: all}}')) as proxy:
            proxy.wait_for("localhost is 127.0.0.1")
            until(lambda: http_get(port).status == 502 and f"{url} (127.0.0.1): connection refused" in proxy.log(), 10)


def test_a_name_that_is_lost_at_the_start_delays_nothing() -> None:
    port, address = entry_point()
    with recording() as origin:
        servers = '{url: "http://nope.invalid", resolve: all}', f'{{url: "http://127.0.0.1:{origin.port}"}}'
        started_at = time.monotonic()
        with running_streamlb("workers: 2\n" + config(address, *servers)) as proxy:
            assert {http_get(port).status for _ in range(6)} == {200}
            assert time.monotonic() - started_at < 15
            proxy.wait_for("nope.invalid does not resolve")
            assert proxy.stop() == 0
