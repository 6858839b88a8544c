"""Large files through the proxy: curl on one side, nginx on the other, and what happens when either is gone.

The story: backups, images and packages pass byte for byte, whoever is slow; nobody takes half a file for a whole one.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from dataclasses import dataclass
from signal import SIGKILL
from typing import TYPE_CHECKING

import pytest

from tests.support.configs import entry_point, http_servers
from tests.support.loops import count_descriptors
from tests.support.peers import running_nginx
from tests.support.ports import free_port
from tests.support.programs import curl, need, running_streamlb
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.programs import Program, Proxy

MIB = 1 << 20
BLOCK = hashlib.shake_256(b"bulk").digest(MIB + 13)
CURL_PARTIAL_FILE, CURL_RECEIVE_ERROR = 18, 56


@dataclass(slots=True)
class Place:
    """A proxy before an nginx that serves, and takes, the files in `folder`."""

    url: str
    folder: Path
    proxy: Proxy
    nginx: Program

    def file(self, size: int) -> str:
        """Make a file of `size` MiB; its SHA-256."""
        digest = hashlib.sha256()
        with (self.folder / "file").open("wb") as file:
            for _ in range(size):
                file.write(BLOCK)
                digest.update(BLOCK)
        return digest.hexdigest()

    @property
    def descriptors(self) -> int:
        (worker,) = self.proxy.workers()
        return count_descriptors(worker)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (port, address), origin = entry_point(), free_port()
    config = f"""
entryPoints: {{web: {{address: "{address}"}}}}
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: files}}}}
  services:
{http_servers(files=origin)}
"""
    server = f"server {{ listen 127.0.0.1:{origin}; root {tmp_path}; client_max_body_size 0; dav_methods PUT; }}"
    with running_nginx(origin, server) as nginx, running_streamlb(config) as proxy:
        yield Place(f"http://127.0.0.1:{port}", tmp_path, proxy, nginx)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_200_megabytes_down_and_up_again(place: Place) -> None:
    expected = place.file(200)
    down = place.folder / "down"
    assert curl("-f", f"{place.url}/file", "-o", down).returncode == 0
    assert sha256(down) == expected
    assert curl("-f", "-T", down, f"{place.url}/up").returncode == 0
    assert sha256(place.folder / "up") == expected


def test_four_at_once_and_a_slow_one_beside_them(place: Place) -> None:
    expected = place.file(20)
    command = [need("curl"), "-sf", "-o"]
    slow = subprocess.Popen([*command, place.folder / "slow", "--limit-rate", "10M", f"{place.url}/file"])
    fast = [subprocess.Popen([*command, place.folder / name, f"{place.url}/file"]) for name in "abcd"]
    for each in fast:
        each.wait(20)
    assert slow.poll() is None  # It takes two seconds.
    assert slow.wait(20) == 0
    assert {sha256(place.folder / name) for name in ("a", "b", "c", "d", "slow")} == {expected}


def test_a_server_killed_in_the_middle_leaves_no_whole_file(place: Place) -> None:
    place.file(100)
    target = place.folder / "half"
    command = [need("curl"), "-sf", "--limit-rate", "20M", "-o", target, f"{place.url}/file"]
    client = subprocess.Popen(command)
    until(lambda: target.exists() and target.stat().st_size > MIB)
    place.nginx.signal(SIGKILL)
    assert client.wait(20) in (CURL_PARTIAL_FILE, CURL_RECEIVE_ERROR)
    assert target.stat().st_size < 100 * len(BLOCK)
    place.proxy.wait_for("connection closed before the answer was complete")


@pytest.mark.parametrize("way", ["down", "up"])
def test_clients_killed_in_the_middle_leave_nothing(place: Place, way: str) -> None:
    place.file(100)
    assert curl(f"{place.url}/nothing").returncode == 0
    before = place.descriptors
    action = (
        ["-o", "/dev/null", f"{place.url}/file"] if way == "down" else ["-T", place.folder / "file", place.url + "/up"]
    )
    clients = [subprocess.Popen([need("curl"), "-s", "--limit-rate", "5M", *action]) for _ in range(4)]
    until(lambda: place.descriptors >= before + 8)
    for client in clients:
        with contextlib.suppress(subprocess.TimeoutExpired):
            client.wait(0.2)
        client.kill()
        client.wait(5)
    # Of the pool of pipes, some are kept.
    until(lambda: place.descriptors <= before + 2 * len(clients))
    assert curl("-f", f"{place.url}/file", "-o", "/dev/null").returncode == 0
