"""Files looked at: what is told of a change, how often, and what nobody may miss."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
import watchfiles

from streamlb.process import watching
from streamlb.process.watching import Watcher, stamp, ways
from tests.support.loops import on_both_loops
from tests.support.until import until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

QUICK = 0.02


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SETTLE", QUICK)
    monkeypatch.setattr(watching, "BEGINNING", 2 * QUICK)
    monkeypatch.setattr(watching, "STEP", 10)


@pytest.fixture(params=["told", "looks"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Told by the system, with no looks of its own; or without the system."""
    if request.param == "told":
        monkeypatch.setattr(watching, "INTERVAL", 1000.0)
    else:
        refuse(monkeypatch)
    return str(request.param)


def refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    def watch(*_: object, **__: object) -> Iterator[Any]:
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr(watchfiles, "watch", watch)
    monkeypatch.setattr(watching, "INTERVAL", QUICK)


class Count:
    """How often a watcher has called; `next` waits until it does again."""

    def __init__(self, *paths: Path, throttle: float = QUICK) -> None:
        self.calls: list[float] = []
        self.watcher = Watcher([str(path) for path in paths], lambda: self.calls.append(time.monotonic()), throttle)

    async def next(self) -> None:
        before = len(self.calls)
        await until_async(lambda: len(self.calls) > before, 10)


@contextlib.asynccontextmanager
async def counting(folder: Path, *paths: Path, throttle: float = QUICK) -> AsyncIterator[Count]:
    """A watcher that has proven to see changes."""
    probe = folder / "probe.yaml"
    probe.write_text("")
    count = Count(*paths, probe, throttle=throttle)
    count.watcher.start()
    try:
        number = 0

        def seen() -> bool:
            nonlocal number
            number += 1
            probe.write_text("x" * number)
            return bool(count.calls)

        await until_async(seen, 10)
        await quiet(count)
        yield count
    finally:
        count.watcher.stop()


async def quiet(count: Count, least: float = 6 * QUICK) -> None:
    """Wait until nothing more of earlier changes is told, on a busy machine, too, if `least` is long."""
    while True:
        before = len(count.calls)
        await asyncio.sleep(least)
        if len(count.calls) == before:
            return


@on_both_loops
async def test_all_kinds_of_changes(tmp_path: Path, way: str) -> None:
    path, other = tmp_path / "lb.yaml", tmp_path / "other.yaml"
    path.write_text("a")
    async with counting(tmp_path, path, tmp_path) as count:
        path.write_text("ab")  # As an editor that writes in place.
        await count.next()
        await quiet(count)
        other.write_text("c")
        await count.next()
        await quiet(count)
        os.replace(other, path)  # As one that writes a new file and renames it.
        await count.next()
        await quiet(count)
        path.unlink()
        await count.next()
        await quiet(count)
        path.write_text("back")
        await count.next()


@on_both_loops
async def test_links_and_what_they_lead_to(tmp_path: Path, way: str) -> None:
    for name in ("one", "two", "far", "conf"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lb.yaml").write_text(name)
    conf = tmp_path / "conf"
    (conf / "lb.yaml").unlink()
    # As Kubernetes mounts it: the file leads through a link that is swapped.
    (conf / "..data").symlink_to("../one")
    (conf / "lb.yaml").symlink_to("..data/lb.yaml")
    # As certbot has it: a link to another directory.
    (conf / "far").symlink_to(tmp_path / "far")
    async with counting(tmp_path, conf / "lb.yaml", conf / "far" / "lb.yaml") as count:
        (conf / "..new").symlink_to("../two")
        os.replace(conf / "..new", conf / "..data")
        await count.next()
        await quiet(count)
        (tmp_path / "two" / "lb.yaml").write_text("behind the link")
        await count.next()
        await quiet(count)
        (tmp_path / "far" / "lb.yaml").write_text("behind the other")
        await count.next()


@on_both_loops
async def test_a_directory_that_goes_and_comes_back(tmp_path: Path, way: str) -> None:
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "a.yaml").write_text("a")
    async with counting(tmp_path, folder, folder / "a.yaml") as count:
        folder.rename(tmp_path / "gone")
        await count.next()
        await quiet(count)
        folder.mkdir()
        (folder / "a.yaml").write_text("b")
        await count.next()
        await quiet(count)
        (folder / "a.yaml").write_text("c")
        await count.next()


@on_both_loops
async def test_what_is_not_there_yet(tmp_path: Path, way: str) -> None:
    path = tmp_path / "later" / "still" / "lb.yaml"
    async with counting(tmp_path, path) as count:
        path.parent.mkdir(parents=True)
        path.write_text("a")
        await count.next()


@on_both_loops
async def test_other_paths_from_now_on(tmp_path: Path, way: str) -> None:
    (tmp_path / "b").mkdir()
    old, new = tmp_path / "a.yaml", tmp_path / "b" / "a.yaml"
    for path in (old, new):
        path.write_text("a")
    async with counting(tmp_path, old) as count:
        count.watcher.update([str(new)])
        await quiet(count, 0.8)
        before = len(count.calls)
        old.write_text("ab")
        await quiet(count, 0.4)
        assert len(count.calls) == before
        new.write_text("ab")
        await count.next()


@on_both_loops
async def test_a_new_file_that_changes_while_it_is_read_for_the_first_time(tmp_path: Path, way: str) -> None:
    new = tmp_path / "new.yaml"
    async with counting(tmp_path, tmp_path) as count:
        new.write_text("a")
        await count.next()
        new.write_text("b")  # After the call, before it is known that this file counts.
        count.watcher.update([str(tmp_path), str(new)])
        await count.next()


@on_both_loops
async def test_strangers_are_nobody_s_business(tmp_path: Path, way: str) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text("a")
    async with counting(tmp_path, path, tmp_path) as count:
        await quiet(count, 0.8)
        before = len(count.calls)
        for name in ("access.log", ".lb.yaml.swp", "lb.yaml~", "4913"):
            (tmp_path / name).write_text("x")
        await quiet(count)
        assert len(count.calls) == before


@on_both_loops
async def test_one_call_for_many_changes_and_not_too_many_calls(tmp_path: Path, way: str) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text("")
    async with counting(tmp_path, path, throttle=0.3) as count:
        before, number = len(count.calls), 0

        def goes_on() -> bool:
            """A change that does not end is told of all the same."""
            nonlocal number
            number += 1
            path.write_text("x" * number)
            return len(count.calls) >= before + 3

        await until_async(goes_on, 15)
        gaps = [later - earlier for earlier, later in zip(count.calls, count.calls[1:], strict=False)]
        assert min(gaps[before:]) > 0.28
        assert number > 10
        await count.next()  # The last one is not forgotten.


@on_both_loops
async def test_without_the_system_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(monkeypatch)
    monkeypatch.setattr(watching, "RETRY", 0.0)
    path = tmp_path / "lb.yaml"
    path.write_text("a")
    with caplog.at_level(logging.WARNING):
        async with counting(tmp_path, path) as count:
            path.write_text("ab")
            await count.next()
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "the system does not tell of changed files (OS file watch limit reached): "
        "they are looked at every 0.02 s instead"
    ]


def test_ways(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    (root / "real").mkdir()
    (root / "real" / "x").write_text("")
    (root / "link").symlink_to("real")
    (root / "loop").symlink_to("loop")
    found = {(os.path.relpath(folder, root), name) for folder, name in ways([str(root / "link" / "x")])}
    assert found == {(".", "link"), (".", "real"), ("real", "x")}
    assert ways([str(root / "real")]) == {(str(root), "real"), (str(root / "real"), "")}
    assert ways([str(root / "loop")]) == {(str(root), "loop")}
    assert (str(root), "a") in ways([str(root / "a" / "b" / "c")])
    assert ways(["a\0b"]) == frozenset()


def test_stamps(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    assert stamp(str(path)) is None
    assert stamp("a\0b") is None
    path.write_text("a")
    first = stamp(str(path))
    assert first is not None
    assert stamp(str(path)) == first
    os.utime(path, ns=(1, 1))
    assert stamp(str(path)) != first
