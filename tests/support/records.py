"""Records as the ledger makes them, for tests of what is made of them.

What lives here: `request`, `connection`, `flow`, and `route`.
"""

from __future__ import annotations

from typing import Any

from streamlb.balance.selection import Server
from streamlb.config.observation import Observability
from streamlb.observe.records import HttpRecord, TcpRecord, UdpRecord
from streamlb.routing.router import Route, Router
from streamlb.wire.message import RequestFields, RequestHead

INSTANT = 1_790_000_000_123_456_789
"""2026-09-21T14:13:20.123456789Z."""


def route(name: str = "shop", observed: Observability | None = None) -> Route:
    return Route(Router(name, "PathPrefix(`/`)", None, observed=observed or Observability()))


def server(url: str = "http://10.0.0.1:8080") -> Server:
    return Server(url, "10.0.0.1", 8080, service="carts")


def head(
    method: bytes = b"GET",
    target: bytes = b"/a?b=c",
    host: bytes = b"shop.example.com:8443",
    pairs: tuple[tuple[bytes, bytes], ...] = (),
) -> RequestHead:
    fields = RequestFields()
    fields.host = host
    fields.pairs = [(b"host", host), *pairs]
    return RequestHead(method, target, 1, b"", fields)


def request(**said: Any) -> HttpRecord:
    """One that went well."""
    facts: dict[str, Any] = {
        "head": head(),
        "route": route(),
        "server": server(),
        "duration": 0.0125,
        "origin_duration": 0.0105,
        "status": 200,
        "origin_status": 200,
        "request_bytes": 5,
        "origin_bytes": 1000,
        "sent_bytes": 1000,
    }
    return HttpRecord("web", "192.0.2.7", 50123, **{**facts, **said})


def connection(**said: Any) -> TcpRecord:
    facts: dict[str, Any] = {
        "route": route("db"),
        "server": server("10.0.0.1:8080"),
        "duration": 2.5,
        "dial_duration": 0.001,
        "bytes_in": 10,
        "bytes_out": 20,
    }
    return TcpRecord("pg", "192.0.2.7", 50123, **{**facts, **said})


def flow(**said: Any) -> UdpRecord:
    facts: dict[str, Any] = {
        "route": route("dns"),
        "server": server("10.0.0.1:8080"),
        "duration": 0.25,
        "bytes_in": 40,
        "bytes_out": 400,
        "datagrams_in": 1,
        "datagrams_out": 2,
    }
    return UdpRecord("dns", "192.0.2.7", 50123, **{**facts, **said})
