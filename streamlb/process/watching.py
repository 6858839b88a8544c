"""Files and directories that are looked at until they change.

What lives here: `Watcher`, which calls once when a change is over, told by the system where it tells, and by its own
looks everywhere else (network file systems, bind mounts, no more watches to be had).
What must not: reading what has changed. Owned by the control process. Specified in docs/reference.md ("Sources").

What the system tells only makes the next look come sooner: whether something has changed is seen from the files, so
that both ways find the same. Every directory on the way to a file is followed, links and what they lead to alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Final

from streamlb.process.renewal import wall_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Stamp = tuple[object, ...] | None

log = logging.getLogger(__name__)

INTERVAL: Final = 2.0
"""Seconds between two looks at everything."""
SETTLE: Final = 0.2
"""Seconds without a change after which it is over: longer than an editor or a copy is silent in the middle."""
STEP: Final = 100
"""Milliseconds over which the system's news are gathered."""
BEGINNING: Final = 0.5
"""Seconds that the system may take until it tells of changes."""
COST: Final = 20
"""A look may take one part of so many of the time."""
RETRY: Final = 30.0
"""Seconds after which the system is asked again to tell of changes."""
MAX_LINKS: Final = 40
"""Links on the way to a file; the kernel follows no more (ELOOP)."""
ENDINGS: Final = (".yaml", ".yml", ".json")
"""Names in a directory that matter; so do directories."""


class Watcher:
    """Calls `on_change` in the loop when one of the paths has changed and the change is over.

    throttle: seconds between two calls, at least; a change that does not end is told of all the same after so long.
    """

    def __init__(self, paths: Iterable[str], on_change: Callable[[], None], throttle: float) -> None:
        # process
        self._on_change = on_change
        self._throttle = throttle
        self._follower: _Follower | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._soon: asyncio.TimerHandle | None = None
        self._told = ""
        self._asked_at = 0.0
        # between two changes
        self._stamps: dict[str, Stamp] = {path: stamp(path) for path in paths}
        self._ways: frozenset[tuple[str, str]] = frozenset()  # directory, name in it
        self._due: asyncio.TimerHandle | None = None
        self._since: float | None = None
        self._last = float("-inf")
        self._last_date = float("inf")  # the same in seconds since 1970, as files are dated

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._follow()
        self._sweep = loop.call_later(INTERVAL, self._on_time)

    def stop(self) -> None:
        for timer in (self._sweep, self._soon, self._due):
            if timer is not None:
                timer.cancel()
        self._sweep = self._soon = self._due = None
        if self._follower is not None:
            self._follower.stop()
            self._follower = None

    def update(self, paths: Iterable[str], throttle: float | None = None) -> None:
        """Look at these from now on; what has changed since the last call is not forgotten."""
        before = self._stamps
        self._stamps = {path: before[path] if path in before else stamp(path) for path in paths}
        if any(path not in before and _date(path) >= self._last_date for path in self._stamps):
            self._touch()
        if throttle is not None:
            self._throttle = throttle
        if self._sweep is not None:
            self._follow()

    # --- looking -------------------------------------------------------------------------------------------------

    def _on_time(self) -> None:
        cost = self._look()
        if self._follower is None and time.monotonic() - self._asked_at > RETRY:
            self._follow()
        self._sweep = asyncio.get_running_loop().call_later(max(INTERVAL, COST * cost), self._on_time)

    def _on_news(self, paths: set[str]) -> None:
        """The system has told of changes somewhere on the way to what is watched."""
        if self._sweep is None:
            return
        if not paths.isdisjoint({os.path.join(*way) for way in self._ways}):
            self._touch()
        elif self._soon is None:
            # Somebody else's file, or something new in a directory.
            self._soon = asyncio.get_running_loop().call_later(SETTLE, self._on_soon)

    def _on_soon(self) -> None:
        self._soon = None
        self._look()

    def _look(self) -> float:
        """Whether a stamp has changed; how long that took, in seconds."""
        began = time.monotonic()
        fresh = {path: stamp(path) for path in self._stamps}
        if fresh != self._stamps:
            self._stamps = fresh
            self._touch()
        return time.monotonic() - began

    # --- telling -------------------------------------------------------------------------------------------------

    def _touch(self) -> None:
        """There is a change, which may not be over."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        over = min(now + min(SETTLE, self._throttle), self._since + self._throttle)
        if self._due is not None:
            self._due.cancel()
        self._due = asyncio.get_running_loop().call_later(max(over, self._last + self._throttle) - now, self._on_over)

    def _on_over(self) -> None:
        self._due = self._since = None
        self._last_date = wall_clock()
        self._stamps = {path: stamp(path) for path in self._stamps}
        self._follow()
        self._last = time.monotonic()
        self._on_change()

    # --- being told ----------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Have the system tell of changes in all directories on the way, as they are now."""
        self._ways = ways(self._stamps)
        there = {folder: _identity(folder) for folder, _ in self._ways}
        folders = {folder: identity for folder, identity in there.items() if identity}
        if self._follower is not None:
            if self._follower.folders == folders:
                return
            self._follower.stop()
        self._asked_at = time.monotonic()
        loop = asyncio.get_running_loop()
        self._follower = _Follower(
            folders,
            lambda paths: _call(loop, self._on_news, paths),
            lambda follower, reason: _call(loop, self._on_failed, follower, reason),
        )
        if self._soon is None:  # What happens until then may be told to nobody.
            self._soon = loop.call_later(BEGINNING, self._on_soon)

    def _on_failed(self, follower: _Follower, reason: str) -> None:
        if self._follower is not follower:
            return
        self._follower = None
        if reason not in ("", self._told) and self._sweep is not None:
            self._told = reason
            log.warning(
                "the system does not tell of changed files (%s): they are looked at every %g s instead",
                reason,
                INTERVAL,
            )


def _call(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *args: object) -> None:
    with contextlib.suppress(RuntimeError):  # The loop has ended meanwhile.
        loop.call_soon_threadsafe(callback, *args)


class _Follower:
    """A thread that waits for what the system tells of some directories.

    folders: with what tells a directory from one that takes its name later.
    """

    def __init__(
        self,
        folders: dict[str, tuple[int, int]],
        on_news: Callable[[set[str]], None],
        on_failed: Callable[[_Follower, str], None],
    ) -> None:
        self.folders = folders
        self._on_news = on_news
        self._on_failed = on_failed
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="streamlb-files", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends within a moment; what it still tells does no harm."""
        self._ending.set()

    def _run(self) -> None:
        import watchfiles  # Here, so that nobody waits for it.

        logging.getLogger("watchfiles").setLevel(logging.WARNING)
        try:
            for news in watchfiles.watch(
                *self.folders,
                watch_filter=None,
                debounce=STEP,
                step=STEP,
                stop_event=self._ending,
                recursive=False,
                raise_interrupt=False,
            ):
                self._on_news({path for _, path in news})
        except FileNotFoundError:
            self._on_failed(self, "")  # One has gone since.
        except (OSError, RuntimeError) as error:
            self._on_failed(self, str(error))


# --- paths -------------------------------------------------------------------------------------------------------


def stamp(path: str) -> Stamp:
    """What tells a file, or the names in a directory, from what was there before; None if there is nothing."""
    try:
        found = os.stat(path)
        if not os.path.isdir(path):
            return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in entries if _matters(entry))
        return found.st_dev, found.st_ino, *names
    except (OSError, ValueError):
        return None


def _date(path: str) -> float:
    """When a file was changed last, in seconds since 1970."""
    try:
        return os.stat(path).st_ctime
    except (OSError, ValueError):
        return 0.0


def _matters(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and (entry.name.endswith(ENDINGS) or entry.is_dir())


def ways(paths: Iterable[str]) -> frozenset[tuple[str, str]]:
    """All directories in which a change may make a path lead elsewhere or to something else, each with the name that
    matters in it; of a directory itself all names matter, which is none."""
    found: set[tuple[str, str]] = set()
    known: dict[str, str] = {}
    for path in paths:
        if "\0" in path:
            continue
        real = _walk(os.path.abspath(path), found, known, MAX_LINKS)
        if os.path.isdir(real):
            found.add((real, ""))
    return frozenset(found)


def _walk(path: str, found: set[tuple[str, str]], known: dict[str, str], links: int) -> str:
    """Where a path leads. Notes its name in its directory, and that of each link on the way."""
    parent, name = os.path.split(path)
    if not name:
        return parent
    folder = known.get(parent)
    if folder is None:
        folder = known[parent] = _folder(parent, found, known, links)
    here = os.path.join(folder, name)
    found.add((folder, name))
    if links and os.path.islink(here):
        with contextlib.suppress(OSError):
            return _walk(os.path.normpath(os.path.join(folder, os.readlink(here))), found, known, links - 1)
    return here


def _folder(path: str, found: set[tuple[str, str]], known: dict[str, str], links: int) -> str:
    """Where a directory leads; only links on the way to it matter. If it is not there, the nearest that is."""
    if os.path.realpath(path) == path:
        name = ""
        while not os.path.isdir(path):
            path, name = os.path.split(path)
        if name:
            found.add((path, name))
        return path
    return _walk(path, found, known, links)


def _identity(folder: str) -> tuple[int, int] | None:
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino
