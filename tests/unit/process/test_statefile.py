"""The file that keeps overrides: written as a whole, locked, and never in the way."""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING

import msgspec
import pytest

from streamlb.config.steering import Intervention
from streamlb.process.statefile import StateFile

if TYPE_CHECKING:
    from pathlib import Path

ONE = Intervention(
    id=1, protocol="http", service="app", child="v1", value=3, replaced=1, by="alice", at="2026-01-01T00:00:00Z"
)
OTHER = Intervention(
    id=2, protocol="tcp", service="db", child="h:1", value="drain", replaced="ready", by="bob", at="x", of="db:1"
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "overrides.json"
    file = StateFile(str(path), "/etc/lb.yaml")
    assert file.read() == []
    assert not path.parent.exists(), "no trace of what nobody uses"
    file.write([ONE, OTHER])
    assert file.problem == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert StateFile(str(path), "").read() == [ONE, OTHER]
    file.write([])
    assert StateFile(str(path), "").read() == []
    assert sorted(os.listdir(path.parent)) == ["overrides.json", "overrides.json.lock"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"version": 2}',
        b'{"version": 1, "overrides": [{"id": 1}]}',
        msgspec.json.encode({"version": 1, "overrides": [msgspec.to_builtins(ONE) | {"value": "off"}]}),
        msgspec.json.encode({"version": 1, "overrides": [msgspec.to_builtins(ONE) | {"value": -1}]}),
        msgspec.json.encode({"version": 1, "overrides": [msgspec.to_builtins(ONE) | {"value": True}]}),
    ],
)
def test_what_cannot_be_read_is_loud_and_set_aside(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "overrides.json"
    path.write_bytes(content)
    file = StateFile(str(path), "")
    with caplog.at_level(logging.ERROR):
        assert file.read() == []
    assert "overrides are NOT in force" in caplog.text
    assert path.read_bytes() == content, "nothing is lost as long as nothing has to be written"
    file.write([ONE])
    assert (tmp_path / "overrides.json.unreadable").read_bytes() == content
    assert StateFile(str(path), "").read() == [ONE]


def test_one_process_at_a_time_writes(tmp_path: Path) -> None:
    path = str(tmp_path / "overrides.json")
    first, second = StateFile(path, "a"), StateFile(path, "b")
    first.write([ONE])
    second.write([OTHER])
    assert "another streamlb" in second.problem
    assert StateFile(path, "").read() == [ONE]
    first.release()
    second.write([OTHER])
    assert second.problem == ""
    assert StateFile(path, "").read() == [OTHER]
    second.release()


def test_a_place_that_cannot_be_written_is_a_problem_and_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    file = StateFile(str(tmp_path / "file" / "overrides.json"), "")
    file.write([ONE])
    assert "File exists" in file.problem
    nowhere = StateFile("", "")
    nowhere.write([ONE])
    assert "ctl.stateFile" in nowhere.problem
    assert nowhere.read() == []
