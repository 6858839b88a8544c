"""Configurations of several files as a user runs them: what is saved is served, what is not good changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.http import Client
from tests.support.ports import free_port
from tests.support.programs import ROOT, STREAMLB, running, running_streamlb, running_whoami
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 15.0


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, int]]:
    with running_whoami("v1", text="v1") as v1, running_whoami("v2", text="v2") as v2:
        yield {"v1": v1.http_port, "v2": v2.http_port}


def main(folder: Path, port: int, more: str = "") -> Path:
    path = folder / "lb.yaml"
    path.write_text(f'entryPoints: {{web: {{address: "127.0.0.1:{port}"}}}}\n{more}')
    return path


def app(name: str, port: int) -> str:
    server = f'{{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{port}"}}]}}}}'
    return f"http: {{routers: {{{name}: {{rule: Host(`{name}`), service: {name}}}}}, services: {{{name}: {server}}}}}\n"


def answer(port: int, host: str) -> str:
    with Client(port) as client:
        return client.request(host=host).text.strip()


def comes_to(port: int, host: str, text: str) -> None:
    until(lambda: answer(port, host) == text, PATIENCE, f"{host} answers {text}")


def test_the_example(servers: dict[str, int]) -> None:
    port = free_port()
    conf = ROOT / "conf" / "files.yaml"
    with running_streamlb(conf, env={"PORT": str(port)}) as proxy:
        assert f"entry point web on 127.0.0.1:{port}: 1 HTTP router" in proxy.log()


def test_a_saved_file_is_served_and_a_bad_one_changes_nothing(tmp_path: Path, servers: dict[str, int]) -> None:
    port = free_port()
    conf = main(tmp_path, port, "providers: {file: {directory: apps}}\n")
    apps = tmp_path / "apps"
    apps.mkdir()
    (apps / "a.yaml").write_text(app("a", servers["v1"]))
    with running_streamlb(conf) as proxy:
        assert answer(port, "a") == "v1"
        (apps / "b.yaml").write_text(app("b", servers["v1"]))  # A new one.
        comes_to(port, "b", "v1")
        (tmp_path / "new").write_text(app("a", servers["v2"]))  # A changed one, renamed into its place.
        os.replace(tmp_path / "new", apps / "a.yaml")
        comes_to(port, "a", "v2")
        (apps / "a.yaml").write_text("http: {routers: [\n")  # A broken one, while another changes for the good.
        (apps / "b.yaml").write_text(app("b", servers["v2"]))
        comes_to(port, "b", "v2")
        assert answer(port, "a") == "v2"
        proxy.wait_for(f"the last good version of {apps}/a.yaml stays in use")
        (apps / "a.yaml").write_text("")  # An emptied one.
        proxy.wait_for(f"{apps}/a.yaml:1:1: the file is empty now")
        assert answer(port, "a") == "v2"
        (apps / "a.yaml").unlink()  # A removed one.
        comes_to(port, "a", "404 page not found")
        assert answer(port, "b") == "v2"


def test_a_volume_as_kubernetes_mounts_it(tmp_path: Path, servers: dict[str, int]) -> None:
    port = free_port()
    volume = tmp_path / "volume"
    for version in ("v1", "v2"):
        (volume / f"..{version}").mkdir(parents=True)
        (volume / f"..{version}" / "a.yaml").write_text(app("a", servers[version]))
    (volume / "..data").symlink_to("..v1")
    (volume / "a.yaml").symlink_to("..data/a.yaml")
    with running([*STREAMLB, "run", main(tmp_path, port), volume], name="streamlb") as proxy:
        proxy.wait_for("ready in")
        assert answer(port, "a") == "v1"
        (volume / "..tmp").symlink_to("..v2")
        os.replace(volume / "..tmp", volume / "..data")
        comes_to(port, "a", "v2")


def test_secrets_from_files_are_watched_and_never_shown(tmp_path: Path, servers: dict[str, int]) -> None:
    port = free_port()
    (tmp_path / "host").write_text("very-secret.example\n")
    conf = main(tmp_path, port, app("x", servers["v1"]).replace("Host(`x`)", "'Host(`${file:host}`)'"))
    with running_streamlb(conf) as proxy:
        assert answer(port, "very-secret.example") == "v1"
        (tmp_path / "host").write_text("quite-secret.example\n")
        comes_to(port, "quite-secret.example", "v1")
        (tmp_path / "host").write_text("not-secret.example`\n")
        proxy.wait_for("stays in use")
        assert "not-secret" not in proxy.log()


def test_the_same_twice_names_both_places(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(app("x", 1))
    (tmp_path / "b.yaml").write_text(app("x", 2))
    conf = main(tmp_path, 8000)
    for command in ("check", "run"):
        done = subprocess.run([*STREAMLB, command, tmp_path], capture_output=True, text=True, cwd=ROOT, timeout=30)
        printed = done.stdout + done.stderr
        assert done.returncode == 1
        assert f"{tmp_path}/b.yaml:1:18: error: http.routers.x: `x` is given twice; the first" in printed
        assert f"line 1 of {tmp_path}/a.yaml" in printed
        assert str(conf) not in printed


def test_show_config(tmp_path: Path) -> None:
    conf = main(tmp_path, 8000)
    (tmp_path / "a.yaml").write_text(app("a", 1))

    def show(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [*STREAMLB, "show", "config", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30)

    done = show(tmp_path, "--origins")
    assert (done.returncode, done.stderr) == (0, "")
    assert f'    address: "127.0.0.1:8000"  # {conf}:1\n' in done.stdout
    found = json.loads(show(conf, tmp_path / "a.yaml", "--format", "json", "--defaults").stdout)
    assert found["http"]["services"]["a"]["loadBalancer"]["strategy"] == "wrr"
    done = show(tmp_path / "gone.yaml")
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot read the file" in done.stderr
    assert show().returncode == 2
