"""Replacing this process by a freshly started one, which goes on with its sockets.

What lives here: `Upgrade`, the side of the process that is replaced, and `report_ready`, the side of its successor.
What must not: draining (`control.py`), how sockets are found again (`inheritance.py`). Called by `process/control.py`.
Specified in docs/operations.md ("Upgrade").

    idle --begin--> starting --the successor is ready--> over
                       | it ends, or is not ready in time
                       +--> idle, and everything goes on as before
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from streamlb.process.inheritance import PREDECESSOR, SOCKETS, Passed
from streamlb.process.slot import describe_exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlb.process.sockets import Sockets

log = logging.getLogger(__name__)

READY_TIMEOUT = 60.0
"""Seconds a successor gets to be ready; its first health checks are among what it does."""
READY = b"ready\n"
NOT_PASSED_ON = ("WATCHDOG_PID",)
"""What the environment says of this process and not of another."""


class Upgrade:
    """At most one successor at a time.

    on_ready: it serves, so this process may drain; gets its process id. on_failed: this process has to go on.
    """

    def __init__(self, sockets: Sockets, on_ready: Callable[[int], None], on_failed: Callable[[], None]) -> None:
        # process
        self._loop = asyncio.get_running_loop()
        self._sockets = sockets
        self._on_ready = on_ready
        self._on_failed = on_failed
        # upgrade
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._outcome: asyncio.Future[str] = self._loop.create_future()
        self.is_over = False

    @property
    def is_under_way(self) -> bool:
        return self._process is not None and not self.is_over

    def begin(self) -> str:
        """Start a successor; why that is not possible, else nothing."""
        if self._process is not None:
            reason = f"one is under way already (pid {self._process.pid})"
            log.error("upgrade: %s", reason)
            return reason
        ours, theirs = socket.socketpair()
        passed, descriptors = self._passed()
        descriptors.append(theirs.fileno())
        environ = {name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON}
        environ |= {SOCKETS: json.dumps(passed), PREDECESSOR: str(theirs.fileno())}
        command = _command()
        try:
            self._process = subprocess.Popen(
                command, executable=_executable(), env=environ, stdin=subprocess.DEVNULL, pass_fds=descriptors
            )
        except OSError as error:
            ours.close()
            reason = f"a successor cannot be started: {error.strerror or error}"
            log.error("upgrade: %s", reason)
            return reason
        finally:
            theirs.close()
        ours.setblocking(False)
        self._channel = ours
        self._loop.add_reader(ours.fileno(), self._on_word)
        self._timer = self._loop.call_later(READY_TIMEOUT, self._on_late)
        self._outcome = self._loop.create_future()
        log.info("upgrade: started a successor (pid %d) on %d sockets", self._process.pid, len(passed))
        return ""

    @property
    def pid(self) -> int:
        """Of the successor; 0 while there is none."""
        return 0 if self._process is None else self._process.pid

    async def outcome(self) -> str:
        """What becomes of the upgrade that has begun: nothing when the successor serves, else why it does not."""
        return await asyncio.shield(self._outcome)

    def _passed(self) -> tuple[list[Passed], list[int]]:
        is_held = self._sockets.inheritance.is_held
        passed = [
            Passed(sock.fileno(), name or str(address), is_held(sock))
            for (name, address), group in self._sockets.groups.items()
            for sock in group
        ]
        return passed, [each.descriptor for each in passed]

    # --- what becomes of it ----------------------------------------------------------------------------------------

    def _on_word(self) -> None:
        assert self._channel is not None
        try:
            word = self._channel.recv(len(READY))
        except BlockingIOError:
            return
        except OSError:
            word = b""
        if word == READY and self._process is not None:
            self.is_over = True
            self._close()
            self._outcome.set_result("")
            self._on_ready(self._process.pid)
        else:
            # It has closed its side: it is ending, or will not tell.
            self._loop.remove_reader(self._channel.fileno())

    def on_child(self) -> None:
        """SIGCHLD: perhaps the successor has ended."""
        if self._process is None or (code := self._process.poll()) is None:
            return
        if self.is_over:
            log.error("upgrade: the successor (pid %d) %s", self._process.pid, describe_exit(code))
            return
        self._fail(f"the successor {describe_exit(code)} before it was ready")

    def _on_late(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._fail(f"the successor was not ready within {READY_TIMEOUT:g} s")

    def _fail(self, reason: str) -> None:
        self._close()
        self._process = None
        self._outcome.set_result(reason)
        log.error("upgrade: %s; this process goes on", reason)
        self._on_failed()

    def abandon(self) -> None:
        """End a successor that is not ready yet: this process is stopping, and so must it."""
        if self.is_under_way and self._process is not None:
            self._process.kill()
            self._process.wait()
            self._fail("streamlb is stopping")

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._channel is not None:
            self._loop.remove_reader(self._channel.fileno())
            self._channel.close()
            self._channel = None


def report_ready(predecessor: socket.socket) -> None:
    """Tell the process that is to be replaced that this one serves."""
    try:
        predecessor.sendall(READY)
    except OSError as error:
        log.warning("the process that is to be replaced cannot be told: %s", error.strerror or error)
    predecessor.close()


def _executable() -> str:
    """The interpreter that is there now under the name of ours: an upgrade may have put another one in its place."""
    return sys.executable or shutil.which("python3") or "python3"


def _command() -> list[str]:
    """What this process was started with."""
    return [_executable(), *sys.orig_argv[1:]]
