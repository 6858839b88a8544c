"""The programme log gets into its file, or says why not; and the same line does not fill it."""

from __future__ import annotations

import io
import logging
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from streamlb.observe import log_sink
from streamlb.observe.log_sink import BURST, INTERVAL, MAX_KEYS, Outlet, Repeats, Sink, StreamOutlet

if TYPE_CHECKING:
    from pathlib import Path

KEY = ("streamlb", logging.INFO, "hello")


def key(number: int) -> tuple[str, int, str]:
    return "streamlb", logging.INFO, str(number)


def test_the_first_ones_of_a_line_are_written() -> None:
    repeats = Repeats()
    assert [repeats.admit(KEY, 0.0) for _ in range(BURST + 3)] == [True] * BURST + [False] * 3
    assert repeats.settle(INTERVAL - 1) == []
    assert repeats.settle(INTERVAL) == [(KEY, 3)]
    assert repeats.admit(KEY, INTERVAL)
    assert repeats.settle(3 * INTERVAL) == []


def test_lines_are_told_apart_as_far_as_there_is_room() -> None:
    repeats = Repeats()
    for _ in range(BURST + 1):
        repeats.admit(KEY, 0.0)
    for number in range(MAX_KEYS - 1):
        assert repeats.admit(key(number), 0.0)
    assert repeats.settle(0.0) == [(KEY, 1)]
    assert repeats.settle(0.0) == []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is."""
    now = [1000.0]
    monkeypatch.setattr(log_sink, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def say(sink: Sink, text: str, times: int = 1, level: int = logging.WARNING) -> None:
    for _ in range(times):
        sink.handle(logging.LogRecord("streamlb", level, "", 0, "%s", (text,), None))


def test_a_line_that_comes_again_and_again_is_counted(clock: list[float]) -> None:
    stream = io.StringIO()
    sink = Sink(StreamOutlet(stream))
    say(sink, "hello", 100)
    say(sink, "other")
    assert stream.getvalue().split("\n") == ["hello"] * BURST + ["other", ""]
    clock[0] += INTERVAL
    say(sink, "new")
    assert stream.getvalue().endswith("hello (95 times more)\nnew\n")
    say(sink, "100%", BURST + 1)
    sink.close()
    assert stream.getvalue().endswith("100% (once more)\n")


def test_what_operators_do_is_told_however_often_they_do_it() -> None:
    stream = io.StringIO()
    say(Sink(StreamOutlet(stream)), "reloaded", 2 * BURST, logging.INFO)
    assert stream.getvalue().count("reloaded") == 2 * BURST


def test_a_file_is_opened_by_its_name(tmp_path: Path, clock: list[float]) -> None:
    path = tmp_path / "new" / "log"
    sink = Sink(Outlet(str(path)))
    say(sink, "one")
    path.rename(tmp_path / "log.1")
    say(sink, "two")
    sink.reopen()
    say(sink, "three")
    path.unlink()
    clock[0] += 2
    say(sink, "four")
    sink.close()
    assert (tmp_path / "log.1").read_text() == "one\ntwo\n"
    assert path.read_text() == "four\n"


def test_a_file_that_cannot_be_written_is_replaced_by_stderr(tmp_path: Path, clock: list[float]) -> None:
    path, stream = tmp_path / "log", io.StringIO()
    path.symlink_to("/dev/full")
    sink = Sink(Outlet(str(path)), StreamOutlet(stream))
    say(sink, "one")
    say(sink, "two")
    assert stream.getvalue() == "the log file cannot be written: No space left on device\none\ntwo\n"
    path.unlink()
    sink.reopen()
    say(sink, "three")
    sink.close()
    assert path.read_text() == "three\n"


def test_a_folder_that_cannot_be_made(tmp_path: Path, clock: list[float]) -> None:
    (tmp_path / "file").touch()
    stream = io.StringIO()
    sink = Sink(Outlet(str(tmp_path / "file" / "log")), StreamOutlet(stream))
    say(sink, "one")
    say(sink, "two")
    assert stream.getvalue() == "the log file cannot be written: Not a directory\none\ntwo\n"
    sink.close()


def test_nobody_waits_for_who_reads_a_pipe() -> None:
    reader, writer = os.pipe()
    sink = Sink(Outlet(descriptor=writer))
    for number in range(3000):
        say(sink, f"{number:0100}")
    read = os.read(reader, 1_000_000)
    assert read.count(b"\n") < 3000
    while len(read) < 200_000 and b"could not be written" not in read:
        say(sink, f"more {len(read)}")
        read += os.read(reader, 1_000_000)
    assert b"lines of this log could not be written before: nobody reads it\n" in read
    os.close(reader)
    say(sink, "nobody hears this")
    os.close(writer)


def test_what_cannot_be_said_harms_nobody() -> None:
    stream = io.StringIO()
    sink = Sink(StreamOutlet(stream))
    sink.handle(logging.LogRecord("streamlb", logging.INFO, "", 0, "%d", ("x",), None))
    say(sink, "hello \udcff")
    assert stream.getvalue().endswith("hello \\udcff\n")
