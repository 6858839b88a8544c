"""`SIGUSR2`: another process goes on with the sockets, and no client notices."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.http import http_get, recording
from tests.support.load import constant_datagrams, constant_load
from tests.support.ports import free_port
from tests.support.programs import alive, children, running_streamlb, running_whoami
from tests.support.successors import successors, upgrade, upgrading
from tests.support.until import until

if TYPE_CHECKING:
    from pathlib import Path


def config(port: int, origin: int, *, workers: int = 1, udp: str = "", more: str = "") -> str:
    return f"""
entryPoints:
  web: {{address: "127.0.0.1:{port}"}}
{udp}
workers: {workers}
log: {{format: common}}
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: app}}}}
  services: {{app: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{origin}"}}]{more}}}}}}}
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_nobody_notices_an_upgrade(workers: int) -> None:
    port, dns = free_port(), free_port("udp")
    udp = f'  dns: {{address: "127.0.0.1:{dns}/udp", udp: {{timeout: 0.5s}}}}'
    with running_whoami(udp=True) as server:
        text = config(port, server.http_port, workers=workers, udp=udp) + (
            "udp: {routers: {all: {service: ns}}, services: {ns: {loadBalancer: "
            f'{{servers: [{{address: "127.0.0.1:{server.udp_port}"}}]}}}}}}}}\n'
        )
        with running_streamlb(text) as proxy, upgrading(proxy):
            with constant_load(port) as load, constant_datagrams(dns) as datagrams:
                for _ in range(2):
                    load.await_more(50)
                    upgrade(proxy)
                load.await_more(50)
                datagrams.await_more(20)
            assert load.failed == 0, load
            assert datagrams.failed == 0, datagrams
            assert proxy.process.returncode == 0
            os.kill(successors(proxy)[-1], signal.SIGTERM)
            until(lambda: not alive(successors(proxy)[-1]), 10)


def test_what_cannot_start_replaces_nobody(tmp_path: Path) -> None:
    """A mistake in the configuration costs nothing but a line; after it is mended the upgrade takes it over."""
    port = free_port()
    path = tmp_path / "lb.yaml"
    with recording() as origin, recording() as other:
        path.write_text(config(port, origin.port))
        with running_streamlb(path) as proxy, upgrading(proxy):
            path.write_text(config(port, origin.port).replace("service: app", "service: ap"))
            proxy.signal(signal.SIGUSR2)
            proxy.wait_for("the successor ended with exit code 1 before it was ready; this process goes on")
            assert http_get(port).status == 200
            assert proxy.process.poll() is None
            path.write_text(config(port, other.port))
            upgrade(proxy)
            assert http_get(port).status == 200
            assert len(other.requests) == 1


def test_one_upgrade_at_a_time_and_none_outlives_a_stop() -> None:
    port = free_port()
    # A server that does not answer its first health check keeps the successor from being ready.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        check = ", healthCheck: {path: /, timeout: 1.5s, initialState: probe}"
        text = config(port, silent.getsockname()[1], more=check)
        with running_streamlb(text) as proxy, upgrading(proxy):
            proxy.signal(signal.SIGUSR2)
            proxy.wait_for("started a successor")
            proxy.signal(signal.SIGUSR2)
            proxy.wait_for("upgrade: one is under way already")
            os.kill(successors(proxy)[0], signal.SIGKILL)
            proxy.wait_for("the successor was killed by SIGKILL before it was ready; this process goes on")
            proxy.signal(signal.SIGUSR2)
            until(lambda: len(successors(proxy)) == 2, 5)
            assert proxy.stop() == 0
            assert not alive(successors(proxy)[1])


def test_entry_points_and_workers_come_and_go_with_an_upgrade(tmp_path: Path) -> None:
    port, gone, new = (free_port() for _ in range(3))
    path = tmp_path / "lb.yaml"
    others = '  other: {{address: "127.0.0.1:{}"}}'
    with recording() as origin:
        path.write_text(
            config(port, origin.port, udp=others.format(gone)) + "providers: {providersThrottleDuration: 60s}"
        )
        with running_streamlb(path) as proxy, upgrading(proxy), constant_load(port) as load:
            path.write_text(config(port, origin.port, workers=2, udp=others.format(new)))
            upgrade(proxy)
            assert len(children(successors(proxy)[0])) == 2
            assert http_get(new).status == 200
            with pytest.raises(ConnectionRefusedError):
                http_get(gone)
            load.await_more(20)
        assert load.failed == 0, load


def test_the_command_waits_and_tells(tmp_path: Path) -> None:
    port = free_port()
    path = tmp_path / "lb.yaml"
    with recording() as origin:
        path.write_text(config(port, origin.port))
        with running_streamlb(path) as proxy, upgrading(proxy), constant_load(port) as load:
            path.write_text("nonsense")
            assert "the successor ended with exit code 1 before it was ready" in proxy.ctl("upgrade", code=1)
            assert proxy.process.poll() is None
            path.write_text(config(port, origin.port))
            told = proxy.ctl("upgrade")
            [_, pid] = successors(proxy)
            assert told == f"pid {pid} serves; pid {proxy.pid} finishes what is in flight\n"
            assert proxy.wait() == 0
            assert str(pid) in proxy.ctl("status"), "the socket is the other one's now"
            load.await_more(20)
        assert load.failed == 0, load
