"""Unix sockets to listen on: made so that nobody else can speak to them, and taken over from the dead.

What lives here: `claim`, `release`, `private`. What must not: serving them (`server.py`), heavy imports: this is done
before the workers start. Specified by unix(7) and docs/reference.md ("Steering").

A socket is bound beside its path and renamed over it: there is no moment without one, and nobody finds half a socket.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

BACKLOG = 64
MAX_PATH = 100
"""Bytes of a path; what the kernel takes is 107, with the name a socket has while it is made."""
LOOK_TIMEOUT = 1.0
"""Seconds to find out whether anybody listens."""


class UnavailableError(Exception):
    """There is no socket to be had at a path. `is_taken`: since another process listens there."""

    def __init__(self, reason: str, *, is_taken: bool = False) -> None:
        self.is_taken = is_taken
        super().__init__(reason)


class Claimed:
    """A listening socket and its path, which `release` removes if it is still this one's."""

    def __init__(self, path: Path, sock: socket.socket) -> None:
        self.path = path
        self.sock = sock
        self._identity = _identity(path)

    def release(self) -> None:
        """Close the socket; a path that a successor has taken over is left alone."""
        if self._identity is not None and _identity(self.path) == self._identity:
            with contextlib.suppress(OSError):
                self.path.unlink()
        self.sock.close()


def claim(path: Path, *, succeeds: bool = False) -> Claimed:
    """A listening socket at `path`, for the user of this process alone. Raises UnavailableError.

    succeeds: whoever listens there now is to be succeeded.
    """
    if len(os.fsencode(path)) > MAX_PATH:
        raise UnavailableError(f"its path is longer than {MAX_PATH} bytes")
    _prepare_folder(path.parent)
    try:
        status = path.lstat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UnavailableError(error.strerror or str(error)) from error
    else:
        if not stat.S_ISSOCK(status.st_mode):
            raise UnavailableError("there is a file that is no socket")
        if not succeeds and is_live(path):
            raise UnavailableError("another process listens there", is_taken=True)
    try:
        return Claimed(path, _listen(path))
    except OSError as error:
        raise UnavailableError(error.strerror or str(error)) from error


def private() -> Claimed:
    """A listening socket in a folder of its own, which is removed with it by `discard`. Raises UnavailableError."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="streamlb-"))
    except OSError as error:
        raise UnavailableError(error.strerror or str(error)) from error
    path = folder / "admin.sock"
    try:
        return Claimed(path, _listen(path))
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UnavailableError(error.strerror or str(error)) from error


def discard(claimed: Claimed) -> None:
    """Remove a private socket with its folder."""
    claimed.release()
    shutil.rmtree(claimed.path.parent, ignore_errors=True)


def is_live(path: Path) -> bool:
    """Whether anybody listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(LOOK_TIMEOUT)
        try:
            sock.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # Too busy to answer, or not ours to ask.
    return True


def _listen(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        # unix(7): the file gets the mode of the socket, before anybody can find it.
        os.fchmod(sock.fileno(), 0o600)
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        sock.bind(os.fspath(beside))
        sock.listen(BACKLOG)
        sock.setblocking(False)
        beside.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        sock.close()
        raise
    return sock


def _prepare_folder(folder: Path) -> None:
    """Make the folder, for us alone; one in /tmp may have been made by somebody else."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise UnavailableError(f"its folder: {error.strerror or error}") from error
    if folder.parent == Path(tempfile.gettempdir()) and (
        not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022
    ):
        raise UnavailableError(f"others may write in the folder {folder}")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
