"""Telling a server who the client is, before its first byte.

What lives here: `introduce`, which sends a PROXY header, and `local_endpoint`, one half of what it says.
What must not: the header's form (`wire/proxy_protocol.py`), whose servers want one. Called by the dials of `proxy`.
Specified by Traefik's `proxyProtocol` of serversTransports.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from streamlb.errors import Retry, UpstreamError
from streamlb.net.address import client_ip
from streamlb.net.dial import REASONS
from streamlb.wire.proxy_protocol import render

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from streamlb.wire.proxy_protocol import Endpoint

    Ends = tuple[Endpoint | None, Endpoint | None]
    """Who the client is and what it connected to; None where we speak for ourselves."""
    Introduction = Callable[[], Ends]
    """Asked only where a server wants to know."""


def introduce(sock: socket.socket, version: int, ends: Ends) -> UpstreamError | None:
    """Begin a connection with a PROXY header; why not, if it cannot be sent whole."""
    return send_whole(sock, render(version, *ends), "the PROXY header could not be sent")


def send_whole(sock: socket.socket, data: bytes, failure: str) -> UpstreamError | None:
    """Say something first, on a connection that has room for it."""
    try:
        if sock.send(data) == len(data):
            return None
        code = errno.EAGAIN
    except OSError as error:
        code = error.errno or errno.EIO
    return UpstreamError(502, REASONS.get(code, failure), Retry.ALWAYS)


def local_endpoint(sock: socket.socket) -> Endpoint | None:
    """Where a client's connection was accepted; None if it is gone."""
    try:
        return endpoint_of(sock.getsockname())
    except OSError:
        return None


def endpoint_of(name: Any) -> Endpoint | None:
    """The address and port of a socket's name, None for none."""
    return (client_ip(name), name[1]) if name else None
