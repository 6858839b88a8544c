"""Sockets that somebody else has opened for this process: systemd's, or those of a streamlb that is being replaced.

What lives here: how they come (environment variables and open descriptors), and `Inheritance`, which gives them out.
What must not: which sockets are wanted (`sockets.py`), how a successor is started (`upgrade.py`).
Specified by sd_listen_fds(3) for systemd's; those of a predecessor are named in STREAMLB_SOCKETS.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from typing import TYPE_CHECKING, NamedTuple

from streamlb.errors import StartError

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from streamlb.net.address import Address

FIRST = 3
"""The first descriptor systemd passes."""
SOCKETS = "STREAMLB_SOCKETS"
"""What a predecessor passes: a JSON list of `Passed`."""
PREDECESSOR = "STREAMLB_PREDECESSOR"
"""The descriptor over which a predecessor waits for its successor to be ready."""
SYSTEMD = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


class Passed(NamedTuple):
    """A socket on its way to a successor.

    key: the name of an entry point, or an address. is_held: somebody else keeps it open.
    """

    descriptor: int
    key: str
    is_held: bool


class Inherited(NamedTuple):
    """An open socket. is_held: somebody keeps it open when we are gone."""

    sock: socket.socket
    key: str
    is_held: bool


class Inheritance:
    """What this process was born with. predecessor: the channel to the process that we are to replace, if any."""

    def __init__(self, sockets: list[Inherited] | None = None, predecessor: socket.socket | None = None) -> None:
        # process
        self._sockets = sockets or []
        self._held: set[int] = {_identity(each.sock) for each in self._sockets if each.is_held}
        self.predecessor = predecessor

    def take(self, name: str, address: Address) -> list[socket.socket]:
        """The sockets of an entry point, by its name or by its address; what was taken is not given again.

        Raises StartError where there is a socket of that name that cannot be its.
        """
        kind = socket.SOCK_DGRAM if address.kind == "udp" else socket.SOCK_STREAM
        named = [each for each in self._sockets if each.key == name]
        found = named or [each for each in self._sockets if each.key == str(address)]
        found = found or [each for each in self._sockets if is_at(each.sock, address)]
        for each in found:
            if each.sock.type != kind:
                raise StartError(f"entry point {name}: the socket it was passed is not one for {address.kind.upper()}")
            if kind == socket.SOCK_STREAM and not each.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise StartError(f"entry point {name}: the socket it was passed does not listen; is it `Accept=yes`?")
            self._sockets.remove(each)
        return [each.sock for each in found]

    @property
    def rest(self) -> list[socket.socket]:
        """What nobody has taken yet."""
        return [each.sock for each in self._sockets]

    def close_rest(self) -> list[str]:
        """Let go of what nobody has taken and nobody else has; the names of the rest, which may be of use yet."""
        for each in self._sockets:
            if not each.is_held:
                each.sock.close()
        self._sockets = [each for each in self._sockets if each.is_held]
        return sorted({each.key for each in self._sockets})

    def is_held(self, sock: socket.socket) -> bool:
        """Whether somebody will go on with this socket when we are gone."""
        return bool(self._held) and _identity(sock) in self._held


def inherit(environ: MutableMapping[str, str] = os.environ) -> Inheritance:
    """What was passed to this process; nothing of it is left in the environment, for it is not for our children."""
    sockets = _from_systemd(environ)
    passed = environ.pop(SOCKETS, "")
    if passed:
        sockets += [
            Inherited(sock, each.key, each.is_held)
            for each in (Passed(*item) for item in json.loads(passed))
            if (sock := _open(each.descriptor)) is not None
        ]
    number = environ.pop(PREDECESSOR, "")
    predecessor = _open(int(number)) if number else None
    return Inheritance(sockets, predecessor)


def _from_systemd(environ: MutableMapping[str, str]) -> list[Inherited]:
    pid, count, names, *_ = (environ.pop(name, "") for name in SYSTEMD)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    keys = names.split(":") if names else []
    found = []
    for index in range(int(count)):
        sock = _open(FIRST + index)
        if sock is not None:
            found.append(Inherited(sock, keys[index] if index < len(keys) else "unknown", True))
    return found


def _open(descriptor: int) -> socket.socket | None:
    """The socket of an open descriptor, which our own children do not get; None for anything else."""
    try:
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
    except OSError:
        return None
    sock.setblocking(False)
    return sock


def is_at(sock: socket.socket, address: Address) -> bool:
    """Whether a socket is bound to what an entry point says."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or not address.port:
        return False
    host, port = sock.getsockname()[:2]
    kind = socket.SOCK_DGRAM if address.kind == "udp" else socket.SOCK_STREAM
    if sock.type != kind or port != address.port:
        return False
    wanted = [address.host] if address.host else ["::", "0.0.0.0"]
    return host in wanted


def _identity(sock: socket.socket) -> int:
    with contextlib.suppress(OSError):
        return os.fstat(sock.fileno()).st_ino
    return 0
