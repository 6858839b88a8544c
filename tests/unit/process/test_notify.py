"""What systemd hears."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from streamlb.process.notify import Notifier

if TYPE_CHECKING:
    from pathlib import Path


def told(ear: socket.socket) -> dict[str, str]:
    return dict(line.split("=", 1) for line in ear.recv(65536).decode().split("\n"))


@pytest.mark.parametrize("abstract", [False, True])
def test_everything_that_is_told(abstract: bool, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.settimeout(5)
        name = f"@streamlb-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
        ear.bind(name.replace("@", "\0"))
        notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())})
        assert notifier.watchdog == 3.0
        notifier.ready("serving\nall")
        assert told(ear) == {"READY": "1", "STATUS": "serving all"}
        before = time.monotonic_ns() // 1000
        notifier.reloading()
        message = told(ear)
        assert message["RELOADING"] == "1"
        assert before <= int(message["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        notifier.status("serving all")  # As before: not said again.
        notifier.status("serving some")
        assert told(ear) == {"STATUS": "serving some"}
        notifier.alive()
        assert told(ear) == {"WATCHDOG": "1"}
        notifier.succeeded_by(7)
        assert told(ear) == {"MAINPID": "7"}
        notifier.stopping(13.5)
        message = told(ear)
        assert (message["STOPPING"], message["EXTEND_TIMEOUT_USEC"]) == ("1", "13500000")
        notifier.close()
        notifier.ready("nobody hears this")


def test_without_systemd_nothing_is_sent() -> None:
    notifier = Notifier({"WATCHDOG_USEC": "3000000"})
    assert notifier.watchdog == 0
    notifier.ready("x")
    notifier.alive()


@pytest.mark.parametrize(("usec", "pid"), [("", ""), ("x", ""), ("-5", ""), ("3000000", "1")])
def test_a_watchdog_that_is_not_for_us(usec: str, pid: str, tmp_path: Path) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "x"), "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}
    notifier = Notifier(environ)
    assert notifier.watchdog == 0
    notifier.close()


def test_nobody_listens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    notifier.ready("x")
    notifier.status("y")
    assert len(caplog.records) == 1, "once is enough"
    notifier.close()
    Notifier({"NOTIFY_SOCKET": "vsock:2:1234"}).ready("x")
    assert "not an address" in caplog.records[-1].message
