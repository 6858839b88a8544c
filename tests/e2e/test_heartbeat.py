"""Workers that stand still: noticed, reported with the place, replaced; and what systemd hears meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING

from tests.support.http import http_get, recording
from tests.support.load import constant_load
from tests.support.ports import free_port
from tests.support.programs import running_streamlb
from tests.support.successors import successors, upgrade, upgrading
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STANDING = """
import signal, time
def stand_still(*_):
    while True:
        time.sleep(1)
signal.signal(signal.SIGRTMIN, stand_still)
"""


def config(port: int, origin: int, *, workers: int = 1, timeout: str = "2s") -> str:
    return f"""
entryPoints: {{web: {{address: "127.0.0.1:{port}"}}}}
workers: {workers}
workerTimeout: {timeout}
log: {{format: common}}
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: app}}}}
  services: {{app: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{origin}"}}]}}}}}}
"""


class Ear:
    """Where systemd would listen. heard: all messages."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.sock.bind(str(path))
        self.environ = {"NOTIFY_SOCKET": str(path)}
        self._heard: list[str] = []

    @property
    def heard(self) -> list[str]:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._heard.append(self.sock.recv(65536).decode())
        return self._heard

    def await_word(self, text: str, after: int = 0, timeout: float = 10.0) -> str:
        return until(lambda: next((each for each in self.heard[after:] if text in each), ""), timeout, text)


@contextlib.contextmanager
def listening(path: Path) -> Iterator[Ear]:
    ear = Ear(path)
    with ear.sock:
        yield ear


def test_a_stopped_worker_is_replaced() -> None:
    port = free_port()
    with recording() as origin, running_streamlb(config(port, origin.port, workers=2)) as proxy:
        victim = proxy.workers()[0]
        os.kill(victim, signal.SIGSTOP)
        proxy.wait_for("has said nothing for 1 s; it is stopped (SIGSTOP)")
        proxy.wait_for("has said nothing for 2 s: killing it")
        until(lambda: victim not in proxy.workers() and len(proxy.workers()) == 2, 10)
        until(lambda: proxy.log().count("is ready (pid") == 3, 10)
        with constant_load(port) as load:
            load.await_more(50)
        assert load.failed == 0, load


def test_a_loop_that_stands_is_reported_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(STANDING)
    port = free_port()
    env = {"PYTHONPATH": str(tmp_path)}
    with recording() as origin, running_streamlb(config(port, origin.port), env=env) as proxy:
        [victim] = proxy.workers()
        os.kill(victim, signal.SIGRTMIN)
        proxy.wait_for("has said nothing for 1 s; ")
        proxy.wait_for("in stand_still")
        proxy.wait_for("killing it")
        until(lambda: proxy.log().count("is ready (pid") == 2, 10)
        assert http_get(port).status == 200


def test_what_systemd_hears(tmp_path: Path) -> None:
    port = free_port()
    path = tmp_path / "lb.yaml"
    with recording() as origin, listening(tmp_path / "notify") as ear:
        path.write_text(config(port, origin.port))
        with running_streamlb(path, env=ear.environ | {"WATCHDOG_USEC": "1600000"}) as proxy:
            first = ear.await_word("READY=1")
            assert "STATUS=serving 1 entry point; 1 worker; configuration 1" in first
            ear.await_word("WATCHDOG=1")
            before = len(ear.heard)
            path.write_text("nonsense: true\n")
            proxy.signal(signal.SIGHUP)
            assert "MONOTONIC_USEC=" in ear.await_word("RELOADING=1", before)
            assert "the last change was not taken over" in ear.await_word("READY=1", before)
            os.kill(proxy.workers()[0], signal.SIGSTOP)
            proxy.wait_for("it is stopped")
            before = len(ear.heard)
            proxy.wait_for("killing it")
            assert "WATCHDOG=1" not in ear.heard[before:], "not while a worker does not serve"
            ear.await_word("WATCHDOG=1", len(ear.heard))
            before = len(ear.heard)
            assert proxy.stop() == 0
            assert "EXTEND_TIMEOUT_USEC=13000000" in ear.await_word("STOPPING=1", before)


def test_systemd_hears_who_goes_on(tmp_path: Path) -> None:
    port = free_port()
    with recording() as origin, listening(tmp_path / "notify") as ear:
        environ = ear.environ | {"WATCHDOG_USEC": "2000000"}
        with running_streamlb(config(port, origin.port), env=environ) as proxy, upgrading(proxy):
            ear.await_word("READY=1")
            pid = upgrade(proxy)
            assert successors(proxy) == [pid]
            ear.await_word(f"MAINPID={pid}")
            assert not any("STOPPING" in each for each in ear.heard)
            ear.await_word("WATCHDOG=1", len(ear.heard))
