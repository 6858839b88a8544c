"""What a connection's first bytes are: a TLS handshake, PostgreSQL's way to ask for one, or anything else.

What lives here: `read_opening`, and the few bytes PostgreSQL says before TLS. What must not: what is done about them.
Called by `proxy/door.py` with all bytes so far, which are still the kernel's.
Specified by PostgreSQL's message formats (SSLRequest, GSSENCRequest), RFC 8446 section 5.1.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from streamlb.wire.clienthello import ClientHello, NotTls, read_client_hello
from streamlb.wire.preamble import Incomplete, Malformed

SSL_REQUEST: Final = b"\0\0\0\x08\x04\xd2\x16\x2f"
GSS_REQUEST: Final = b"\0\0\0\x08\x04\xd2\x16\x30"
GO_AHEAD: Final = b"S"
NOT_THIS_WAY: Final = b"N"
"""PostgreSQL's one-byte answers to either."""

TLS_BEGINNINGS: Final = b"\x16\x80"
"""The first byte of a TLS record, and of an SSL 2 hello, which is to be refused as TLS."""


class Plain(NamedTuple):
    """Nothing that has to do with TLS."""


class Request(NamedTuple):
    """PostgreSQL's request for encryption, by TLS or in another way that we do not know."""

    is_for_tls: bool


Opening = ClientHello | Request | Plain | Incomplete | Malformed


def read_opening(data: bytes | memoryview, *, postgres: bool = False) -> Opening:
    """What `data` begins with. postgres: whether its requests mean anything here."""
    if not data:
        return Incomplete(1)
    if data[0] in TLS_BEGINNINGS:
        hello = read_client_hello(data)
        return Plain() if isinstance(hello, NotTls) else hello
    if postgres and not data[0]:
        beginning = bytes(data[: len(SSL_REQUEST)])
        if beginning in (SSL_REQUEST, GSS_REQUEST):
            return Request(beginning == SSL_REQUEST)
        if SSL_REQUEST.startswith(beginning) or GSS_REQUEST.startswith(beginning):
            return Incomplete(len(SSL_REQUEST))
    return Plain()
