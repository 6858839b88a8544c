"""Probes of TCP and UDP servers: is somebody there, and does he say what is expected?

What lives here: `probe_tcp`, `probe_udp`. What must not: when to probe (`prober.py`).
The caller bounds the time. Specified by Traefik's TCP health check; UDP's by docs/reference.md ("Health").
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from streamlb.health.checks import Result
from streamlb.health.connect import ProbeError, connect, connect_datagram, resolve
from streamlb.net.datagram import ABSENT, MAX_DATAGRAM, Place
from streamlb.net.handshake import MIN_HANDSHAKE_TIMEOUT
from streamlb.net.tls import PemError, client_context, handshake_error, reason_of

if TYPE_CHECKING:
    import socket

    from streamlb.config.model import HealthCheck
    from streamlb.config.tls import ClientTls
    from streamlb.health.checks import Check

MAX_SHOWN = 32
"""Bytes of an unexpected answer that a log line shows."""


async def probe_tcp(check: Check) -> Result:
    """Connect, shake hands over TLS, say `send`, hear `expect`. Raises ProbeError, ShortageError, TimeoutError."""
    options = check.options
    sock = await connect(check.host, check.port, options.timeout, check.proxy_version)
    try:
        tls = _tls(check.tls, check) if check.tls is not None else {}
        reader, writer = await asyncio.open_connection(sock=sock, **tls)
    except (OSError, ValueError, PemError) as error:
        sock.close()
        raise ProbeError(handshake_error(error).reason if check.tls else "connection reset") from error
    except BaseException:
        sock.close()
        raise
    try:
        return await _ask(reader, writer, options)
    except OSError as error:
        if isinstance(error, TimeoutError):
            raise
        raise ProbeError(reason_of(error) or "connection reset") from error
    finally:
        writer.transport.abort()


def _tls(tls: ClientTls, check: Check) -> dict[str, Any]:
    """What makes a connection one of TLS: as for those of clients."""
    return {
        "ssl": client_context(*tls.trust, protocols=()),
        "server_hostname": tls.server_name or check.name,
        "ssl_handshake_timeout": max(check.options.timeout, MIN_HANDSHAKE_TIMEOUT),
    }


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, options: HealthCheck) -> Result:
    if options.send:
        writer.write(options.send.encode())
    expected = options.expect.encode()
    if not expected:
        return Result(True, "accepts connections")
    try:
        answer = await reader.readexactly(len(expected))
    except asyncio.IncompleteReadError as error:
        raise ProbeError("the connection was closed before the expected answer") from error
    _compare(answer, expected)
    return Result(True, "answers as expected")


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
