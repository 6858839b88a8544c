"""Sockets that systemd has opened: by name, by address, and one process after the other under load."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.http import http_get, recording
from tests.support.load import constant_load
from tests.support.ports import free_port
from tests.support.programs import STREAMLB, need, running
from tests.support.successors import Activator

if TYPE_CHECKING:
    from pathlib import Path


def config(address: str, origin: int, *, workers: int = 1) -> str:
    return f"""
entryPoints: {{web: {{address: "{address}"}}}}
workers: {workers}
log: {{format: common}}
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: app}}}}
  services: {{app: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{origin}"}}]}}}}}}
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_one_after_the_other_under_load(workers: int, tmp_path: Path) -> None:
    """SIGTERM and a start, as `systemctl restart` does it: whoever comes in between waits in the socket's queue."""
    path = tmp_path / "lb.yaml"
    with recording() as origin, socket.create_server(("127.0.0.1", 0), backlog=512) as web:
        port = web.getsockname()[1]
        path.write_text(config(f"127.0.0.1:{port}", origin.port, workers=workers))
        activator = Activator({"web": web})
        with constant_load(port) as load:
            for _ in range(3):
                with activator.running(path) as program:
                    load.await_more(50)
                    program.signal(signal.SIGTERM)
                    assert program.wait() == 0
            with activator.running(path):
                load.await_more(50)
                load.stop()
        assert load.failed == 0, load


def test_by_address_where_the_name_is_another(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    loopback = ("127.0.0.1", 0)
    with recording() as origin, socket.create_server(loopback) as web, socket.create_server(loopback) as other:
        port = web.getsockname()[1]
        path.write_text(config(f"127.0.0.1:{port}", origin.port))
        with Activator({"streamlb.socket": web, "nobody": other}).running(path) as program:
            assert http_get(port).status == 200
            program.wait_for("systemd passes a socket 'nobody', and no entry point has that name or its address")


def test_systemds_own_activation(tmp_path: Path) -> None:
    activate = need("systemd-socket-activate", "systemd")
    port, elsewhere = free_port(), free_port()
    path = tmp_path / "lb.yaml"
    with recording() as origin:
        path.write_text(config(f"127.0.0.1:{elsewhere}", origin.port))
        command = [activate, "--listen", f"127.0.0.1:{port}", "--fdname=web", *STREAMLB, "run", str(path)]
        with running(command, name="activated") as program:
            program.wait_for("Listening on")
            # It is started by the first client, who waits meanwhile.
            assert http_get(port).status == 200
            assert f"entry point web on 127.0.0.1:{port}" in program.wait_for("entry point web")
            assert program.stop() == 0


def test_a_socket_of_the_wrong_kind(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wrong:
        wrong.bind(("127.0.0.1", 0))
        path.write_text(config(f"127.0.0.1:{free_port()}", 1))
        with pytest.raises(AssertionError, match="ended with 1"), Activator({"web": wrong}).running(path) as program:
            pytest.fail(program.log())
