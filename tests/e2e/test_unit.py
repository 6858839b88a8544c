"""The files for systemd, logrotate and sysctl: what those programs say to them."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.programs import STREAMLB, need

if TYPE_CHECKING:
    from pathlib import Path


def printed(*args: str) -> str:
    return subprocess.run([*STREAMLB, "unit", *args], capture_output=True, text=True, check=True, timeout=20).stdout


def ran(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def service(tmp_path: Path) -> Path:
    path = tmp_path / "streamlb.service"
    path.write_text(printed("service", "--config", "/etc/my lb.yaml"))
    return path


def test_systemd_takes_the_service_and_the_socket(service: Path) -> None:
    analyze = need("systemd-analyze", "systemd")
    socket = service.with_name("streamlb-web.socket")
    socket.write_text(printed("socket"))
    told = ran(analyze, "verify", "--man=no", service, socket)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


def test_the_service_has_few_rights(service: Path) -> None:
    analyze = need("systemd-analyze", "systemd")
    told = ran(analyze, "security", "--offline=yes", "--no-pager", service)
    found = re.search(r"Overall exposure level for streamlb.service: ([0-9.]+)", told.stdout)
    assert found, told.stdout + told.stderr
    assert float(found[1]) < 2


def test_paths(service: Path) -> None:
    text = service.read_text()
    assert 'run "/etc/my lb.yaml"\n' in text
    assert 'check "/etc/my lb.yaml"\n' in text
    assert re.search(r"^ExecStart=/\S+", text, re.MULTILINE)
    assert not re.search(r"@[A-Z]+@", text)


def test_logrotate_takes_its_file(tmp_path: Path) -> None:
    logrotate = need("logrotate")
    path = tmp_path / "streamlb"
    path.write_text(printed("logrotate"))
    path.chmod(0o644)
    told = ran(logrotate, "--debug", "--state", tmp_path / "state", path)
    assert told.returncode == 0
    assert "error" not in told.stderr.lower(), told.stderr


def test_sysctl_knows_its_keys() -> None:
    for line in printed("sysctl").splitlines():
        assert line.startswith("#") or re.fullmatch(r"(net|fs)\.[\w.-]+ = [\d ]+", line), line


@pytest.mark.parametrize(
    ("args", "said"), [(["nonsense"], "is not one of"), (["--config", "lb.yaml"], "absolute path")]
)
def test_wrong_usage(args: list[str], said: str) -> None:
    told = ran(*STREAMLB, "unit", *args)
    assert told.returncode == 2
    assert said in told.stderr
