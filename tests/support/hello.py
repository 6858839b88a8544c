"""ClientHello messages for tests: made by OpenSSL, or by hand where OpenSSL would not."""

from __future__ import annotations

import contextlib
import ssl


def spoken(
    name: str | None = None, protocols: tuple[str, ...] = (), version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> bytes:
    """What Python's ssl, which is OpenSSL, says first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(list(protocols))
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def vector(width: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return len(content).to_bytes(width, "big") + content


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(2, content)


def names(*given: bytes, kind: int = 0) -> bytes:
    return extension(0, vector(2, *(bytes([kind]) + vector(2, name) for name in given)))


def alpn(*given: bytes) -> bytes:
    return extension(16, vector(2, *(vector(1, name) for name in given)))


def message(
    *extensions: bytes, version: int = 0x0303, session: bytes = b"", suites: bytes = b"\x13\x01", rest: bytes = b""
) -> bytes:
    """A ClientHello with its handshake header."""
    body = version.to_bytes(2, "big") + bytes(32) + vector(1, session) + vector(2, suites) + b"\1\0"
    return b"\1" + vector(3, body, vector(2, *extensions) if extensions else b"", rest)


def records(data: bytes, size: int = 16_384, minor: int = 1) -> bytes:
    """Handshake records of at most `size` bytes each."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(bytes([0x16, 3, minor]) + vector(2, piece) for piece in pieces)
