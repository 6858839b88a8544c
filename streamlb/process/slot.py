"""A worker slot: the sockets of one worker, and whichever process serves them now.

What lives here: `Slot`, which starts and ends worker processes one after the other on the same sockets.
What must not: when to do so (`control.py`). The sockets outlive the process, and with them the connections that wait
in their queues: a successor accepts what its predecessor left.
"""

from __future__ import annotations

import os
import signal
import site
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import streamlb
from streamlb.observe.cells import Cells
from streamlb.process.channel import Channel, Configure, Drain, Listen, Memory
from streamlb.process.lifeline import PULSE, Lifeline
from streamlb.process.renewal import wall_clock
from streamlb.process.restart import Restarts

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable

    from streamlb.config.model import Config
    from streamlb.process.channel import Message


MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 20),
    "MALLOC_TOP_PAD_": str(1 << 20),
}
"""What glibc is told, in bytes, unless the operator tells it something else. The loop reads 256 KB at a time, and glibc
would ask the kernel for that memory and give it back with every read, which costs more than moving the bytes."""


class Slot:
    """One worker's place. `pid` is 0 while nobody serves it; `ready`: its worker serves the configuration.

    sockets: what its worker is to listen on, by entry point; they belong to `Sockets`.
    starts: how many workers it has had. started_at: when the last one was started, in seconds since 1970.
    memory: the descriptor of what its workers count in, -1 for none.
    """

    def __init__(self, number: int, sockets: dict[str, socket.socket], memory: int = -1) -> None:
        # process
        self.number = number
        self.sockets = sockets
        self.restarts = Restarts()
        self.starts = 0
        self.started_at = 0.0
        self._memory = memory
        # worker
        self.ready = False
        self._given: dict[str, socket.socket] = {}
        self.lifeline: Lifeline | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None

    @property
    def pid(self) -> int:
        return 0 if self._process is None else self._process.pid

    def start(
        self, loop: asyncio.AbstractEventLoop, configure: Configure, on_message: Callable[[Slot, Message], None]
    ) -> None:
        """Start a worker on the sockets. Raises OSError when there is no process to be had."""
        self.starts += 1
        self.started_at = datetime.now(UTC).timestamp()
        channel, theirs = Channel.pair()
        self.restarts.started(loop.time())
        try:
            lifeline = self.lifeline = Lifeline()
            given = [theirs.fileno(), lifeline.stack]
            command = [sys.executable, "-P", "-m", "streamlb.process.worker", *map(str, given)]
            # A process group of its own: what a terminal sends to the group (Ctrl-C) is for the control process alone.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=given, env=_environment(), process_group=0
            )
        except OSError:
            channel.close()
            self._drop_lifeline()
            raise
        finally:
            theirs.close()
        self._channel = channel
        # The end of the channel tells nothing new: the end of the process does (`take_exit`).
        channel.start(loop, lambda message, _descriptors: on_message(self, message), lambda: None)
        self._given = {}
        if self._memory >= 0:
            self.tell(Memory(wall_clock()), [self._memory])
        self.tell(Listen(PULSE), [lifeline.door.fileno()])
        self.configure(configure)

    def configure(self, configure: Configure) -> None:
        """Have the worker, if there is one, serve this on the sockets of now."""
        for name, sock in self.sockets.items():
            if self._given.get(name) is not sock:
                self.tell(Listen(name), [sock.fileno()])
        self._given = dict(self.sockets)
        self.tell(configure)

    def _drop_lifeline(self) -> None:
        if self.lifeline is not None:
            self.lifeline.close()
            self.lifeline = None

    def tell(self, message: Message, descriptors: list[int] | None = None) -> None:
        """Send a message to the worker, if there is one."""
        if self._channel is not None:
            self._channel.send(message, descriptors)

    def drain(self, drain: Drain | None = None) -> None:
        """Have the worker finish and end."""
        self.tell(drain or Drain())

    def kill(self) -> None:
        """End the worker now."""
        if self._process is not None:
            self._process.kill()

    def wait(self) -> None:
        """Wait for a worker that was killed."""
        if self._process is not None:
            self._process.wait()
            self.take_exit()

    def take_exit(self) -> int | None:
        """The exit code of a worker that has ended (negative: the signal), once; else None."""
        code = None if self._process is None else self._process.poll()
        if code is not None:
            self._process = None
            self.ready = False
            assert self._channel is not None
            self._channel.close()
            self._channel = None
            self._drop_lifeline()
            if self._memory >= 0:
                # What it had open is closed, by the kernel.
                Cells(self._memory).settle()
        return code


def describe_exit(code: int) -> str:
    """`was killed by SIGKILL` or `ended with exit code 1`."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}"


def count_workers(config: Config) -> int:
    """How many workers a configuration asks for; `auto` is one per core this process may use."""
    return len(os.sched_getaffinity(0)) if config.workers == "auto" else config.workers


def _environment() -> dict[str, str]:
    """The environment of a worker.

    It does not look for modules in the working directory (-P), so a checkout that is not installed is named here.
    """
    told = {**MEMORY, **os.environ}
    root = str(Path(streamlb.__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    if root not in site.getsitepackages() and sys.path and root not in os.pathsep.join(paths[1:]).split(os.pathsep):
        told["PYTHONPATH"] = os.pathsep.join(paths)
    return told
