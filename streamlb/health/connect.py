"""A connected socket for a probe, and the reasons why there is none.

What lives here: `connect` for TCP, `connect_datagram` for UDP, `ProbeError`. What must not: what is said over them.
Called by the probes of this room. Names are resolved anew for each probe, by the resolver all dials share.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from streamlb.net import datagram
from streamlb.net.address import numeric_family
from streamlb.net.dial import dial
from streamlb.net.resolve import resolver
from streamlb.wire.proxy_protocol import render

if TYPE_CHECKING:
    from streamlb.errors import UpstreamError
    from streamlb.net.resolve import Found

SHORT_OF_RESOURCES = 503
"""The status by which a dial says that the fault is ours."""
TOO_LATE = 504
MAX_LOOKUPS = 32
"""Names looked up at once; the resolver would refuse twice as many, and a refusal is not to be taken for a bad name."""

_lookups: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


class ProbeError(Exception):
    """The server, or the way to it, failed the probe; the message says how."""


class ShortageError(Exception):
    """The probe could not be made for want of our own resources."""


async def connect(host: str, port: int, timeout: float, proxy_version: int = 0) -> socket.socket:
    """A non-blocking connected socket. Raises ProbeError, ShortageError, TimeoutError.

    proxy_version: of the PROXY header to begin with, 0 for none. It says that we speak for ourselves.
    """
    sock = await _connect(host, port, timeout)
    if proxy_version:
        try:
            sock.send(render(proxy_version, None, None))
        except OSError as error:
            sock.close()
            raise ProbeError("connection reset") from error
    return sock


async def _connect(host: str, port: int, timeout: float) -> socket.socket:
    loop = asyncio.get_running_loop()
    # A name is known to the dial from here on.
    await resolve(host)
    dialled: asyncio.Future[socket.socket] = loop.create_future()

    def on_done(sock: socket.socket | None, error: UpstreamError | None) -> None:
        if dialled.done():
            if sock is not None:
                sock.close()
        elif sock is not None:
            dialled.set_result(sock)
        else:
            dialled.set_exception(_in_words(error))

    attempt = dial(loop, host, port, timeout, on_done)
    try:
        return await dialled
    except asyncio.CancelledError:
        attempt.cancel()
        if dialled.done() and not dialled.cancelled() and dialled.exception() is None:
            # Both at once: connected, and nobody to take it.
            dialled.result().close()
        raise


def _in_words(error: UpstreamError | None) -> Exception:
    if error is None:
        return ProbeError("the dial failed")
    if error.status == SHORT_OF_RESOURCES:
        return ShortageError(error.reason)
    return TimeoutError() if error.status == TOO_LATE else ProbeError(error.reason)


async def resolve(host: str) -> Found:
    """The addresses of a host, at least one. Raises ProbeError."""
    if host.startswith("/"):
        return [(socket.AF_UNIX, host)]
    family = numeric_family(host)
    if family is not None:
        return [(family, host)]
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[Found] = loop.create_future()

    def on_done(found: Found) -> None:
        if not answered.done():
            answered.set_result(found)

    async with _lookups.setdefault(loop, asyncio.Semaphore(MAX_LOOKUPS)):
        resolver(loop).resolve(host, on_done)
        if not await answered:
            raise ProbeError("the name does not resolve")
    return answered.result()


def connect_datagram(place: datagram.Place) -> socket.socket:
    """A socket that talks to, and hears of, one place only. Raises ProbeError, ShortageError."""
    try:
        return socket.socket(fileno=datagram.connect(place).detach())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise (ProbeError if error.errno in datagram.ABSENT else ShortageError)(reason) from error
