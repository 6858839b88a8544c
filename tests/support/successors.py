"""Processes that follow one another on the same sockets: an upgraded streamlb, and one that systemd starts.

What lives here: `upgraded`, `Activator`. Every process is dead at the end of its block.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.programs import STREAMLB, Program, alive, children
from tests.support.until import until

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

STARTED = re.compile(r"started a successor \(pid (\d+)\)")
ACTIVATING = """
import fcntl, os, sys
given = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for number in sys.argv[1].split(",")]
for index, number in enumerate(given):
    os.dup2(number, 3 + index)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(given)))
os.closerange(3 + len(given), 200)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Puts sockets where the protocol wants them, from descriptor 3 on, and becomes the service."""


def successors(proxy: Program) -> list[int]:
    """The process ids of all successors that were started so far."""
    return [int(pid) for pid in STARTED.findall(proxy.log())]


@contextlib.contextmanager
def upgrading(proxy: Program) -> Iterator[None]:
    """Whatever is started instead of `proxy` within the block is dead at its end."""
    try:
        yield
    finally:
        for pid in successors(proxy):
            for each in [*children(pid), pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)


def upgrade(proxy: Program, timeout: float = 20.0) -> int:
    """Have the running process replaced, and wait until it is gone; the process id of the other one."""
    before = successors(proxy)
    now = next((pid for pid in reversed(before) if alive(pid)), proxy.pid)
    os.kill(now, signal.SIGUSR2)
    pid = until(lambda: successors(proxy)[len(before) :], timeout, "a successor is started")[0]
    until(lambda: proxy.process.poll() is not None if now == proxy.pid else not alive(now), timeout, "the old one ends")
    assert alive(pid), proxy.log()
    return pid


class Activator:
    """Holds listening sockets as systemd does, and starts streamlb on them.

    sockets: by the names they are passed under.
    """

    def __init__(self, sockets: dict[str, socket.socket]) -> None:
        self.sockets = sockets

    @contextlib.contextmanager
    def running(self, config: Path, *, options: Sequence[str] = ()) -> Iterator[Program]:
        """`streamlb run` as the service of these sockets, ready to serve."""
        numbers = ",".join(str(sock.fileno()) for sock in self.sockets.values())
        command = [sys.executable, "-c", ACTIVATING, numbers, *STREAMLB, "run", str(config), *options]
        with tempfile.TemporaryDirectory(prefix="streamlb-test-") as folder:
            program = Program(
                command,
                Path(folder),
                env={"LISTEN_FDNAMES": ":".join(self.sockets)},
                name="streamlb",
                descriptors=[sock.fileno() for sock in self.sockets.values()],
            )
            try:
                program.wait_for("ready in")
                yield program
            finally:
                program.kill()
