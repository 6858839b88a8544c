"""The life of `streamlb run`: start-up, stopping, dying and being replaced, as an operator sees it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.http import After, Client, Recorder, http_get, ok, recording
from tests.support.ports import free_port
from tests.support.programs import ROOT, STREAMLB, alive, need, running_streamlb
from tests.support.until import until

if TYPE_CHECKING:
    from tests.support.programs import Proxy


def config(port: int, origin: int, *, workers: int = 1, grace: str = "10s", log: str = "common") -> str:
    return f"""
entryPoints:
  web:
    address: "127.0.0.1:{port}"
    transport: {{lifeCycle: {{graceTimeOut: {grace}}}}}
workers: {workers}
log: {{format: {log}}}
http:
  routers:
    all: {{rule: "PathPrefix(`/`)", service: app}}
  services:
    app: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{origin}"}}]}}}}
"""


def is_refused(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


def in_thread(work: object) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


# --- start-up ----------------------------------------------------------------------------------------------------


def test_the_start_says_what_is_served_and_where(tmp_path: Path) -> None:
    port, udp_port = free_port(), free_port("udp")
    text = config(port, 1, workers=2).replace("  web:", f'  dns: {{address: "127.0.0.1:{udp_port}/udp"}}\n  web:')
    text += """
udp:
  routers: {dns: {service: dns, entryPoints: [dns]}}
  services: {dns: {loadBalancer: {servers: [{address: "127.0.0.1:1"}]}}}
"""
    path = tmp_path / "lb.yaml"
    path.write_text(text)
    with running_streamlb(path) as proxy:
        log = proxy.log()
        assert f"serves {path}: 2 entry points, 2 routers, 2 services, 2 servers" in log
        assert f"entry point web on 127.0.0.1:{port}: 1 HTTP router" in log
        assert f"entry point dns on 127.0.0.1:{udp_port}/udp: 1 UDP router" in log
        pids = {int(pid) for pid in re.findall(r"worker \d is ready \(pid (\d+)\)", log)}
        assert pids == set(proxy.workers())
        assert len(pids) == 2
        assert re.search(r"ready in \d+ ms", log)
        assert proxy.stop() == 0


def test_outside_a_terminal_the_log_is_json() -> None:
    text = config(free_port(), 1).replace("log: {format: common}", "")
    with running_streamlb(text) as proxy:
        lines = [json.loads(line) for line in proxy.log().splitlines()]
    assert {"time", "level", "logger", "message"} <= lines[0].keys()
    assert lines[-1]["message"].startswith("ready in ")


def test_an_address_in_use_is_one_line_and_exit_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for workers in (1, 2):
            with running_streamlb(config(port, 1, workers=workers), wait=False) as proxy:
                assert proxy.wait() == 1
                [line] = proxy.log().splitlines()
                assert line.endswith(f"entry point web: 127.0.0.1:{port} is already in use")


def test_two_streamlbs_never_share_a_port() -> None:
    port = free_port()
    with (
        running_streamlb(config(port, 1, workers=2)),
        running_streamlb(config(port, 1, workers=2), wait=False) as second,
    ):
        assert second.wait() == 1
        assert "already in use" in second.log()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who is not")
def test_a_privileged_port_is_one_line_and_exit_1(tmp_path: Path) -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 81:
        pytest.skip("this machine lets everybody have port 81")
    path = tmp_path / "lb.yaml"
    path.write_text(config(81, 1))
    powerless = [need("setpriv", "util-linux"), "--bounding-set=-all", "--inh-caps=-all"]
    done = subprocess.run(
        [*powerless, *STREAMLB, "run", path], capture_output=True, text=True, timeout=20, cwd=ROOT, check=False
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "entry point web: 127.0.0.1:81" in line
    assert "root" in line


def test_an_invalid_configuration_is_shown_and_nothing_is_bound() -> None:
    port = free_port()
    text = config(port, 1).replace("service: app", "service: ap")
    with running_streamlb(text, wait=False) as proxy:
        until(lambda: proxy.process.poll() is not None or not is_refused(port))
        assert proxy.wait() == 1
        assert re.search(r"lb\.yaml:\d+:\d+: error: http\.routers\.all\.service: ", proxy.log())
        assert "1 error" in proxy.log()
        assert "Traceback" not in proxy.log()


def test_a_missing_file_is_one_line_and_exit_1(tmp_path: Path) -> None:
    with running_streamlb(tmp_path / "none.yaml", wait=False) as proxy:
        assert proxy.wait() == 1
        assert "none.yaml" in proxy.log()
        assert "Traceback" not in proxy.log()


def test_the_control_process_starts_without_the_engines_and_the_admin_sockets_libraries() -> None:
    heavy = "{name for name in sys.modules if name.startswith(('streamlb.proxy', 'starlette', 'uvicorn'))}"
    code = f"import sys, streamlb.process.control\nprint(*sorted({heavy}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == ""


def test_workers_load_nothing_heavy() -> None:
    code = "import sys, streamlb.process.worker\nprint(*sorted({'pydantic', 'click', 'yaml'} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == ""


def test_files_in_the_working_directory_are_not_mistaken_for_modules(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text(config(free_port(), 1))
    for name in ("asyncio", "msgspec", "ipaddress", "h11"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    command = [sys.executable, "-P", "-m", "streamlb", "run", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert any("ready in" in line for line in process.stderr)
        finally:
            process.terminate()
        assert process.wait(10) == 0


# --- stopping ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_lets_work_in_flight_finish(number: signal.Signals, workers: int) -> None:
    port = free_port()
    answers: list[bytes] = []
    with (
        recording([0.7, ok(b"late")]) as origin,
        running_streamlb(config(port, origin.port, workers=workers)) as proxy,
        Client(port) as idle,
    ):
        request = in_thread(lambda: answers.append(http_get(port, "/slow").body))
        until(lambda: origin.requests)
        proxy.signal(number)
        until(lambda: is_refused(port))
        assert proxy.process.poll() is None
        assert idle.sock.recv(1) == b""  # An idle connection is closed at once.
        assert proxy.wait(5) == 0
        request.join(5)
        assert answers == [b"late"]


def test_the_grace_time_ends_what_does_not_end() -> None:
    port = free_port()
    with (
        recording([After.HANG]) as origin,
        running_streamlb(config(port, origin.port, grace="500ms")) as proxy,
        Client(port) as client,
    ):
        client.sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: origin.requests)
        started_at = time.monotonic()
        assert proxy.stop() == 0
        assert 0.4 < time.monotonic() - started_at < 3
        assert "1 conversation was cut off" in proxy.log()


def test_a_second_signal_ends_at_once() -> None:
    port = free_port()
    with (
        recording([After.HANG]) as origin,
        running_streamlb(config(port, origin.port)) as proxy,
        Client(port) as client,
    ):
        client.sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: origin.requests)
        workers = proxy.workers()
        proxy.signal(signal.SIGTERM)
        proxy.wait_for("a second signal ends at once")
        proxy.signal(signal.SIGTERM)
        assert proxy.wait(3) == 128 + signal.SIGTERM
        until(lambda: not any(map(alive, workers)))


def test_a_stop_during_the_start_is_a_stop() -> None:
    with running_streamlb(config(free_port(), 1, workers=2), wait=False) as proxy:
        proxy.wait_for("entry point web")
        assert proxy.stop() == 0


def test_a_closed_terminal_or_a_reload_ends_nothing() -> None:
    port = free_port()
    with recording() as origin, running_streamlb(config(port, origin.port)) as proxy:
        proxy.signal(signal.SIGHUP)
        os.kill(proxy.workers()[0], signal.SIGHUP)
        proxy.wait_for("SIGHUP: the configuration is as before")
        assert http_get(port).status == 200
        assert proxy.stop() == 0


# --- dying -------------------------------------------------------------------------------------------------------


def kill_and_await_successor(proxy: Proxy, number: int = signal.SIGKILL) -> None:
    victim = proxy.workers()[0]
    ready = proxy.log().count("is ready")
    os.kill(victim, number)
    until(lambda: proxy.log().count("is ready") > ready, 10)
    assert victim not in proxy.workers()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_dead_worker_is_replaced_and_no_connection_is_refused(workers: int) -> None:
    port = free_port()
    statuses: list[int] = []
    over = threading.Event()

    def keep_asking() -> None:
        while not over.is_set():
            # What the dead worker had already accepted is lost with it; what waits in the queue is not.
            with contextlib.suppress(AssertionError, ConnectionResetError):
                statuses.append(http_get(port).status)

    with recording() as origin, running_streamlb(config(port, origin.port, workers=workers)) as proxy:
        asking = in_thread(keep_asking)
        until(lambda: statuses)
        kill_and_await_successor(proxy)
        answered = len(statuses)
        until(lambda: len(statuses) > answered + 5)
        over.set()
        asking.join(10)
        assert set(statuses) == {200}
        assert "was killed by SIGKILL; starting another" in proxy.log()
        assert len(proxy.workers()) == workers
        assert proxy.stop() == 0


def test_a_worker_that_is_told_to_end_finishes_its_work_first() -> None:
    port = free_port()
    answers: list[bytes] = []
    with recording([0.5, ok(b"late")]) as origin, running_streamlb(config(port, origin.port)) as proxy:
        request = in_thread(lambda: answers.append(http_get(port).body))
        until(lambda: origin.requests)
        kill_and_await_successor(proxy, signal.SIGTERM)
        request.join(5)
        assert answers == [b"late"]
        assert http_get(port).body == b"late"


def test_a_worker_that_keeps_dying_is_reported_and_started_ever_more_slowly() -> None:
    with running_streamlb(config(free_port(), 1)) as proxy:
        for _ in range(4):
            kill_and_await_successor(proxy)
        assert "worker 0 died 4 times in a row; next try in 1 s" in proxy.log()
        assert proxy.stop() == 0


def test_workers_end_with_a_control_process_that_was_killed() -> None:
    port = free_port()
    answers: list[bytes] = []
    with (
        recording([0.5, ok(b"late")]) as origin,
        running_streamlb(config(port, origin.port, workers=2)) as proxy,
    ):
        workers = proxy.workers()
        request = in_thread(lambda: answers.append(http_get(port).body))
        until(lambda: origin.requests)
        os.kill(proxy.pid, signal.SIGKILL)
        until(lambda: is_refused(port))
        with running_streamlb(config(port, origin.port, workers=2)):  # The address is free at once.
            request.join(5)
            assert answers == [b"late"]
            until(lambda: not any(map(alive, workers)))


def test_stock_asyncio_serves_as_well() -> None:
    port = free_port()
    with (
        Recorder() as origin,
        running_streamlb(config(port, origin.port), env={"STREAMLB_LOOP": "asyncio"}) as proxy,
    ):
        assert http_get(port).status == 200
        assert proxy.stop() == 0


def test_a_worker_that_does_not_end_is_killed() -> None:
    with running_streamlb(config(free_port(), 1, grace="100ms")) as proxy:
        os.kill(proxy.workers()[0], signal.SIGSTOP)
        assert proxy.stop() == 1
        assert "does not end; killing it" in proxy.log()
