"""Where lines of the programme log go, and how often the same one does.

What lives here: `Sink`, a stream or a file; `Repeats`, which holds back a line that comes again and again.
What must not: the shape of a line (`log.py`). Used by `log.py`.
A log that cannot be written is no reason to fail, to wait, or to complain to it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import stat
import time
from typing import Final, TextIO

from streamlb.observe.log_files import STREAMS, is_moved, open_for_appending

BURST: Final = 5
"""How often the same warning or error is written before it is held back."""
INTERVAL: Final = 10.0
"""Seconds for which that holds; then it is told how often it came."""
MAX_KEYS: Final = 256
"""Lines that are told apart; when there are more, what was held back is told and all are forgotten."""
LOOK_INTERVAL: Final = 1.0
"""Seconds between two looks whether a file is still there, and between two tries to open it."""

Key = tuple[str, int, str]
"""Logger, level, message."""


class Repeats:
    """Bounds how often the same line is written. The first occurrences always are."""

    __slots__ = ("_next", "_seen")

    def __init__(self) -> None:
        self._seen: dict[Key, list[float]] = {}
        """When to forget it; how often it came."""
        self._next = float("inf")

    def admit(self, key: Key, now: float) -> bool:
        """Whether the line may be written now."""
        entry = self._seen.get(key)
        if entry is None:
            self._seen[key] = [now + INTERVAL, 1]
            self._next = min(self._next, now + INTERVAL)
            return True
        entry[1] += 1
        return entry[1] <= BURST

    def settle(self, now: float) -> list[tuple[Key, int]]:
        """What is to be told now: lines that were held back, and how often."""
        if now < self._next and len(self._seen) < MAX_KEYS:
            return []
        everything = len(self._seen) >= MAX_KEYS
        over = [(key, entry) for key, entry in self._seen.items() if everything or now >= entry[0]]
        for key, _ in over:
            del self._seen[key]
        self._next = min((until for until, _ in self._seen.values()), default=float("inf"))
        return [(key, int(count) - BURST) for key, (_, count) in over if count > BURST]


class Outlet:
    """A file by its path, or a descriptor that is always open. write: whether a line was taken."""

    def __init__(self, path: str = "", descriptor: int = -1) -> None:
        self._path = path
        self._descriptor = descriptor
        self._looked_at = 0.0
        self._cut = False
        self._is_file = False
        self.reason = ""
        """Why the last line was not taken."""
        if descriptor >= 0:
            self._is_file = is_regular(descriptor)

    def write(self, data: bytes) -> bool:
        try:
            self._look()
            if not self._is_file and not self._has_room():
                self.reason = "nobody reads it"
                return False
            if self._cut:
                data = b"\n" + data
            count = os.write(self._descriptor, data)
        except OSError as error:
            self.reason = error.strerror or str(error)
            return False
        self._cut = count < len(data)
        if self._cut:
            self.reason = os.strerror(errno.ENOSPC)
        return not self._cut

    def _look(self) -> None:
        """Open the file, or open it anew where it was moved away; raises OSError."""
        now = time.monotonic()
        if not self._path or (self._descriptor >= 0 and now - self._looked_at < LOOK_INTERVAL):
            return
        if self._descriptor >= 0 and is_moved(self._path, self._descriptor):
            self.close()
        if self._descriptor < 0:
            if self.reason and now - self._looked_at < LOOK_INTERVAL:
                raise OSError(0, self.reason)
            self._looked_at = now
            self._descriptor = open_for_appending(self._path)
            self._is_file = is_regular(self._descriptor)
        self._looked_at = now

    def _has_room(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Let go of the file; the next line opens it by its name."""
        descriptor = self._descriptor
        if self._path and descriptor >= 0:
            self._descriptor = -1
            self.reason = ""
            with contextlib.suppress(OSError):
                os.close(descriptor)


class StreamOutlet(Outlet):
    """A stream without a descriptor."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    def write(self, data: bytes) -> bool:
        try:
            self._stream.write(data.decode(errors="replace"))
            self._stream.flush()
        except (OSError, ValueError):
            return False
        return True


class Sink(logging.Handler):
    """Writes to a file or a stream; a file that cannot be written is replaced by stderr as long as that lasts."""

    def __init__(self, outlet: Outlet, instead: Outlet | None = None) -> None:
        super().__init__()
        self._outlet = outlet
        self._instead = instead
        self._repeats = Repeats()
        self._lost = 0
        self._in_trouble = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            now = time.monotonic()
            self._settle(now)
            key = record.name, record.levelno, _message(record)
            # Below a warning there is what operators do, and what they asked to see.
            if record.levelno < logging.WARNING or record.exc_info or self._repeats.admit(key, now):
                self._put(record)
        except Exception:
            self._lost += 1  # Whoever has something to say must not pay for it.

    def _settle(self, now: float) -> None:
        for (name, level, message), count in self._repeats.settle(now):
            times = "once more" if count == 1 else f"{count} times more"
            self._put(_made(name, level, f"{message} ({times})"))

    def _put(self, record: logging.LogRecord) -> None:
        data = f"{self.format(record)}\n".encode(errors="backslashreplace")
        if self._outlet.write(data):
            if self._in_trouble:
                self._in_trouble = False
                self._recovered()
            return
        if not self._in_trouble and self._instead is not None:
            said = _made(__name__, logging.ERROR, f"the log file cannot be written: {self._outlet.reason}")
            self._instead.write(f"{self.format(said)}\n".encode())
        self._in_trouble = True
        if self._instead is None or not self._instead.write(data):
            self._lost += 1

    def _recovered(self) -> None:
        lost, self._lost = self._lost, 0
        reason = self._outlet.reason or "not writable"
        if lost:
            text = f"{lost} line{'s' if lost > 1 else ''} of this log could not be written before: {reason}"
            self._outlet.write(f"{self.format(_made(__name__, logging.WARNING, text))}\n".encode())

    def reopen(self) -> None:
        with self.lock or contextlib.nullcontext():
            self._outlet.close()

    def close(self) -> None:
        with self.lock or contextlib.nullcontext():
            with contextlib.suppress(Exception):
                self._settle(float("inf"))
            self._outlet.close()
        super().close()


def outlet_of(path: str, stream: TextIO | None) -> Outlet:
    """Where a path leads; no path is `stream`, or stderr."""
    if path:
        return Outlet(descriptor=STREAMS[path]) if path in STREAMS else Outlet(path)
    if stream is None:
        return Outlet(descriptor=2)
    try:
        return Outlet(descriptor=stream.fileno())
    except (OSError, ValueError):
        return StreamOutlet(stream)


def is_regular(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:
        return str(record.msg)


def _made(name: str, level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord(name, level, "", 0, text, None, None)
