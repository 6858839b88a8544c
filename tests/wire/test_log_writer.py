"""Lines reach their file in order and whole, whatever becomes of the file; and nobody waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import time
from typing import TYPE_CHECKING

import pytest

from streamlb.observe import writer as module
from streamlb.observe.writer import FLUSH_SIZE, Writer
from tests.support.loops import on_both_loops
from tests.support.until import until, until_async

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_INTERVAL", 0.05)
    monkeypatch.setattr(module, "FLUSH_INTERVAL", 0.02)


@contextlib.contextmanager
def writing(path: object, limit: int = 0) -> Iterator[Writer]:
    made = Writer(asyncio.get_running_loop(), str(path), limit)
    try:
        yield made
    finally:
        made.close()
        assert not made._thread.is_alive()


def numbered(first: int, last: int, width: int = 10) -> list[bytes]:
    return [b"%0*d\n" % (width, number) for number in range(first, last)]


@on_both_loops
async def test_lines_are_written_after_a_while(tmp_path: Path) -> None:
    path = tmp_path / "new" / "access.log"
    with writing(path) as log:
        log.write(b"one\n")
        await until_async(lambda: log.written == 1)
        assert path.read_bytes() == b"one\n"
        assert path.stat().st_mode & 0o777 == 0o640
        log.write(b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"


@on_both_loops
async def test_many_lines_do_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_INTERVAL", 1000.0)
    lines = numbered(0, FLUSH_SIZE // 10, 99)
    with writing(tmp_path / "log") as log:
        for line in lines:
            log.write(line)
        await until_async(lambda: log.written > len(lines) * 0.9)
    assert (tmp_path / "log").read_bytes() == b"".join(lines)
    assert log.dropped == 0


@on_both_loops
async def test_workers_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    ours, theirs = numbered(0, 20_000, 59), numbered(20_000, 40_000, 41)
    with writing(path) as one, writing(path) as other:
        for mine, yours in zip(ours, theirs, strict=True):
            one.write(mine)
            other.write(yours)
        await until_async(lambda: one.written > 10_000 and other.written > 10_000)
    found = path.read_bytes().splitlines(keepends=True)
    assert sorted(found) == sorted(ours + theirs)
    assert [line for line in found if len(line) == 60] == ours


@on_both_loops
async def test_a_file_is_reopened_by_its_name(tmp_path: Path) -> None:
    path, old = tmp_path / "log", tmp_path / "log.1"
    with writing(path) as log:
        for number, line in enumerate(numbered(0, 1000)):
            if number == 500:
                path.touch()
                path.rename(old)
                log.reopen()
            log.write(line)
            if number % 100 == 0:
                await asyncio.sleep(0)
    assert old.read_bytes() + path.read_bytes() == b"".join(numbered(0, 1000))
    assert path.stat().st_size


@on_both_loops
async def test_a_file_that_vanishes_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with writing(path) as log:
        log.write(b"one\n")
        await until_async(path.exists)
        path.unlink()

        def is_back() -> bool:
            log.write(b"two\n")
            return path.exists()

        await until_async(is_back)
    assert set(path.read_bytes().splitlines()) == {b"two"}


@on_both_loops
async def test_a_full_disk_is_survived(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "log"
    path.symlink_to("/dev/full")
    lines = numbered(0, 3000)
    with writing(path) as log:
        for line in lines:
            log.write(line)
        await until_async(lambda: "No space left on device" in caplog.text)
        log.write(b"later\n")
        path.unlink()
        log.reopen()
        await until_async(lambda: log.written == 3001)
    assert path.read_bytes() == b"".join(lines) + b"later\n"
    assert caplog.text.count("No space left on device") == 1
    assert caplog.text.count("is being written again") == 1


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file gets larger than 1000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@on_both_loops
async def test_no_half_of_a_line_stays_where_the_disk_is_full(tmp_path: Path, small_disk: None) -> None:
    path = tmp_path / "log"
    lines = numbered(0, 10, 299)
    with writing(path) as log:
        for line in lines:
            log.write(line)
        await until_async(lambda: path.exists() and path.stat().st_size == 900)
        path.rename(tmp_path / "log.1")
        log.reopen()
        await until_async(lambda: path.exists() and path.stat().st_size == 900)
        path.rename(tmp_path / "log.2")
        log.reopen()
        await until_async(lambda: path.exists() and path.stat().st_size == 900)
        path.rename(tmp_path / "log.3")
        log.reopen()
        await until_async(lambda: log.written == 10)
    names = ("log.1", "log.2", "log.3", "log")
    assert b"".join((tmp_path / name).read_bytes() for name in names) == b"".join(lines)


@on_both_loops
async def test_a_fifo_nobody_reads_holds_nobody_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with writing(path) as log:
        log.write(b"early\n")
        await until_async(lambda: "No such device or address" in caplog.text)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        await until_async(lambda: log.written == 1)
        assert os.read(reader, 100) == b"early\n"
        os.close(reader)
        log.write(b"late\n")
        await until_async(lambda: "Broken pipe" in caplog.text)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        await until_async(lambda: log.written == 2)
        assert os.read(reader, 100) == b"late\n"
    os.close(reader)


@on_both_loops
async def test_what_cannot_be_written_is_bounded_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    lines = numbered(0, 50_000, 99)
    with writing(path, limit=1000) as log:
        before = time.perf_counter()
        for number, line in enumerate(lines):
            log.write(line)
            if number % 1000 == 0:
                await asyncio.sleep(0)
        assert time.perf_counter() - before < 5
        await until_async(lambda: "dropped" in caplog.text)
        assert caplog.text.count("dropped") == 1

        def read_all() -> bool:
            with contextlib.suppress(BlockingIOError):
                while data := os.read(reader, 65536):
                    found.extend(data.splitlines(keepends=True) if data.endswith(b"\n") else pytest.fail("half a line"))
            return log.written + log.dropped == len(lines)

        found: list[bytes] = []
        await until_async(read_all)
    assert len(found) == log.written < 3000
    assert found == [line for line in lines if line in set(found)]
    os.close(reader)


@on_both_loops
async def test_the_end_does_not_wait_for_ever(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    log = Writer(asyncio.get_running_loop(), str(path))
    log.write(b"lost\n")
    before = time.monotonic()
    log.close(5.0)
    assert time.monotonic() - before < 2
    assert log.written == 0
    assert "1 line could not be written" in caplog.text
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = Writer(asyncio.get_running_loop(), str(path))
    for line in numbered(0, 2000, 99):
        log.write(line)
    before = time.monotonic()
    log.close(0.2)
    assert time.monotonic() - before < 2
    assert "2000 lines could not be written" in caplog.text
    os.close(reader)
    until(lambda: not log._thread.is_alive())


@on_both_loops
async def test_a_stream_that_is_closed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    reader, stream = os.pipe()
    monkeypatch.setattr(module, "STREAMS", {"": stream})
    with writing("") as log:
        for line in numbered(0, 200, 99):
            log.write(line)
        await until_async(lambda: log.written == 200)
        assert os.read(reader, 100_000) == b"".join(numbered(0, 200, 99))
        os.close(reader)
        log.write(b"lost\n")
        await until_async(lambda: "Broken pipe" in caplog.text)
    os.close(stream)
