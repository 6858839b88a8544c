"""Addresses as entry points write them, and the sockets bound to them.

What lives here: `parse_address`, `bind`, and the client's address as a value; an `OSError` of binding becomes one clear
line here. What must not: accepting (`listener.py`), dialling (`dial.py`). Called by `process/control.py` and `proxy`.
Specified by Traefik's entry point page: `host:port`, `:port`, `[::1]:port`, each with `/tcp` (default) or `/udp`.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import ipaddress
import re
import socket
from pathlib import Path
from typing import Any, Literal, NamedTuple

from streamlb.errors import StartError

LOOPBACK = ("127.", "::1")
"""How the addresses of this machine alone begin."""
CONGESTION_CONTROL = "/proc/sys/net/ipv4/tcp_congestion_control"
UNPACED = b"reno"
"""The one every kernel has and lets everybody use."""
BACKLOG = 4096
"""Connections the kernel may hold for us; it caps this at `net.core.somaxconn`."""

KEEPALIVE_IDLE = 60
KEEPALIVE_INTERVAL = 15
"""Seconds of silence before a peer is probed, and between probes: one that vanished is noticed in some 3 minutes."""

MAX_KEEPALIVE = 32_767
"""Seconds of silence the kernel can be told (tcp(7))."""

UDP_BUFFER = 4 * 1024 * 1024
"""Bytes asked for datagrams waiting to be read; the kernel caps this at `net.core.rmem_max` for the unprivileged."""
SO_RCVBUFFORCE = 33
"""Linux's number; beyond that cap, with CAP_NET_ADMIN (socket(7))."""

PRIVILEGED_PORTS = 1024

MAX_CLIENTS = 4096
"""Addresses of clients remembered: reading one costs as much as the routing of its connection."""

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

ADDRESS = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[\w.-]*)):(?P<port>[0-9]{1,5})(?:/(?P<kind>tcp|udp))?",
    re.ASCII | re.IGNORECASE,
)


class Address(NamedTuple):
    """Where to listen. `host` is empty for all interfaces, IPv4 and IPv6; an IPv6 address carries no brackets."""

    host: str
    port: int
    kind: Literal["tcp", "udp"] = "tcp"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" + ("/udp" if self.kind == "udp" else "")


def parse_address(text: str) -> Address:
    """Read an address strictly; anything else is a `StartError` that says what is wrong."""
    found = ADDRESS.fullmatch(text)
    if found is None:
        raise StartError(f"{text!r} is not an address: write host:port, :port or [::1]:port, then /udp for UDP")
    port = int(found["port"])
    if port > 65535:
        raise StartError(f"{text!r}: port {port} is above 65535")
    if found["v6"] is not None and numeric_family(found["v6"].partition("%")[0]) != socket.AF_INET6:
        raise StartError(f"{text!r}: {found['v6']} is not an IPv6 address")
    kind: Literal["tcp", "udp"] = "udp" if (found["kind"] or "").lower() == "udp" else "tcp"
    return Address(found["v6"] or found["host"] or "", port, kind)


def numeric_family(host: str) -> socket.AddressFamily | None:
    """AF_INET or AF_INET6 for a numeric address, None for a name."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.inet_pton(family, host)
    except (OSError, ValueError):  # ValueError: a NUL inside.
        return None
    return family


def client_ip(peer: Any) -> IPAddress:
    """The address of an accepted peer; an IPv4 client of a dual-stack socket is the IPv4 address it is."""
    return client_of(peer[0])[0]


@functools.lru_cache(maxsize=MAX_CLIENTS)
def client_of(host: str) -> tuple[IPAddress, str]:
    """The same for the first part of its address, and as text."""
    if ":" not in host:
        return ipaddress.IPv4Address(host), host
    address = ipaddress.IPv6Address(host.partition("%")[0])
    client = address.ipv4_mapped or address
    return client, str(client)


def client_group(host: str) -> str | bytes:
    """For whom a client's address counts where clients are counted: an IPv6 one for its network of 64 bits, as
    whoever has one address there has them all (RFC 4291 section 2.5.4)."""
    if ":" not in host or host.startswith("::ffff:"):
        return host
    return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])[:8]


def bind(address: Address, *, name: str = "", reuse_port: bool = False) -> socket.socket:
    """A non-blocking socket bound to `address`, listening if TCP; `name` is the entry point, for the error."""
    if address.kind == "udp":
        return bind_udp(address, name=name, reuse_port=reuse_port)
    return bind_tcp(address, name=name, reuse_port=reuse_port)


def bind_tcp(address: Address, *, name: str = "", reuse_port: bool = False) -> socket.socket:
    """A non-blocking listening socket. Accepted connections inherit TCP_NODELAY and keep-alive from it (tcp(7))."""
    sock = _bound(address, socket.SOCK_STREAM, name, reuse_port)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keep_alive(sock)
        if address.host.startswith(LOOPBACK):
            unpace(sock)
        sock.listen(BACKLOG)
    except OSError as error:
        # Two sockets may bind with SO_REUSEADDR; the second to listen is the one that is refused.
        sock.close()
        raise StartError(_reason(error, address, name)) from error
    return sock


def unpace(sock: socket.socket) -> None:
    """Have a connection over loopback send as fast as its peer takes it, where the system paces (decision 14)."""
    if system_paces():
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, UNPACED)


@functools.cache
def system_paces() -> bool:
    """Whether connections are of BBR unless somebody says otherwise, which arms a timer for each piece sent."""
    try:
        return Path(CONGESTION_CONTROL).read_text().startswith("bbr")
    except OSError:
        return False


def bind_udp(address: Address, *, name: str = "", reuse_port: bool = False) -> socket.socket:
    """A non-blocking datagram socket with a generous receive buffer."""
    sock = _bound(address, socket.SOCK_DGRAM, name, reuse_port)
    ask_for_buffer(sock, UDP_BUFFER)
    return sock


def ask_for_buffer(sock: socket.socket, size: int) -> None:
    """Have the kernel keep up to `size` bytes for us, or as many as we are allowed."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def keep_alive(sock: socket.socket, seconds: float = KEEPALIVE_IDLE) -> None:
    """Have the kernel notice a peer that vanished without a word, from so many seconds of silence on; negative: not."""
    if seconds < 0:
        return
    idle = max(1, min(round(seconds), MAX_KEEPALIVE))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, min(idle, KEEPALIVE_INTERVAL))


def _bound(address: Address, kind: socket.SocketKind, name: str, reuse_port: bool) -> socket.socket:
    sock = None
    try:
        family, where = _place(address, kind)
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
        if kind == socket.SOCK_STREAM:
            # Not for UDP: there it would let two processes share the port unnoticed.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address.host in ("", "::") else 1)
        sock.bind(where)
    except OSError as error:
        if sock is not None:
            sock.close()
        raise StartError(_reason(error, address, name)) from error
    return sock


def _place(address: Address, kind: socket.SocketKind) -> tuple[socket.AddressFamily, Any]:
    """Family and socket address to bind; a name is looked up, its IPv4 address first."""
    if not address.host:
        if _has_ipv6():
            return socket.AF_INET6, ("::", address.port)
        return socket.AF_INET, ("0.0.0.0", address.port)
    found = socket.getaddrinfo(address.host, address.port, type=kind, flags=socket.AI_PASSIVE)
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return found[0][0], found[0][4]


def _has_ipv6() -> bool:
    """Whether the machine has IPv6 switched on."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def _reason(error: OSError, address: Address, name: str) -> str:
    prefix = f"entry point {name}: " if name else ""
    if isinstance(error, socket.gaierror):
        return f"{prefix}{address}: the name {address.host} does not resolve ({error.strerror})"
    if error.errno == errno.EADDRINUSE:
        return f"{prefix}{address} is already in use"
    if error.errno == errno.EACCES and 0 < address.port < PRIVILEGED_PORTS:
        return f"{prefix}{address}: a port below {PRIVILEGED_PORTS} needs root or CAP_NET_BIND_SERVICE"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{prefix}{address}: {address.host} is not an address of this machine"
    return f"{prefix}cannot listen on {address}: {error.strerror or error}"
