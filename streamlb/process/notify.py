"""What systemd is told of this service, and when it wants to hear that it lives.

What lives here: `Notifier`. What must not: when something is to be told (`control.py`).
Specified by sd_notify(3): datagrams of `KEY=value` lines to the socket that NOTIFY_SOCKET names.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

MICROSECONDS = 1_000_000
MAX_STATUS = 500
"""Characters of a status; what is longer is cut."""


class Notifier:
    """The service manager's ear; without one nothing is sent.

    watchdog: seconds between two signs of life it waits for, 0 where it does not wait.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        # process
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._sock: socket.socket | None = None
        self._status = ""
        self._has_failed = False
        self.watchdog = _watchdog(environ) if self._address else 0.0
        if self._address[:1] in ("/", "@"):
            self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        elif self._address:
            log.warning("NOTIFY_SOCKET %r is not an address of a Unix socket", self._address)

    def send(self, **values: str | int) -> None:
        """Tell everything in one message; what it does not take is lost."""
        if self._sock is None:
            return
        text = "\n".join(f"{key}={value}" for key, value in values.items())
        # unix(7): a name that begins with a NUL is in no file system.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            self._sock.sendto(text.encode(), address)
            self._has_failed = False
        except OSError as error:
            if not self._has_failed:
                log.warning("systemd cannot be told anything at %s: %s", self._address, error.strerror or error)
            self._has_failed = True

    def ready(self, status: str) -> None:
        """It serves; also the end of `reloading`."""
        self._status = _cut(status)
        self.send(READY=1, STATUS=self._status)

    def reloading(self) -> None:
        self.send(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)

    def stopping(self, patience: float) -> None:
        """It ends within so many seconds, and is not to be killed before."""
        self.send(STOPPING=1, EXTEND_TIMEOUT_USEC=round(patience * MICROSECONDS), STATUS="finishing what is in flight")

    def succeeded_by(self, pid: int) -> None:
        """Another process is the service from now on."""
        self.send(MAINPID=pid)

    def status(self, status: str) -> None:
        """How it goes, in a line for people."""
        status = _cut(status)
        if status != self._status:
            self._status = status
            self.send(STATUS=status)

    def alive(self) -> None:
        if self.watchdog:
            self.send(WATCHDOG=1)

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def _watchdog(environ: Mapping[str, str]) -> float:
    text, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not text.isdecimal() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(text) / MICROSECONDS


def _cut(text: str) -> str:
    return " ".join(text.split())[:MAX_STATUS]
