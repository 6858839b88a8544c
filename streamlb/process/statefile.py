"""The file that keeps what an operator has changed, over restarts.

What lives here: `StateFile`: reading, writing as a whole, and the lock on it. What must not: what the changes mean
(`config/steering.py`). Owned by `process/steering.py`. Specified in docs/reference.md ("Steering").

Two programs with the same file would take turns in forgetting each other's changes: whoever has the lock writes. The
lock is a file beside it, since the file itself is another one after each change (rename(2)).
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from streamlb.config.steering import Intervention  # noqa: TC001  # msgspec reads it when `State` is made.

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

VERSION = 1
MAX_WEIGHT = 1_000_000
MAX_SIZE = 16 * 1024 * 1024
"""Bytes; what is larger was not written by us."""


class State(msgspec.Struct, kw_only=True):
    """What the file says. configuration: what it was made for, told to whoever reads the file."""

    version: int
    configuration: str = ""
    overrides: list[Intervention] = []


class StateFile:
    """The state of one configuration. `path` is empty where there is no place for it.

    problem: why changes are not kept now; empty if they are.
    """

    def __init__(self, path: str, configuration: str) -> None:
        # process
        self.path = path
        self.problem = "" if path else "there is no folder for it (set ctl.stateFile)"
        self._configuration = configuration
        self._lock: int | None = None
        self._unreadable = False

    def read(self) -> list[Intervention]:
        """What was changed before; nothing, and an error in the log, where that cannot be read."""
        if not self.path:
            return []
        try:
            with Path(self.path).open("rb") as file:
                content = file.read(MAX_SIZE + 1)
            if len(content) > MAX_SIZE:
                raise ValueError("it is too large")
            state = msgspec.json.decode(content, type=State)
            if state.version != VERSION:
                raise ValueError(f"it is of version {state.version}, and this streamlb knows {VERSION}")
            for each in state.overrides:
                if isinstance(each.value, int) and not 0 <= each.value <= MAX_WEIGHT:
                    raise ValueError(f"override {each.id}: {each.value} is no weight")
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors.
            self._unreadable = True
            reason = getattr(error, "strerror", None) or str(error)
            log.error("overrides are NOT in force: %s cannot be read: %s", self.path, reason)
            return []
        return state.overrides

    def write(self, interventions: Sequence[Intervention]) -> None:
        """Replace the file's content; `problem` says if that failed. Waits for the disk: for a thread."""
        if not self.path:
            return
        try:
            self._write(State(version=VERSION, configuration=self._configuration, overrides=[*interventions]))
            self.problem = ""
        except BlockingIOError:
            self.problem = f"another streamlb has {self.path}"
        except OSError as error:
            self.problem = f"{error.filename or self.path}: {error.strerror}"
        if self.problem:
            log.error("overrides are not kept over a restart: %s", self.problem)

    def release(self) -> None:
        """Let another process have the file."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _write(self, state: State) -> None:
        path = Path(self.path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_lock()
        if self._unreadable:
            with contextlib.suppress(FileNotFoundError):
                path.replace(f"{path}.unreadable")
            self._unreadable = False
        beside = f"{path}.new"
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise
        # The name, too, is to survive a loss of power.
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _take_lock(self) -> None:
        """Raises BlockingIOError while another process has it."""
        if self._lock is not None:
            return
        lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise
        self._lock = lock
