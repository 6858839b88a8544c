"""`scripts/demo`, the first thing a stranger runs: it starts quickly, does what it prints, leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket

import pytest

from tests.support.http import http_get
from tests.support.programs import ROOT, Program, alive, children, running

PORTS = (8000, 8081, 8082, 9000, 9081, 9082)
"""The demo's ports are what conf/lb.yaml says: a reader may type them."""


@pytest.fixture(autouse=True)
def _demo_can_start() -> None:
    if not (ROOT / ".venv" / ".streamlb-dev").exists():
        pytest.skip("the environment was not made by scripts/test")
    for port in PORTS:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    pytest.skip(f"port {port} is in use; the demo needs it")


def family(pid: int) -> list[int]:
    """A process's descendants."""
    found = children(pid)
    return [*found, *(each for child in found for each in family(child))]


def stop_and_count(demo: Program, number: int) -> None:
    pids = family(demo.pid)
    assert len(pids) >= 4  # Two servers, the control process, its worker.
    assert demo.stop(number) == 0
    assert not [pid for pid in pids if alive(pid)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_does_what_it_prints_and_leaves_nothing(number: signal.Signals) -> None:
    with running([ROOT / "scripts" / "demo"], name="demo") as demo:
        demo.wait_for("Ctrl-C stops everything")
        assert "installing" not in demo.log(), "a second start installs nothing, which is what makes it quick"
        expected = re.search(r"Canary.*: ((?:v\d ?)+)", demo.log())
        assert expected is not None
        answers = [http_get(8000, host="myapp.test.com").text for _ in range(6)]
        assert [re.search(r"v\d", answer)[0] for answer in answers] == expected[1].split()  # type: ignore[index]
        stop_and_count(demo, number)


def test_a_taken_port_is_said_and_nothing_stays() -> None:
    with socket.create_server(("127.0.0.1", 8082)), running([ROOT / "scripts" / "demo"], name="demo") as demo:
        assert demo.wait(10) == 1
        assert "127.0.0.1:8082: the address is already in use" in demo.log()
        assert "error: the demo cannot start" in demo.log()
    with socket.create_server(("127.0.0.1", 8000)), running([ROOT / "scripts" / "demo"], name="demo") as demo:
        assert demo.wait(10) == 1
        assert "127.0.0.1:8000 is already in use" in demo.log()
    with socket.create_server(("127.0.0.1", 8081)):
        pass


def test_the_demo_ends_with_any_of_its_processes() -> None:
    with running([ROOT / "scripts" / "demo"], name="demo") as demo:
        demo.wait_for("Ctrl-C stops everything")
        pids = family(demo.pid)
        [*_, control] = children(demo.pid)
        for pid in children(control):
            assert alive(pid)
        os.kill(control, signal.SIGTERM)
        assert demo.wait(10) == 1
        assert not [pid for pid in pids if alive(pid)]
