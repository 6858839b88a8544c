"""Files read, and read again: what changed is taken over as far as it is good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamlb.config.sources import Sources
from streamlb.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

ONE = "entryPoints: {web: {address: ':8000'}}\n"
TWO = "entryPoints: {web: {address: ':8001'}}\n"


def test_a_change_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text(ONE)
    sources = Sources([path])
    assert sources.read().config.entry_points["web"].address == ":8000"
    assert str(path) in sources.watched
    path.write_text(TWO)
    reread = sources.reread()
    assert reread.loaded.config.entry_points["web"].address == ":8001"
    assert (reread.problems, reread.kept) == ([], [])


def test_what_is_not_good_leaves_the_last_good(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text(ONE)
    sources = Sources([path])
    sources.read()
    path.write_text("entryPoints: {web: {adress: ':8000'}}\n")
    reread = sources.reread()
    assert reread.loaded.config.entry_points["web"].address == ":8000"
    assert [problem.position.line for problem in reread.problems] == [1]
    assert reread.kept == [str(path)]


def test_the_first_time_nothing_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Sources([tmp_path / "gone.yaml"]).read()
