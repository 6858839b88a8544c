"""Waiting for a condition instead of sleeping and hoping.

What lives here: `until` for threads and child processes, `until_async` for code on a loop. Both return what
the predicate returned, so that `line = until(lambda: find(log()))` reads naturally.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
POLL_INTERVAL = 0.01


def until(predicate: Callable[[], T], timeout: float = 5.0, what: str = "") -> T:
    """Wait until `predicate()` is true and return its value; AssertionError after `timeout` seconds."""
    deadline_at = time.monotonic() + timeout
    while not (value := predicate()):
        assert time.monotonic() < deadline_at, f"not within {timeout} s: {what or predicate}"
        time.sleep(POLL_INTERVAL)
    return value


async def until_async(predicate: Callable[[], T], timeout: float = 5.0, what: str = "") -> T:
    """`until` for a coroutine: the loop keeps running meanwhile."""
    deadline_at = time.monotonic() + timeout
    while not (value := predicate()):
        assert time.monotonic() < deadline_at, f"not within {timeout} s: {what or predicate}"
        await asyncio.sleep(POLL_INTERVAL)
    return value
