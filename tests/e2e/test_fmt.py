"""`streamlb fmt` and `streamlb schema` as they are called."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.programs import ROOT, STREAMLB

if TYPE_CHECKING:
    from pathlib import Path

UGLY = "log: {level: info}\nENTRYPOINTS:\n    web: {address: ':80'}   # here\n"
FINE = "entryPoints:\n  web: {address: ':80'}   # here\nlog: {level: INFO}\n"


def streamlb(*args: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [*STREAMLB, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=30, check=False, cwd=ROOT)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def ugly(tmp_path: Path) -> Path:
    path = tmp_path / "lb.yaml"
    path.write_text(UGLY)
    return path


def test_from_stdin_to_stdout() -> None:
    for args in ((), ("-",)):
        done = streamlb("fmt", *args, stdin=UGLY)
        assert (done.returncode, done.stdout, done.stderr) == (0, FINE, "")


def test_check_says_what_would_change(ugly: Path) -> None:
    done = streamlb("fmt", "--check", ugly)
    assert (done.returncode, done.stdout) == (1, f"would change: {ugly}\n")
    assert ugly.read_text() == UGLY


def test_diff_shows_it(ugly: Path) -> None:
    done = streamlb("fmt", "--diff", ugly)
    assert done.returncode == 0
    assert "+log: {level: INFO}\n" in done.stdout
    assert streamlb("fmt", "--diff", "--check", ugly).returncode == 1


def test_write_keeps_links_and_modes(ugly: Path, tmp_path: Path) -> None:
    ugly.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to("lb.yaml")
    done = streamlb("fmt", "--write", link)
    assert (done.returncode, done.stdout) == (0, f"changed: {link}\n")
    assert link.is_symlink()
    assert ugly.read_text() == FINE
    assert ugly.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["lb.yaml", "link.yaml"]
    again = streamlb("fmt", "--write", "--check", tmp_path)
    assert (again.returncode, again.stdout) == (0, "")


def test_a_file_that_cannot_be_read_stops_no_other(ugly: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("a: [\n")
    (tmp_path / "binary.yaml").write_bytes(b"\xff")
    inside = tmp_path / "inside" / "more.yml"
    inside.parent.mkdir()
    inside.write_text(UGLY)
    done = streamlb("fmt", "--write", tmp_path, tmp_path / "missing.yaml")
    assert done.returncode == 1
    assert "broken.yaml:2:1: error" in done.stderr
    assert "not UTF-8" in done.stderr
    assert inside.read_text() == FINE
    assert "missing.yaml:1:1: error: cannot read the file" in done.stderr
    assert ugly.read_text() == FINE


def test_wrong_usage() -> None:
    assert streamlb("fmt", "--write").returncode == 2
    assert streamlb("fmt", "--rewrite").returncode == 2


def test_the_schema_is_json_wherever_it_goes(tmp_path: Path) -> None:
    out = tmp_path / "s.json"
    done = streamlb("schema", "--out", out)
    assert done.returncode == 0
    assert "# yaml-language-server: $schema=" in done.stderr
    printed = streamlb("schema").stdout
    assert json.loads(printed) == json.loads(out.read_text())
    assert "Where to listen" in printed
    failed = streamlb("schema", "--out", tmp_path / "no" / "s.json")
    assert (failed.returncode, failed.stdout) == (1, "")
