"""Files looked at: what is told of a change, and how often."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from streamlb.process.watching import Watcher
from tests.support.loops import on_both_loops

if TYPE_CHECKING:
    from pathlib import Path


@on_both_loops
async def test_a_change_is_told_once_it_is_over(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text("a")
    changed = asyncio.Event()
    watcher = Watcher([str(path)], changed.set, 0.1)
    watcher.start()
    path.write_text("ab")
    await asyncio.wait_for(changed.wait(), 5)
    watcher.stop()
