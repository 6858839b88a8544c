"""Durations as Go writes them.

What lives here: `300ms`, `1m30s`, `1.5h` or a bare number of seconds, to seconds.
What must not: which option is a duration (`model.py`). Called by `shape.py`.
Specified by Go's time.ParseDuration; a bare number is seconds as in Traefik's files.
"""

from __future__ import annotations

import re

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
NUMBER = r"(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})"
PART = re.compile(rf"({NUMBER})({'|'.join(sorted(UNITS, key=len, reverse=True))})")
BARE = re.compile(NUMBER)
MAX_DURATION = 10 * 365 * 86400.0  # seconds; anything longer is a slip of the pen

EXAMPLES = "`300ms`, `3s` or `1m30s`"


class DurationError(ValueError):
    """Not a duration; the message says why."""


def parse_duration(text: str, *, signed: bool = False) -> float:
    """Seconds. Raises DurationError."""
    body = text.strip()
    if body.startswith("-"):
        if not signed:
            raise DurationError("a duration cannot be negative")
        return -parse_duration(body.removeprefix("-"))
    body = body.removeprefix("+")
    if BARE.fullmatch(body):
        seconds = float(body)
    else:
        seconds = 0.0
        at = 0
        while at < len(body) or not body:
            part = PART.match(body, at)
            if not part:
                raise DurationError(f"expected a duration such as {EXAMPLES}, got `{text}`")
            seconds += float(part[1]) * UNITS[part[2]]
            at = part.end()
    if seconds > MAX_DURATION:
        raise DurationError("a duration cannot be longer than ten years")
    return seconds


def format_duration(seconds: float) -> str:
    """Seconds as Go would write them: `1m30s`, `300ms`, `0s`."""
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    nanoseconds = round(seconds * 1e9)
    if 0 < nanoseconds < 10**9:
        for unit, size in (("ms", 10**6), ("us", 10**3), ("ns", 1)):
            if nanoseconds % size == 0:
                return f"{nanoseconds // size}{unit}"
    whole, rest = divmod(nanoseconds, 10**9)
    minutes, left = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours}h"] * bool(hours) + [f"{minutes}m"] * bool(minutes)
    if left or rest or not parts:
        parts.append(f"{left}.{rest:09d}".rstrip("0") + "s" if rest else f"{left}s")
    return "".join(parts)
