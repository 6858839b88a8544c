"""Who an example server is, and where it listens.

What lives here: `Identity`, what every answer of one process is made from, and `Address`, a `--listen` argument.
What must not: sockets, protocols. Used by the other modules of this room; modelled on Traefik's whoami.
"""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass, field

KINDS = ("http", "tcp", "udp")


@dataclass(slots=True)
class Identity:
    """One example server. `health` is the status of `/health`, set by a POST to it.

    text: what a plain HTTP request is answered with; None: everything that is known of the request.
    """

    name: str
    text: str | None = None
    quiet: bool = False
    health: int = 200
    hostname: str = field(default_factory=socket.gethostname)

    def note(self, line: str) -> None:
        """One line about one request, at once, so that a mirrored request is seen to arrive."""
        if not self.quiet:
            sys.stdout.write(f"{self.name} {line}\n")
            sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class Address:
    """`host` is None for all interfaces; `kind` is one of `KINDS`; port 0 takes a free one."""

    host: str | None
    port: int
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} {show_peer((self.host or '', self.port))}"


def parse_address(text: str) -> Address:
    """Read `127.0.0.1:8081`, `:9081/tcp` or `[::1]:9081/udp`; ValueError says what is wrong."""
    place, _, kind = text.partition("/")
    host, colon, port = place.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not host:port, host:port/tcp or host:port/udp")
    if (kind or "http") not in KINDS:
        raise ValueError(f"{text!r} ends in /{kind}: only /http, /tcp and /udp are known")
    return Address(host.strip("[]") or None, int(port), kind or "http")


def show_peer(peer: object) -> str:
    """`127.0.0.1:4711` or `[::1]:4711` of what a socket calls its peer."""
    if not isinstance(peer, tuple):
        return "unknown"
    host, port = peer[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
