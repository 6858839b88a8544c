"""What the control process has of a worker to see whether it lives: a door to it, and where it leaves its stack.

What lives here: `Lifeline`, made anew for every worker process. What must not: what silence means (`heartbeat.py`), the
worker's side (`pulse.py`). Used by `slot.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path

PULSE = "@pulse"
"""The name under which a worker gets the door; no entry point can have it."""
QUESTION = b"GET /ping HTTP/1.1\r\nHost: streamlb\r\nConnection: close\r\n\r\n"
STACK_SIGNAL = signal.SIGUSR2
"""Has a worker write down where it is, even when its loop stands."""
STACK_TIMEOUT = 0.3
"""Seconds it gets for that."""
MAX_ANSWER = 1024
MAX_STACK = 16 * 1024
BACKLOG = 16
STATES = {"T": "it is stopped (SIGSTOP)", "t": "a debugger holds it", "D": "it waits for the kernel"}
"""Of a process, by the letters of proc(5), where it could not say anything itself."""


class Lifeline:
    """door: a listening socket that the worker accepts from. stack: a file without a name."""

    def __init__(self) -> None:
        """Raises OSError when there are no descriptors to be had."""
        # worker
        self.door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self.door.bind("")  # unix(7): the kernel chooses a name, in no file system.
            self.door.listen(BACKLOG)
            self.stack = -1
            self.stack = os.memfd_create("streamlb-stack")
        except OSError:
            self.door.close()
            raise

    async def ask(self, timeout: float) -> bool:
        """Whether the worker answers a request that comes in by the door, as a client's would."""
        loop = asyncio.get_running_loop()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
                sock.connect(self.door.getsockname())
                async with asyncio.timeout(timeout):
                    await loop.sock_sendall(sock, QUESTION)
                    # The head is short, and comes in one piece.
                    return (await loop.sock_recv(sock, MAX_ANSWER)).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    async def where(self, pid: int) -> str:
        """Where the worker is: the stacks of its threads or, if it cannot tell, what the kernel says."""
        if self.stack < 0:
            return "it is gone"
        os.ftruncate(self.stack, 0)
        os.lseek(self.stack, 0, os.SEEK_SET)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, STACK_SIGNAL)
        await asyncio.sleep(STACK_TIMEOUT)
        if self.stack < 0:
            return "it is gone"
        stack = os.pread(self.stack, MAX_STACK, 0).decode(errors="replace").strip()
        return stack or state_of(pid)

    def close(self) -> None:
        self.door.close()
        if self.stack >= 0:
            os.close(self.stack)
            self.stack = -1


def state_of(pid: int) -> str:
    try:
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "it is gone"
    return STATES.get(letter, f"it cannot say where it is (state {letter})")
