"""The shapes of a log line, and which of them is chosen where."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.observe.log import (
    CommonFormatter,
    JournalFormatter,
    JsonFormatter,
    configure,
    escape,
    is_journal,
    rfc3339,
    wants_colour,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NASTY = "a\nb\r\x1b[31m\x85\u2028\u202e"


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, put back afterwards as it was."""
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raising
    logging.captureWarnings(False)


def record(message: str = "hello", *args: object, level: int = logging.INFO, error: bool = False) -> logging.LogRecord:
    info = None
    if error:
        try:
            raise ValueError(NASTY)
        except ValueError:
            info = sys.exc_info()
    made = logging.LogRecord("streamlb.test", level, __file__, 1, message, args, info)
    made.created = 1_700_000_000.5
    return made


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


# --- shapes ------------------------------------------------------------------------------------------------------


def test_a_line_for_people() -> None:
    assert CommonFormatter(clock="").format(record("hello %s", "you")) == "INFO  hello you"
    assert CommonFormatter(clock="full").format(record()) == "2023-11-14T22:13:20.500Z INFO  hello"
    assert CommonFormatter(3, clock="").format(record(level=logging.CRITICAL)) == "ERROR worker 3: hello"
    assert CommonFormatter(clock="", colour=True).format(record(level=logging.WARNING)) == "\x1b[33mWARN \x1b[0m hello"


def test_a_line_for_programs() -> None:
    line = json.loads(JsonFormatter(1).format(record("hello %d", 5, level=logging.DEBUG)))
    assert line == {
        "time": "2023-11-14T22:13:20.500Z",
        "level": "DEBUG",
        "logger": "streamlb.test",
        "message": "hello 5",
        "worker": 1,
    }
    assert "worker" not in json.loads(JsonFormatter().format(record()))


def test_a_line_for_the_journal() -> None:
    shape = JournalFormatter(CommonFormatter(clock=""))
    assert shape.format(record(level=logging.WARNING)) == "<4>WARN  hello"
    lines = shape.format(record(level=logging.ERROR, error=True)).splitlines()
    assert all(line.startswith("<3>") for line in lines)
    assert len(lines) > 2


def test_a_traceback_stays_with_its_line() -> None:
    first, *rest = CommonFormatter(clock="").format(record(error=True)).split("\n")
    assert first == "INFO  hello"
    assert rest[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in rest)
    assert json.loads(JsonFormatter().format(record(error=True)))["error"].startswith("Traceback")


@given(st.text())
def test_nobody_forges_a_second_line(text: str) -> None:
    shapes = (CommonFormatter(), JsonFormatter())
    for shape in (*shapes, *map(JournalFormatter, shapes)):
        line = shape.format(record("%s", text))
        assert "\n" not in line
        assert "\x1b" not in line


def test_what_moves_a_cursor_is_spelled_out() -> None:
    assert escape(NASTY) == r"a\nb\r\x1b[31m\x85\u2028\u202e"
    assert escape("grün 灰度") == "grün 灰度"


def test_half_a_character_does_not_lose_the_line() -> None:
    assert json.loads(JsonFormatter().format(record("file \udcff")))["message"] == "file \\udcff"


def test_a_message_that_cannot_be_put_together_is_shown_all_the_same() -> None:
    assert CommonFormatter(clock="").format(record("%d %d", "x")) == "INFO  %d %d ('x',)"


def test_instants_are_rfc_3339() -> None:
    assert rfc3339(0.0) == "1970-01-01T00:00:00.000Z"


# --- which shape where -------------------------------------------------------------------------------------------


def logged(stream: io.StringIO, level: str = "INFO", format: str | None = None, **environ: str) -> str:
    configure(level, format, stream=stream, environ=environ)
    log = logging.getLogger("streamlb.test")
    log.info("hello")
    log.debug("detail")
    return stream.getvalue()


def test_on_a_terminal_for_people_with_colour() -> None:
    line = logged(Terminal())
    assert "\x1b[32mINFO \x1b[0m hello\n" in line
    assert not line.startswith("{")


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_without_colour_where_it_is_not_wanted(environ: dict[str, str]) -> None:
    assert "\x1b" not in logged(Terminal(), **environ)
    assert not wants_colour(environ)


def test_elsewhere_json_unless_asked_otherwise() -> None:
    assert json.loads(logged(io.StringIO()))["message"] == "hello"
    assert logged(io.StringIO(), format="common").endswith("Z INFO  hello\n")
    assert json.loads(logged(Terminal(), format="json"))["message"] == "hello"


def test_levels_in_the_words_of_the_configuration() -> None:
    assert logged(io.StringIO(), "DEBUG").count("\n") == 2
    assert logged(io.StringIO(), "WARN") == ""


def test_configuring_again_replaces_what_was(root_logger: logging.Logger) -> None:
    first, second = io.StringIO(), io.StringIO()
    logged(first)
    logged(second)
    assert first.getvalue().count("hello") == second.getvalue().count("hello") == 1
    assert len(root_logger.handlers) == 1


def test_the_journal_is_known_by_its_stream(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w+") as stream:
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert is_journal(stream, environ)
        assert not is_journal(stream, {"JOURNAL_STREAM": "1:2"})
        assert not is_journal(stream, {})
        configure(stream=stream, environ=environ)
        logging.getLogger("streamlb.test").warning("hello")
        stream.seek(0)
        assert stream.read() == "<4>WARN  hello\n"
    assert not is_journal(io.StringIO(), environ)


def test_a_log_that_cannot_be_written_ends_nothing() -> None:
    stream = io.StringIO()
    configure(stream=stream, environ={})
    stream.close()
    logging.getLogger("streamlb.test").error("nobody hears this")
