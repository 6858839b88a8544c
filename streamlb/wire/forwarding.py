"""The fields a proxy tells its servers about the client: `X-Forwarded-*` and `X-Real-Ip`.

What lives here: the managed set, and what is sent for one header block of one connection.
What must not: whom to trust is decided by the caller. Behaviour: Traefik's forwarded headers, RFC 7239 in spirit.
"""

from __future__ import annotations

from typing import Final

MANAGED: Final = frozenset(
    {
        b"x-forwarded-proto",
        b"x-forwarded-scheme",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-server",
        b"x-forwarded-uri",
        b"x-forwarded-method",
        b"x-forwarded-prefix",
        b"x-forwarded-tls-client-cert",
        b"x-forwarded-tls-client-cert-info",
        b"x-scheme",
        b"x-real-ip",
    }
)
"""Fields only the proxy and trusted peers may set; any mix of `-` and `_` in a name is the same name to servers that
turn both into `_`."""


def render_forwarded(
    peer: bytes,
    server_name: bytes,
    host: bytes,
    upgrade: bytes,
    kept: list[tuple[bytes, bytes]],
    *,
    append: bool = True,
    schemes: bool = False,
    secure: bool = False,
) -> bytes:
    """The managed fields to send, each with its CRLF.

    peer: the client's address as text. kept: the managed fields received, empty unless the peer is trusted.
    append: add the peer to `X-Forwarded-For`. schemes: say the scheme in Traefik's two other fields, too.
    secure: the client came over TLS.
    """
    told = {name: value for name, value in kept if name != b"x-forwarded-for"}
    chain = [value for name, value in kept if name == b"x-forwarded-for" and value]
    proto = told.get(b"x-forwarded-proto") or _scheme(b"websocket" in upgrade.lower().split(b", "), secure)
    port = told.get(b"x-forwarded-port") or port_of(host) or (b"443" if proto in (b"https", b"wss") else b"80")
    if append:
        chain.append(peer)
    if schemes:
        told[b"x-forwarded-scheme"] = told[b"x-scheme"] = proto
    lines = [
        b"X-Forwarded-Port: " + port,
        b"X-Forwarded-Proto: " + proto,
        b"X-Forwarded-Server: " + server_name,
        b"X-Real-Ip: " + (told.get(b"x-real-ip") or peer),
    ]
    if chain:
        lines.append(b"X-Forwarded-For: " + b", ".join(chain))
    if forwarded_host := told.get(b"x-forwarded-host") or host:
        lines.append(b"X-Forwarded-Host: " + forwarded_host)
    lines += [name.title() + b": " + value for name, value in told.items() if name not in RENDERED]
    return b"\r\n".join(lines) + b"\r\n"


def _scheme(is_websocket: bool, secure: bool) -> bytes:
    if is_websocket:
        return b"wss" if secure else b"ws"
    return b"https" if secure else b"http"


RENDERED: Final = frozenset(
    {
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-forwarded-server",
        b"x-real-ip",
    }
)


def port_of(host: bytes) -> bytes:
    """The port in a `Host` value, or empty: `a:80` -> `80`, `[::1]` -> empty."""
    name, colon, port = host.rpartition(b":")
    return port if colon and not name.endswith(b":") and port.isdigit() else b""
