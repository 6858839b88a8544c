"""What the proxy knows of a conversation that is over: the facts behind a line of the access log, or a span.

What lives here: `HttpRecord`, `TcpRecord`, `UdpRecord`, and the words for how one ends and why.
What must not: how a line looks (`access_json.py`), counting. Made by `proxy/ledger.py`, and only where somebody reads
them. Durations are seconds, sizes are bytes; nothing is rendered or copied before a line is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from streamlb.balance.selection import Server
    from streamlb.routing.router import Route
    from streamlb.wire.message import RequestHead, ResponseHead

# --- why the proxy answered itself, or ended a conversation before its time ----------------------------------------

NO_ROUTE: Final = "no router matches"
TLS_ONLY: Final = "HTTP was spoken where only HTTPS is"
MISDIRECTED: Final = "the connection's TLS options are not those of this host"
REDIRECTED: Final = "redirected"
LOCAL: Final = "answered by streamlb itself"
NO_SERVER: Final = "no server is up"
QUEUE_FULL: Final = "the queue is full"
QUEUE_TIMEOUT: Final = "no server had room in time"
UNREACHABLE: Final = "no server could be reached"
SERVER_LOST: Final = "the server ended the connection"
SERVER_SLOW: Final = "the server took too long"
CLIENT_GONE: Final = "the client left"
CLIENT_SLOW: Final = "the client took too long"
UNREADABLE: Final = "the request cannot be read"
TOO_LARGE: Final = "the request's head is too large"
SHUTDOWN: Final = "streamlb was stopping"
MIDDLEWARE: Final = "refused by middleware "
"""With its name behind."""

# --- how a TCP connection or a UDP flow ends -----------------------------------------------------------------------

CLOSED: Final = "closed"
CLIENT_RESET: Final = "client-reset"
SERVER_RESET: Final = "server-reset"
IDLE: Final = "idle"
CUT: Final = "cut"
"""By us, at the end of a drain's grace or by `ctl`."""
REFUSED: Final = "refused"
"""No byte of it reached a server; `reason` says why."""
ANSWERED: Final = "answered"
"""UDP in `mode: datagram`."""
EVICTED: Final = "evicted"
"""A UDP flow that gave way to newer ones."""
SERVER_DOWN: Final = "server-down"


class TlsFacts(NamedTuple):
    """Of a client's connection: `1.3`, `TLS_AES_128_GCM_SHA256`, and the subject of its certificate or nothing."""

    version: str
    cipher: str
    subject: str = ""


class HttpRecord(msgspec.Struct, gc=False):
    """A request and what became of it.

    client, port: the peer, as a PROXY header says or else the kernel. head: None where no head could be read.
    duration: from the head's last byte to the end of the answer. origin_duration: of this, from the moment the server
    that answered was sent the request to the end of its answer.
    status: sent to the client; 499 where it left before, 0 where nothing was sent. origin_status: of the server's
    answer, 0 where the proxy answered itself. sent_head: the answer's head as the client got it.
    request_bytes, origin_bytes, sent_bytes: of bodies. retries: servers tried beyond the first, and repeated requests.
    reason: why the proxy answered itself or ended it early. sticky_hit: whether a cookie named the server; None: there
    was none to read. mirrors: services that got a copy.
    """

    entry_point: str
    client: str
    port: int = 0
    head: RequestHead | None = None
    route: Route | None = None
    server: Server | None = None
    duration: float = 0.0
    origin_duration: float = 0.0
    status: int = 0
    origin_status: int = 0
    origin_head: ResponseHead | None = None
    sent_head: bytes = b""
    request_bytes: int = 0
    origin_bytes: int = 0
    sent_bytes: int = 0
    retries: int = 0
    reason: str = ""
    sticky_hit: bool | None = None
    mirrors: tuple[str, ...] = ()
    tls: TlsFacts | None = None
    secure: bool = False


class TcpRecord(msgspec.Struct, gc=False):
    """A TCP connection and what became of it.

    server_name: what a ClientHello asked for. duration: from accept to the end; dial_duration: of this, until a server
    was reached. bytes_in: from the client; bytes_out: to it. retries: servers tried beyond the first.
    """

    entry_point: str
    client: str
    port: int = 0
    route: Route | None = None
    server: Server | None = None
    server_name: bytes = b""
    duration: float = 0.0
    dial_duration: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    retries: int = 0
    end: str = CLOSED
    reason: str = ""
    mirrors: tuple[str, ...] = ()
    tls: TlsFacts | None = None


class UdpRecord(msgspec.Struct, gc=False):
    """A UDP flow and what became of it. duration: from its first to its last datagram; ago: how long that has been."""

    entry_point: str
    client: str
    port: int = 0
    route: Route | None = None
    server: Server | None = None
    duration: float = 0.0
    ago: float = 0.0
    datagrams_in: int = 0
    datagrams_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    end: str = IDLE
    reason: str = ""
    mirrors: tuple[str, ...] = ()
