"""Which files of a directory count, and in which order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from streamlb.config import folders
from streamlb.config.folders import TooMuch, is_folder, walk

if TYPE_CHECKING:
    from pathlib import Path


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")


def found(folder: Path) -> list[str]:
    return [os.path.relpath(path, folder) for path in walk(str(folder)).files]


def test_by_name_and_recursive(tmp_path: Path) -> None:
    make(tmp_path, "b.yaml", "a.yml", "b/z.yaml", "b/a/x.yaml", "c.yaml", "B.yaml")
    assert found(tmp_path) == ["B.yaml", "a.yml", "b/a/x.yaml", "b/z.yaml", "b.yaml", "c.yaml"]
    folders = [os.path.relpath(path, tmp_path) for path in walk(str(tmp_path)).folders]
    assert folders == [".", "b", "b/a"]


def test_what_is_passed_over(tmp_path: Path) -> None:
    make(
        tmp_path,
        "a.yaml",
        ".a.yaml",
        ".#a.yaml",
        "#a.yaml#",
        "a.yaml~",
        "a.yaml.bak",
        "a.json",
        "README",
        ".git/x.yaml",
    )
    os.mkfifo(tmp_path / "pipe.yaml")
    assert found(tmp_path) == ["a.yaml"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    make(tmp_path, "real/a.yaml", "conf/b.yaml")
    (tmp_path / "conf/more").symlink_to("../real")
    (tmp_path / "conf/again").symlink_to(".")
    (tmp_path / "conf/c.yaml").symlink_to("../real/a.yaml")
    assert found(tmp_path / "conf") == ["b.yaml", "c.yaml", "more/a.yaml"]


def test_a_link_that_leads_nowhere_is_somebody_s_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("gone.yaml")
    assert found(tmp_path) == ["a.yaml"]


def test_a_volume_as_kubernetes_mounts_it(tmp_path: Path) -> None:
    make(tmp_path, "..2026_01/lb.yaml")
    (tmp_path / "..data").symlink_to("..2026_01")
    (tmp_path / "lb.yaml").symlink_to("..data/lb.yaml")
    assert found(tmp_path) == ["lb.yaml"]


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/b/c/d.yaml", "e.yaml")
    monkeypatch.setattr(folders, "MAX_FILES", 1)
    with pytest.raises(TooMuch, match="more than 1 files"):
        walk(str(tmp_path))
    monkeypatch.setattr(folders, "MAX_DEPTH", 2)
    with pytest.raises(TooMuch, match="inside each other"):
        walk(str(tmp_path))


def test_no_directory(tmp_path: Path) -> None:
    assert is_folder(str(tmp_path))
    assert not is_folder(str(tmp_path / "x"))
    assert not is_folder("a\0b")
    with pytest.raises(OSError, match="x"):
        walk(str(tmp_path / "x"))
