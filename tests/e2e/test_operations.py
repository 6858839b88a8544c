"""The operations guide followed, as far as a machine without its systemd allows: run, change, rotate, upgrade, stop."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.http import http_get
from tests.support.ports import free_port
from tests.support.programs import ROOT, STREAMLB, Program, alive, running_whoami
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator

GUIDE = (ROOT / "docs" / "operations.md").read_text()


class Place:
    """The directories and addresses of the guide, moved into a folder and to free ports."""

    def __init__(self, folder: Path, servers: dict[str, int]) -> None:
        self.etc, self.log = folder / "etc", folder / "log"
        self.etc.mkdir()
        self.log.mkdir()
        self.web, self.ping = free_port(), free_port()
        found = re.search(r"^```yaml\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
        assert found
        self.socket = folder / "ctl.sock"
        text = f"ctl: {{socket: {self.socket}, stateFile: {folder / 'state.json'}}}\n"
        text += found[1].replace("/var/log/streamlb", str(self.log)).replace('":80"', f'"127.0.0.1:{self.web}"')
        text = text.replace("entryPoints:\n", f"entryPoints:\n  traefik: {{address: '127.0.0.1:{self.ping}'}}\n")
        for host, port in servers.items():
            text = text.replace(f"{host}:8080", f"127.0.0.1:{port}")
        self.file = self.etc / "lb.yaml"
        self.file.write_text(text)

    def ask(self) -> str:
        return http_get(self.web, host="shop.example.com").text.strip()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with running_whoami("v1", text="v1") as one, running_whoami("v2", text="v2") as two:
        servers = {"10.0.0.11": one.http_port, "10.0.0.12": one.http_port, "10.0.0.21": two.http_port}
        yield Place(tmp_path, servers)


def streamlb(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*STREAMLB, *map(str, args)], capture_output=True, text=True, timeout=30, check=False, cwd=ROOT
    )


def test_from_the_first_start_to_the_last_stop(place: Place, tmp_path: Path) -> None:
    assert streamlb("check", place.etc).returncode == 0
    assert streamlb("fmt", "--write", place.etc).returncode == 0
    program = Program([*STREAMLB, "run", place.etc], tmp_path, name="streamlb")
    successor = 0
    try:
        program.wait_for("ready in")
        assert place.ask() == "v1"
        assert streamlb("healthcheck", place.etc).stdout.startswith("OK: ")

        # The canary grows.
        place.file.write_text(place.file.read_text().replace("weight: 99", "weight: 0"))
        program.wait_for("weight of v1 99 -> 0")
        until(lambda: place.ask() == "v2", 10, "the new weights are served")

        # The same at run time.
        weight = streamlb("ctl", "weight", "shop", "v2", "0", "--socket", place.socket)
        assert weight.returncode == 0, weight.stderr
        assert streamlb("ctl", "overrides", "--socket", place.socket).stdout.count("v2") == 1
        assert streamlb("ctl", "reset", "all", "--socket", place.socket).returncode == 0
        assert "shop" in streamlb("status", "--socket", place.socket).stdout
        assert streamlb("reload", "--socket", place.socket).returncode == 0

        # A mistake changes nothing, and is loud.
        good = place.file.read_text()
        place.file.write_text(good.replace("service: shop}", "service: shpo}"))
        program.wait_for("unknown service `shpo`")
        assert streamlb("check", place.etc).returncode == 1
        assert place.ask() == "v2"
        place.file.write_text(good)

        # Logs are rotated.
        access = place.log / "access.log"
        until(lambda: access.exists() and access.stat().st_size, 10, "lines are written")
        old = access.rename(place.log / "access.log.1")
        program.signal(signal.SIGUSR1)
        until(access.exists, 10, "a new file")
        assert place.ask() == "v2"
        until(lambda: access.stat().st_size, 10, "a line in it")
        line = json.loads(access.read_text().splitlines()[0])
        assert (line["RequestHost"], line["DownstreamStatus"]) == ("shop.example.com", 200)
        assert all(json.loads(each) for each in old.read_text().splitlines())

        # An upgrade: the successor has the same sockets, the old one ends.
        upgraded = streamlb("upgrade", "--socket", place.socket)
        assert upgraded.returncode == 0, upgraded.stderr
        assert program.wait(60) == 0
        assert place.ask() == "v2"
        successor = next(pid for pid in _pids() if _serves(pid, place.etc))
        os.kill(successor, signal.SIGTERM)
        until(lambda: not alive(successor), 20, "the successor ends")
    finally:
        program.kill()
        if successor and alive(successor):
            os.kill(successor, signal.SIGKILL)


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _serves(pid: int, folder: Path) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"run" in words and str(folder).encode() in words and alive(pid)
