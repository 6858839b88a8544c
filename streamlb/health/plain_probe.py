"""Probes of TCP and UDP servers: is somebody there, and does he say what is expected?

What lives here: `probe_tcp`, `probe_udp`. What must not: when to probe (`prober.py`).
The caller bounds the time. Specified by Traefik's TCP health check; UDP's by docs/reference.md ("Health").
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from streamlb.health.checks import Result
from streamlb.health.connect import ProbeError, connect, connect_datagram, resolve
from streamlb.net.datagram import ABSENT, MAX_DATAGRAM, Place

if TYPE_CHECKING:
    import socket

    from streamlb.health.checks import Check

MAX_SHOWN = 32
"""Bytes of an unexpected answer that a log line shows."""


async def probe_tcp(check: Check) -> Result:
    """Connect, say `send`, hear `expect`. Raises ProbeError, ShortageError, TimeoutError."""
    options = check.options
    loop = asyncio.get_running_loop()
    sock = await connect(check.host, check.port, options.timeout)
    try:
        if options.send:
            await loop.sock_sendall(sock, options.send.encode())
        expected = options.expect.encode()
        if expected:
            _compare(await _read(loop, sock, len(expected)), expected)
    except OSError as error:
        if isinstance(error, TimeoutError):
            raise
        raise ProbeError("connection reset") from error
    finally:
        sock.close()
    return Result(True, "answers as expected" if expected else "accepts connections")


async def _read(loop: asyncio.AbstractEventLoop, sock: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        piece = await loop.sock_recv(sock, size - len(received))
        if not piece:
            raise ProbeError("the connection was closed before the expected answer")
        received += piece
    return received


async def probe_udp(check: Check) -> Result:
    """Say `send`, hear `expect`; without `expect` only a refusal is bad. Raises as `probe_tcp` does."""
    refusal: ProbeError | None = None
    for family, host in await resolve(check.host):
        sock = connect_datagram(Place(family, (host, check.port)))
        try:
            return await _converse(check, sock)
        except ProbeError as error:
            refusal = error
        finally:
            sock.close()
    raise refusal or ProbeError("the name does not resolve")


async def _converse(check: Check, sock: socket.socket) -> Result:
    loop = asyncio.get_running_loop()
    expected = check.options.expect.encode()
    try:
        sock.send(check.options.send.encode())
        if expected:
            _compare((await loop.sock_recv(sock, MAX_DATAGRAM))[: len(expected)], expected)
            return Result(True, "answers as expected")
        # Whatever he says, he is there; and silence is all that many UDP servers ever have to say.
        await asyncio.wait_for(loop.sock_recv(sock, MAX_DATAGRAM), check.options.timeout / 2)
    except TimeoutError:
        if expected:
            raise
        return Result(True, "does not refuse datagrams")
    except OSError as error:
        reason = "port unreachable" if error.errno in ABSENT else (error.strerror or str(error)).lower()
        raise ProbeError(reason) from error
    return Result(True, "answers")


def _compare(answer: bytes, expected: bytes) -> None:
    if answer != expected:
        raise ProbeError(f"answers {quote(answer)}, not {quote(expected)}")


def quote(answer: bytes) -> str:
    """The beginning of what a server said, harmless in a log line."""
    shown = ascii(answer[:MAX_SHOWN].decode("latin-1"))
    return shown + "..." if len(answer) > MAX_SHOWN else shown
