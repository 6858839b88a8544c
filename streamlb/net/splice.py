"""Pipes to splice through: bytes go from socket to socket without entering the process.

What lives here: `Pipe`, and the bounded `PipePool` that lends it.
What must not: when splicing pays (`proxy/plain_pump.py`).
Specified by splice(2) and pipe(7). Only an empty pipe may be filled: EAGAIN then means that the source is dry, and
nothing else. `fs.pipe-user-pages-soft` limits unprivileged users: a smaller pipe is taken, a tiny one is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

PIPE_SIZES = (1 << 20, 1 << 19, 1 << 18, 1 << 17, 1 << 16)
"""Bytes of a pipe, in the order they are asked for; below the last one copying is cheaper."""
MAX_PIPES = 256
"""Pipes lent at once by a worker: two descriptors each, and up to 1 MiB each of bytes a slow reader has not taken."""
MAX_IDLE_PIPES = 16

FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class Pipe:
    """A non-blocking pipe. `size`: what one `fill` may move; `held`: what is in it, both in bytes."""

    __slots__ = ("_read_end", "_write_end", "held", "size")

    def __init__(self, read_end: int, write_end: int, size: int) -> None:
        self._read_end = read_end
        self._write_end = write_end
        self.size = size
        self.held = 0

    def fill(self, source: int, limit: int = PIPE_SIZES[0]) -> int:
        """Move what `source` has into this empty pipe, at most `limit` bytes (not 0) where it is asked for less.

        0 is the end, `BlockingIOError` means it has nothing.
        """
        assert not self.held, "only an empty pipe may be filled"
        count = os.splice(source, self._write_end, min(limit, self.size), flags=FLAGS)
        self.held += count
        return count

    def pour(self, target: int) -> int:
        """Move what is held to `target`; `BlockingIOError` means that it takes nothing now."""
        count = os.splice(self._read_end, target, self.held, flags=FLAGS)
        self.held -= count
        return count

    def drain(self) -> bytes:
        """Take out what is held by copying, for a target that does not splice."""
        out = bytearray()
        while self.held:
            piece = os.read(self._read_end, self.held)
            self.held -= len(piece)
            out += piece
        return bytes(out)

    def close(self) -> None:
        os.close(self._read_end)
        os.close(self._write_end)


class PipePool:
    """The pipes of one worker, at most `max_pipes` lent at once."""

    __slots__ = ("_idle", "lent", "max_pipes")

    def __init__(self, max_pipes: int = MAX_PIPES) -> None:
        # process
        self.max_pipes = max_pipes
        self.lent = 0
        self._idle: list[Pipe] = []

    @property
    def has_room(self) -> bool:
        """Whether our own limit lets one more be lent."""
        return self.lent < self.max_pipes

    def take(self) -> Pipe | None:
        """An empty pipe, or None where the machine or our own limit has no more."""
        if self.lent >= self.max_pipes:
            return None
        pipe = self._idle.pop() if self._idle else make_pipe()
        if pipe is not None:
            self.lent += 1
        return pipe

    def give_back(self, pipe: Pipe) -> None:
        """Return a pipe; one that still holds a client's bytes is never lent again."""
        self.lent -= 1
        if not pipe.held and len(self._idle) < MAX_IDLE_PIPES:
            self._idle.append(pipe)
        else:
            pipe.close()

    def close(self) -> None:
        """Close the idle pipes."""
        while self._idle:
            self._idle.pop().close()


def make_pipe() -> Pipe | None:
    """The largest pipe the kernel grants, or None."""
    try:
        read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    for size in PIPE_SIZES:
        with contextlib.suppress(OSError):
            return Pipe(read_end, write_end, fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, size))
    os.close(read_end)
    os.close(write_end)
    return None
