"""Log files by their paths: opened for appending, by several processes at once, and never waited for.

What lives here: `open_for_appending`, `is_moved`, `refusals`, and the paths that mean a stream.
What must not: what is written. Used by `writer.py`, `log_sink.py` and, before anything is served, `process/control.py`.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from streamlb.config.model import Config

STREAMS: Final = {"": 1, "/dev/stdout": 1, "/dev/stderr": 2}
"""Paths that are no files, by the descriptor they mean."""


def open_for_appending(path: str) -> int:
    """The descriptor of a log file, made if it is not there, its folder as well; raises OSError.

    Not even for somebody who reads a FIFO is waited.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    try:
        return os.open(path, flags, 0o640)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path) or ".", 0o755, exist_ok=True)
        return os.open(path, flags, 0o640)


def is_moved(path: str, descriptor: int) -> bool:
    """Whether an open file is no longer the one its path names."""
    try:
        there, ours = os.stat(path), os.fstat(descriptor)
    except OSError:
        return True
    return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)


def refusals(config: Config) -> list[str]:
    """Why the log files of a configuration cannot be opened."""
    said = [("log.filePath", config.log.file_path)] if config.log.file_path else []
    if config.access_log is not None:
        said.append(("accessLog.filePath", config.access_log.file_path))
    reasons = []
    for option, path in said:
        try:
            if path not in STREAMS:
                os.close(open_for_appending(path))
        except OSError as error:
            if error.errno != errno.ENXIO:  # A FIFO that will be read later.
                reasons.append(f"{option}: {path} cannot be written: {error.strerror}")
    return reasons


def hold_streams() -> None:
    """Put /dev/null where a standard stream was closed, lest a client's connection gets its number and our lines."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
