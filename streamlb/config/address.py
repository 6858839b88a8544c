"""Addresses as text: entry points, servers, URLs, networks. Nothing is looked up.

What lives here: the syntax of `host:port`, `:port`, `[::1]:port`, `/tcp`, `/udp`, `http://host:port`, CIDR ranges.
What must not: sockets, name resolution. Called by `references.py` and `kubernetes.py`.
Specified by Traefik's entry points and services pages; RFC 3986 section 3.2.2 for hosts.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST_NAME = re.compile(rf"(?=.{{1,253}}\.?$){LABEL}(?:\.{LABEL})*\.?")
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
NETWORK = re.compile(r"/([A-Za-z0-9]*)\Z")
DEFAULT_PORTS = {"http": 80, "https": 443}


class AddressError(ValueError):
    """Not an address: `reason` says why, `suggestion` what to write."""

    def __init__(self, reason: str, suggestion: str = "") -> None:
        self.reason = reason
        self.suggestion = suggestion
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Address:
    """`host` without brackets, empty for every address of the machine; `network` is `tcp` or `udp`."""

    host: str
    port: int
    network: str = "tcp"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_numeric(self) -> bool:
        """Whether the host is an address rather than a name."""
        return ":" in self.host or re.fullmatch(r"[0-9.]+", self.host) is not None

    def overlaps(self, other: Address) -> bool:
        """Whether the two cannot be listened on at the same time."""
        if (self.port, self.network) != (other.port, other.network):
            return False
        mine, theirs = self.host.lower(), other.host.lower()
        same = _numeric(mine) == _numeric(theirs)
        return same or _covers(mine, theirs) or _covers(theirs, mine)


def parse_entry_point(text: str) -> Address:
    """The address of an entry point. Raises AddressError."""
    body = text
    network = "tcp"
    suffix = NETWORK.search(body)
    if suffix and "://" not in body:
        network = suffix[1].lower()
        body = body[: suffix.start()]
        if network not in ("tcp", "udp"):
            raise AddressError(f"`/{suffix[1]}` is no network; it is `/tcp` (the default) or `/udp`", f"`{body}/udp`")
    host, port = _split(body, f"`:{body}`" if body.isdigit() else "")
    return Address(host, port, network)


def parse_server(text: str, network: str = "tcp") -> Address:
    """The address of a TCP or UDP server: host and port. Raises AddressError."""
    body = text
    if NETWORK.search(body) and "://" not in body:
        raise AddressError("a server's address has no `/tcp` or `/udp`", f"`{NETWORK.sub('', body)}`")
    host, port = _split(body, f"`127.0.0.1:{body}`" if body.isdigit() else "")
    if not host:
        raise AddressError("the host is missing: a server's address is `host:port`", f"`127.0.0.1:{port}`")
    return Address(host, port, network)


@dataclass(frozen=True, slots=True)
class Url:
    address: Address
    path: str = ""
    scheme: str = "http"


def parse_url(text: str) -> Url:
    """The URL of an HTTP server. The path is returned, not used. Raises AddressError."""
    body = text
    found = SCHEME.fullmatch(body)
    if not found:
        raise AddressError("a server's URL begins with `http://` or `https://`", _url_guess(body))
    scheme, rest = found[1].lower(), found[2]
    if scheme == "h2c":
        raise AddressError("Traefik's `h2c://` servers are not supported by streamlb yet", "use `http://`")
    if scheme not in DEFAULT_PORTS:
        raise AddressError(f"`{scheme}://` is no way to reach an HTTP server", f"`http://{rest}`")
    authority, tail = _cut(rest)
    if "@" in authority:
        raise AddressError("a name and password in a server's URL are not supported")
    if "?" in tail or "#" in tail:
        raise AddressError("a server's URL has no query and no fragment", f"`{scheme}://{authority}`")
    if any(char.isspace() for char in tail):
        raise AddressError("a URL holds no spaces")
    guess = f"`{scheme}://127.0.0.1:{authority}`" if authority.isdigit() else ""
    host, port = _split(authority, guess, default=DEFAULT_PORTS[scheme])
    if not host:
        raise AddressError("the host is missing", f"`{scheme}://127.0.0.1:{port}`")
    return Url(Address(host, port), tail, scheme)


def is_host(text: str) -> bool:
    """Whether `text` is a host's name or numeric address, without a port."""
    try:
        _check_v6(text) if ":" in text else _check_host(text, "")
    except AddressError:
        return False
    return bool(text)


def check_network(text: str) -> str:
    """Why `text` is neither an address nor a CIDR range; empty when it is one."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return f"`{text}` is neither an IP address nor a range like `10.0.0.0/8`"
    return ""


def _url_guess(body: str) -> str:
    try:
        address = parse_server(body)
    except AddressError:
        return ""
    return f"`http://{address}`"


def _cut(rest: str) -> tuple[str, str]:
    """The authority and what follows it."""
    end = min((at for at in (rest.find(sign) for sign in "/?#") if at >= 0), default=len(rest))
    return rest[:end], rest[end:]


def _split(body: str, suggestion: str = "", default: int | None = None) -> tuple[str, int]:
    """Host and port, both checked."""
    if not body:
        raise AddressError("the address is empty", "`:80` or `127.0.0.1:80`")
    scheme = SCHEME.fullmatch(body)
    if scheme:
        raise AddressError(f"an address has no `{scheme[1]}://`", f"`{scheme[2].rstrip('/')}`")
    if body.startswith("["):
        host, sign, tail = body[1:].partition("]")
        if not sign:
            raise AddressError("the bracket `[` is not closed", f"`[{host}]:80`")
        _check_v6(host)
        if tail and not tail.startswith(":"):
            raise AddressError(f"after `]` comes `:` and the port, not `{tail}`")
        port_text, has_port = tail[1:], bool(tail)
    elif body.count(":") > 1:
        raise AddressError("an IPv6 address stands in brackets", _bracket_guess(body))
    else:
        host, sign, port_text = body.partition(":")
        has_port = bool(sign)
        if has_port or not body.isdigit():
            _check_host(host, port_text)
    if has_port:
        return host, _port(port_text)
    if default is None or body.isdigit():
        raise AddressError("the port is missing: an address is `host:port`", suggestion or f"`{body}:80`")
    return host, default


def _bracket_guess(body: str) -> str:
    host, _, port = body.rpartition(":")
    for candidate, tail in ((host, f":{port}"), (body, ":80")):
        try:
            ipaddress.IPv6Address(candidate)
        except ValueError:
            continue
        return f"`[{candidate}]{tail}`"
    return ""


def _check_v6(host: str) -> None:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        raise AddressError(f"`{host}` is not an IPv6 address") from None


def _check_host(host: str, port: str) -> None:
    """An IPv4 address, a host name, or nothing."""
    if not host:
        return
    if re.fullmatch(r"[0-9.]+", host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            guess = f"`:{host}`" if host.isdigit() and host == port else ""
            raise AddressError(f"`{host}` is not an IPv4 address", guess) from None
    elif not HOST_NAME.fullmatch(host):
        raise AddressError(f"`{host}` is not a host name")


def _port(text: str) -> int:
    if not text:
        raise AddressError("the port is missing behind the `:`")
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise AddressError(f"`{text}` is not a port number")
    port = int(text)
    if not 1 <= port <= 65535:
        raise AddressError(f"the port {port} is not between 1 and 65535")
    return port


def _numeric(host: str) -> str:
    """One spelling for each address; localhost is what it is on every machine."""
    if host == "localhost":
        return "127.0.0.1"
    return str(ipaddress.IPv6Address(host)) if ":" in host else host


def _covers(wildcard: str, host: str) -> bool:
    """Whether listening on `wildcard` takes `host` too; a name other than localhost is given the benefit of doubt."""
    if wildcard in ("", "::"):
        return True
    return wildcard == "0.0.0.0" and (host == "localhost" or re.fullmatch(r"[0-9.]+", host) is not None)
