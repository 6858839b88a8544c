"""What a worker has in flight, conversation by conversation, for an operator who asks.

What lives here: `describe`. What must not: doing anything to a conversation, costing one anything while nobody asks:
what HTTP clients have sent and got is the kernel's count (tcp(7), TCP_INFO), the rest is what the engines note anyway.
Called by `process/answers.py`. Specified in docs/reference.md ("Steering").
"""

from __future__ import annotations

import socket
import struct
from time import perf_counter
from typing import TYPE_CHECKING

import msgspec

from streamlb.net.address import client_ip
from streamlb.proxy.downstream import Downstream
from streamlb.proxy.newcomer import Newcomer
from streamlb.proxy.tcp_conversation import TcpConversation
from streamlb.proxy.udp import UdpEntry
from streamlb.proxy.udp_flow import socket_address
from streamlb.session.exchange import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlb.net.address import IPAddress
    from streamlb.proxy.forwarder import Forwarder
    from streamlb.proxy.live import Conversation

COUNTS = struct.Struct("=QQ")
"""`tcpi_bytes_acked` and `tcpi_bytes_received` of Linux' tcp_info."""
COUNTS_AT = 120
MAX_PATH = 100
"""Characters of a request's path that are shown."""


class Described(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    """One conversation. age: seconds since it came in. busy: seconds since its request came in (HTTP).

    silent: seconds since the last datagram of a UDP flow. received, sent: bytes from and to the client.
    """

    kind: str
    client: str
    entry_point: str
    state: str
    router: str = ""
    service: str = ""
    server: str = ""
    request: str = ""
    age: float = -1.0
    busy: float = -1.0
    silent: float = -1.0
    received: int = -1
    sent: int = -1


def describe(conversation: Conversation, entry_point: str, now: float) -> Iterator[Described]:
    """What a conversation is doing, by the loop's time; all flows of a UDP entry point."""
    if isinstance(conversation, UdpEntry):
        yield from _flows(conversation, entry_point, now)
    elif isinstance(conversation, Downstream):
        yield _http(conversation, entry_point, now)
    elif isinstance(conversation, TcpConversation):
        yield _tcp(conversation, entry_point)
    elif isinstance(conversation, Newcomer):
        yield _newcomer(conversation, entry_point)


def _http(client: Downstream, entry_point: str, now: float) -> Described:
    facts = client._forwarder
    received, sent = _counts(client.transport.get_extra_info("socket"))
    host, port = client.source
    said = Described(
        kind="https" if client.options else "http",
        client=_endpoint(host, port),
        entry_point=entry_point,
        state="ending" if client.ending else "idle",
        age=_rounded(now - client._opened_at),
        received=received,
        sent=sent,
    )
    if client.busy:
        said.state = _state_of(facts)
        said.busy = _rounded(perf_counter() - facts.began_at) if facts.began_at else -1.0
        method, _, target = facts.head.line.partition(b" ")
        path = target.partition(b" ")[0].partition(b"?")[0]
        said.request = f"{method.decode('latin-1')} {path[:MAX_PATH].decode('latin-1')}"
        if facts.route is not None:
            said.router = facts.route.name
            said.service = facts.route.service.name if facts.route.service is not None else ""
        if facts.server is not None:
            said.service, said.server = facts.server.service, facts.server.name
    return said


def _state_of(facts: Forwarder) -> str:
    """Where an exchange has got to."""
    if facts.tunnel is not None:
        return "tunnel"
    if facts._queue is not None:
        return "queued"
    if facts.exchange.answer is not Answer.WAITING:
        return "answering"
    if facts._upstream is None:
        return "dialling"
    return "waiting" if facts.exchange.request_done else "receiving"


def _tcp(conversation: TcpConversation, entry_point: str) -> Described:
    received, sent = conversation.moved
    host, port = conversation._source
    server = conversation._server
    state = "queued" if conversation._queue is not None else "dialling" if conversation._pumps is None else "open"
    return Described(
        kind="tcp",
        client=_endpoint(str(host), port),
        entry_point=entry_point,
        state=state,
        router=conversation._route.name,
        service=server.service if server is not None else conversation._service.name,
        server=server.name if server is not None else "",
        age=_rounded(perf_counter() - conversation._began_at),
        received=received,
        sent=sent,
    )


def _newcomer(newcomer: Newcomer, entry_point: str) -> Described:
    host, port = newcomer._arrival.source
    state = "handshake" if newcomer._handshake is not None else "opening"
    return Described(kind="tcp", client=_endpoint(str(host), port), entry_point=entry_point, state=state)


def _flows(entry: UdpEntry, entry_point: str, now: float) -> Iterator[Described]:
    for flow in [*entry._table.flows.values()]:
        peer = socket_address(flow.peer)
        host: IPAddress = client_ip(peer)
        server = flow.server
        yield Described(
            kind="udp",
            client=_endpoint(str(host), peer[1]),
            entry_point=entry_point,
            state=flow.stage.name.lower(),
            service=server.service if server is not None else "",
            server=server.name if server is not None else "",
            age=_rounded(now - flow.opened_at),
            silent=_rounded(now - flow.last_seen_at),
        )


def _endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _rounded(seconds: float) -> float:
    return round(max(seconds, 0.0), 3)


def _counts(sock: socket.socket | None) -> tuple[int, int]:
    """Bytes received, and bytes sent that were acknowledged; -1 where the kernel does not tell."""
    if sock is None:
        return -1, -1
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, COUNTS_AT + COUNTS.size)
        sent, received = COUNTS.unpack_from(info, COUNTS_AT)
    except (OSError, struct.error):
        return -1, -1
    return received, sent
