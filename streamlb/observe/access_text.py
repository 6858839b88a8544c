"""What peers said, as text that is safe to show: on one line, in one direction, in printable ASCII.

What lives here: `text` for JSON, `quotable` for what stands between quotes, `sentence`; `Stamps`, instants as text.
What must not: which fields there are. Used by the shapes of lines (`access_json.py`, `access_clf.py`).
Nobody forges a line, hides a part of one or moves a reader's cursor: whatever else was sent is spelled out as `\\xNN`.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Final

SECOND: Final = 1_000_000_000
"""Nanoseconds."""

MAX_REASON: Final = 200
"""Characters of a reason that are shown."""

_UNSAFE: Final = re.compile(rb"[^\x20-\x7e]")
_UNQUOTABLE: Final = re.compile(rb'[^\x20-\x7e]|["\\]')


def text(data: bytes) -> str:
    """The bytes as printable ASCII. Hot."""
    if data.isascii() and (shown := data.decode("ascii")).isprintable():
        return shown
    return _UNSAFE.sub(_spell, data).decode("ascii")


def quotable(data: bytes) -> str:
    """The same without quotes and backslashes, which are spelled out, too."""
    return _UNQUOTABLE.sub(_spell, data).decode("ascii")


def sentence(reason: str) -> str:
    """A reason, which may quote what a peer said."""
    return text(reason[:MAX_REASON].encode(errors="backslashreplace"))


def _spell(found: re.Match[bytes]) -> bytes:
    return b"\\x%02x" % found.group()[0]


class Stamps:
    """Instants as text; what two of the same second have in common is made once."""

    __slots__ = ("_clf", "_local", "_second", "_utc", "_zone")

    def __init__(self) -> None:
        self._second = -1
        self._utc = self._local = self._zone = self._clf = ""

    def rfc3339(self, instant: int) -> tuple[str, str]:
        """Nanoseconds since 1970 as `2026-01-31T12:00:00.000000000Z`, and the same in local time."""
        second, rest = divmod(instant, SECOND)
        if second != self._second:
            self._turn(second)
        tail = f".{rest:09d}"
        return f"{self._utc}{tail}Z", f"{self._local}{tail}{self._zone}"

    def clf(self, instant: int) -> str:
        """`31/Jan/2026:12:00:00 +0000`."""
        second = instant // SECOND
        if second != self._second:
            self._turn(second)
        return self._clf

    def _turn(self, second: int) -> None:
        there = datetime.fromtimestamp(second, UTC)
        here = there.astimezone()
        self._second = second
        self._utc, self._local = f"{there:%Y-%m-%dT%H:%M:%S}", f"{here:%Y-%m-%dT%H:%M:%S}"
        zone = f"{here:%z}"
        self._zone = f"{zone[:3]}:{zone[3:5]}" if here.utcoffset() else "Z"
        self._clf = f"{there.day:02d}/{MONTHS[there.month - 1]}/{there:%Y:%H:%M:%S} +0000"


MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def now() -> int:
    """Nanoseconds since 1970."""
    return time.time_ns()
