"""The programme log: what streamlb tells an operator, on stderr or in a file.

What lives here: `configure`, and the shapes of a line: for people, as JSON, for the journal.
What must not: who logs what; where lines go (`log_sink.py`); the access log. Called by `process/control.py` and
`process/worker.py` at start and with every configuration.
Whatever a message carries, a record is one line for people and one object for programs: nobody forges a second one.
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from streamlb.observe.log_files import STREAMS
from streamlb.observe.log_sink import Sink, outlet_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlb.config.observation import Log

LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARN": logging.WARNING, "ERROR": logging.ERROR}

RESET, DIM = "\x1b[0m", "\x1b[2m"
COLOURS = {"DEBUG": "\x1b[2m", "INFO": "\x1b[32m", "WARN": "\x1b[33m", "ERROR": "\x1b[31m"}

PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARN": 4, "ERROR": 3}
"""What sd-daemon(3) reads from `<N>` in front of a line."""


def configure(
    level: str = "INFO",
    format: str | None = None,
    *,
    worker: int | None = None,
    file_path: str = "",
    no_color: bool = False,
    stream: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Send the whole programme's log to a file or to `stream` (stderr), replacing what was configured before.

    format: `common`, `json`, or None: common on a terminal and in the journal, else json.
    worker: its number, to be named in each line; None where there is but one.
    """
    stream = sys.stderr if stream is None else stream
    environ = os.environ if environ is None else environ
    is_file = bool(file_path) and file_path not in STREAMS
    sink = Sink(outlet_of(file_path, stream), outlet_of("", stream) if is_file else None)
    sink.setFormatter(_formatter(None if is_file else stream, environ, format, worker, no_color=no_color))
    root = logging.getLogger()
    for former in root.handlers[:]:
        root.removeHandler(former)
        former.close()
    root.addHandler(sink)
    root.setLevel(LEVELS.get(level, logging.INFO))
    # A log that cannot be written (a closed terminal, a full disk) is no reason to fail, nor to complain to it.
    logging.raiseExceptions = False
    logging.captureWarnings(True)


def adopt(options: Log, worker: int | None = None) -> None:
    """Log as the configuration says."""
    configure(options.level, options.format, worker=worker, file_path=options.file_path, no_color=options.no_color)


def reopen() -> None:
    """Write to whatever has the file's name from now on."""
    for sink in logging.getLogger().handlers:
        if isinstance(sink, Sink):
            sink.reopen()


def _formatter(
    stream: TextIO | None, environ: Mapping[str, str], format: str | None, worker: int | None, *, no_color: bool
) -> logging.Formatter:
    in_journal = stream is not None and is_journal(stream, environ)
    on_terminal = stream is not None and stream.isatty()
    shape: LineFormatter
    if format == "json" or (format is None and not on_terminal and not in_journal):
        shape = JsonFormatter(worker)
    else:
        shape = CommonFormatter(
            worker,
            clock="" if in_journal else "%H:%M:%S" if on_terminal else "full",
            colour=on_terminal and not no_color and wants_colour(environ),
        )
    return JournalFormatter(shape) if in_journal else shape


def wants_colour(environ: Mapping[str, str]) -> bool:
    """Whether a terminal may be painted (no-color.org)."""
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether systemd's journal reads the stream (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def level_of(record: logging.LogRecord) -> str:
    """The level in the words of the configuration."""
    if record.levelno >= logging.ERROR:
        return "ERROR"
    if record.levelno >= logging.WARNING:
        return "WARN"
    return "INFO" if record.levelno >= logging.INFO else "DEBUG"


def escape(text: str) -> str:
    """The text on one line: what would move a cursor, change colours or turn writing around is spelled out."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class LineFormatter(logging.Formatter):
    """What the shapes share. A message that cannot be put together is our bug and is shown as it is."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = worker

    def text_of(self, record: logging.LogRecord) -> str:
        try:
            return record.getMessage()
        except Exception:
            return f"{record.msg} {record.args}"

    def trace_of(self, record: logging.LogRecord) -> str:
        if record.exc_info and record.exc_info[0] is not None:
            return self.formatException(record.exc_info)
        return ""


class CommonFormatter(LineFormatter):
    """`12:00:00 INFO  message`, a traceback behind it, indented.

    clock: a strftime pattern in local time; `full` is RFC 3339 in UTC; empty: no time.
    """

    def __init__(self, worker: int | None = None, *, clock: str = "%H:%M:%S", colour: bool = False) -> None:
        super().__init__(worker)
        self._clock = clock
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        level = level_of(record)
        time = self._time(record)
        mark = f"{level:<5}"
        if self._colour:
            time, mark = time and f"{DIM}{time}{RESET}", f"{COLOURS[level]}{mark}{RESET}"
        who = "" if self._worker is None else f"worker {self._worker}: "
        parts = [time, mark, who + escape(self.text_of(record))]
        line = " ".join(part for part in parts if part)
        trace = self.trace_of(record)
        return "\n    ".join([line, *map(escape, trace.splitlines())]) if trace else line

    def _time(self, record: logging.LogRecord) -> str:
        if not self._clock:
            return ""
        if self._clock == "full":
            return rfc3339(record.created)
        return datetime.fromtimestamp(record.created).strftime(self._clock)


class JsonFormatter(LineFormatter):
    """One object a line: time, level, logger, worker, message, error."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": rfc3339(record.created),
            "level": level_of(record),
            "logger": record.name,
            "message": self.text_of(record),
        }
        if self._worker is not None:
            line["worker"] = self._worker
        trace = self.trace_of(record)
        if trace:
            line["error"] = trace
        try:
            return msgspec.json.encode(line).decode()
        except UnicodeEncodeError:
            # Half a surrogate pair, as undecodable file names have them.
            return msgspec.json.encode({key: escape(str(value)) for key, value in line.items()}).decode()


class JournalFormatter(logging.Formatter):
    """Another shape with the level in front of each line, as the journal reads it."""

    def __init__(self, shape: LineFormatter) -> None:
        super().__init__()
        self._shape = shape

    def format(self, record: logging.LogRecord) -> str:
        mark = f"<{PRIORITIES[level_of(record)]}>"
        return "\n".join(mark + line for line in self._shape.format(record).split("\n"))


def rfc3339(instant: float) -> str:
    """Seconds since 1970 as `2026-01-31T12:00:00.000Z`."""
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
