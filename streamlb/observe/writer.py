"""Lines into a file, without anybody waiting for it.

What lives here: `Writer`, which collects lines on the loop and hands them to a thread that writes them, and `Target`,
the file or stream itself. What must not: what a line says. Used by `access.py`.
Several workers share a file: it is opened for appending, and every write(2) is whole lines.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import stat
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from streamlb.observe.log_files import STREAMS, is_moved, open_for_appending

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    Tally = Callable[[str, int], None]

FLUSH_SIZE: Final = 512 * 1024
"""Bytes collected before they are handed to the thread: each time it wakes, it takes the interpreter from the loop."""
FLUSH_INTERVAL: Final = 0.2
"""Seconds a line waits at most before it is handed over."""
MAX_LINES: Final = 100_000
"""Lines that wait to be written, where `bufferingSize` does not say."""
MIN_LINES: Final = 1_000
"""The least that `bufferingSize` can say: what is handed over at once."""
MAX_BYTES: Final = 32 * 1024 * 1024
"""Bytes of such lines, whatever their number."""
RETRY_INTERVAL: Final = 1.0
"""Seconds between two tries to write where it did not go, and between two looks whether the file is still there."""
TELL_INTERVAL: Final = 10.0
"""Seconds between two words about lines that were dropped."""
CLOSE_TIMEOUT: Final = 2.0
"""Seconds the last lines get to be written when the process ends."""
PIPE_SIZE: Final = 4096
"""PIPE_BUF of Linux: so much goes into a pipe in one piece (pipe(7)), whoever else writes to it."""

log = logging.getLogger(__name__)


class Target:
    """Where lines go: opened when first written to, and anew when it was moved away. For one thread alone.

    path: of the file, made if need be; see `STREAMS` for others.
    """

    __slots__ = ("_descriptor", "_is_file", "_looked_at", "_tail", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = -1
        self._is_file = False
        self._looked_at = 0.0
        self._tail = b""
        """What must come first: the end of a line that was cut off by another one's."""

    @property
    def name(self) -> str:
        return self.path or "stdout"

    def open(self) -> None:
        """Open it if it is not; raises OSError."""
        if self._descriptor >= 0:
            return
        if self.path in STREAMS:
            self._descriptor = STREAMS[self.path]
        else:
            self._descriptor = open_for_appending(self.path)
        self._is_file = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._looked_at = time.monotonic()

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0 and self.path not in STREAMS:
            os.close(descriptor)

    def write(self, data: memoryview) -> int:
        """Write whole lines, as many as go in one piece; how many bytes of `data` are done with.

        Raises OSError, BlockingIOError where there is no room now.
        """
        self._look()
        self.open()
        if not self._is_file and len(data) > PIPE_SIZE:
            data = data[: bytes(data[:PIPE_SIZE]).rfind(b"\n") + 1] or data
        if self._tail:
            os.write(self._descriptor, self._tail)
            self._tail = b""
        count = os.write(self._descriptor, data)
        return self._whole(data, count) if count < len(data) else count

    def _whole(self, data: memoryview, count: int) -> int:
        """Only so much was taken: how much of that is whole lines. The rest of a line is taken back if it can be."""
        if not self._is_file:
            return count
        whole = bytes(data[:count]).rfind(b"\n") + 1
        end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if os.fstat(self._descriptor).st_size == end:
            os.ftruncate(self._descriptor, end - (count - whole))
        else:
            self._tail = b"\n"  # Another worker has gone on: what is there stays, on a line of its own.
        return whole

    def _look(self) -> None:
        """Let go of a file that is no longer the one its path names."""
        now = time.monotonic()
        if not self._is_file or self._descriptor < 0 or now - self._looked_at < RETRY_INTERVAL:
            return
        self._looked_at = now
        if is_moved(self.path, self._descriptor):
            self.close()

    def wait_for_room(self, seconds: float) -> bool:
        """Until more can be written, at most so long; whether that is so."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(seconds * 1000))


class Writer:
    """Takes lines on the loop's thread, writes them on its own. Nothing here waits or raises but `close`.

    tally: is told, now and then, of how many lines were `written` or `dropped`.
    written, dropped: lines since the start. said: what `bufferingSize` says; limit: lines that may wait.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, path: str, limit: int = 0, tally: Tally = lambda _outcome, _count: None
    ) -> None:
        # loop
        self._loop = loop
        self._tally = tally
        self._tallied = 0
        self.path = path
        self.said = limit
        self.limit = max(limit, MIN_LINES) if limit else MAX_LINES
        self._batch = self.limit // 4
        self._lines: list[bytes] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._accepted = 0
        self._accepted_bytes = 0
        self.dropped = 0
        self._untold = 0
        self._is_telling = False
        # thread
        self._target = Target(path)
        self._trouble = ""
        self.written = 0
        self._lost = 0
        self._settled_bytes = 0
        # both
        self._chunks: SimpleQueue[tuple[int, bytes] | None] = SimpleQueue()
        self._reopening = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"log {path or 'stdout'}", daemon=True)
        self._thread.start()

    # --- on the loop -----------------------------------------------------------------------------------------------

    def write(self, line: bytes) -> None:
        """Take a line, which ends with its newline. Hot."""
        lines = self._lines
        if not lines and self._timer is None:
            self._timer = self._loop.call_later(FLUSH_INTERVAL, self._on_timer)
        lines.append(line)
        self._size += len(line)
        if self._size >= FLUSH_SIZE or len(lines) >= self._batch:
            self.flush()

    def _on_timer(self) -> None:
        self._timer = None
        self.flush()

    def flush(self) -> None:
        """Hand over what was collected, or drop it where too much is waiting."""
        lines, size = self._lines, self._size
        written = self.written
        if written > self._tallied:
            self._tally("written", written - self._tallied)
            self._tallied = written
        if not lines:
            return
        self._lines, self._size = [], 0
        waiting = self._accepted - self.written - self._lost
        is_full = waiting and waiting + len(lines) > self.limit
        if is_full or self._accepted_bytes - self._settled_bytes > MAX_BYTES:
            self._drop(len(lines))
            return
        self._accepted += len(lines)
        self._accepted_bytes += size
        self._chunks.put((len(lines), b"".join(lines)))

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._tally("dropped", count)
        self._untold += count
        if not self._is_telling:
            self._is_telling = True
            self._tell()

    def _tell(self) -> None:
        """Say how many were dropped, now and whenever there are more after a while."""
        count, self._untold = self._untold, 0
        if not count:
            self._is_telling = False
            return
        what = "1 line was" if count == 1 else f"{count} lines were"
        log.warning("access log %s takes no more for now: %s dropped", self._target.name, what)
        self._loop.call_later(TELL_INTERVAL, self._tell)

    def reopen(self) -> None:
        """Write to whatever has the path from now on."""
        self.flush()
        self._reopening.set()
        self._chunks.put((0, b""))

    def retire(self) -> None:
        """Write what there is, then end; nobody waits for it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.flush()
        self._chunks.put(None)
        self._closing.set()

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Write what there is, waiting at most `timeout` seconds for it: the process ends."""
        self.retire()
        self._thread.join(timeout)
        left = self._accepted - self.written
        if left:
            log.warning("access log %s: %d line%s could not be written", self._target.name, left, "s"[: left != 1])

    # --- on the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (chunk := self._chunks.get()) is not None:
            count, data = chunk
            try:
                done = self._put(data)
            except Exception:
                log.exception("access log %s: lines were lost by a bug of streamlb", self._target.name)
                done = False
            if done:
                self.written += count
            else:
                self._lost += count
            self._settled_bytes += len(data)
        with contextlib.suppress(OSError):
            self._target.close()

    def _put(self, data: bytes) -> bool:
        """Write a chunk, however long that takes; False when the process ends before."""
        left = memoryview(data)
        while True:
            if self._reopening.is_set():
                self._reopening.clear()
                self._target.close()
            if not left:
                return True
            try:
                left = left[self._target.write(left) :]
                if self._trouble:
                    log.warning("access log %s is being written again", self._target.name)
                    self._trouble = ""
            except BlockingIOError:
                if not self._target.wait_for_room(RETRY_INTERVAL) and self._closing.is_set():
                    return False
            except OSError as error:
                if not self._recover(error):
                    return False

    def _recover(self, error: OSError) -> bool:
        """Wait for better times, and say so once; False when the process ends before."""
        reason = error.strerror or str(error)
        if self._trouble != reason:
            self._trouble = reason
            log.error(
                "access log %s: %s; up to %d lines wait for it, then they are dropped",
                self._target.name,
                reason,
                self.limit,
            )
        self._target.close()
        if self._closing.is_set():
            return False
        deadline = time.monotonic() + RETRY_INTERVAL
        while time.monotonic() < deadline and not (self._closing.is_set() or self._reopening.is_set()):
            self._closing.wait(RETRY_INTERVAL / 10)
        return True
