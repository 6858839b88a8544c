"""What a TCP connection must get past: ranges, connections at once, in order, across reloads."""

from __future__ import annotations

from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest

from streamlb.config.model import (
    Config,
    InFlightConn,
    IpAllowList,
    LoadBalancer,
    Router,
    Server,
    Service,
    TcpMiddleware,
    TcpSection,
)
from streamlb.config.static import EntryPoint
from streamlb.errors import InternalError
from streamlb.runtime.build import build
from streamlb.runtime.gates import AllowList, Gates, InFlight
from streamlb.runtime.registry import Registry

HERE, THERE, V6 = ip_address("10.0.0.1"), ip_address("192.0.2.1"), ip_address("2001:db8::1")


def test_ranges() -> None:
    gate = AllowList("office", ["10.0.0.0/8", "2001:db8::/32"])
    assert gate.admit(HERE)
    assert gate.admit(V6)
    assert gate.admit(ip_address("::ffff:10.0.0.1"))
    assert not gate.admit(THERE)
    gate.leave(HERE)


def test_so_many_at_once() -> None:
    gate = InFlight("few", 2, {})
    assert [gate.admit(HERE) for _ in range(3)] == [True, True, False]
    assert gate.admit(THERE)
    gate.leave(HERE)
    assert [gate.admit(HERE) for _ in range(2)] == [True, False]
    for client in (HERE, HERE, THERE):
        gate.leave(client)
    assert gate.counts == {}


@pytest.mark.parametrize("in_order", [True, False])
def test_who_is_refused_has_passed_none(in_order: bool) -> None:
    first, second = InFlight("one", 1, {}), AllowList("office", ["10.0.0.0/8"])
    gates = Gates([first, second] if in_order else [second, first])
    assert gates.admit(THERE) is second
    assert first.counts == {}
    assert gates.admit(HERE) is None
    assert gates.admit(HERE) is first
    gates.leave(HERE)
    assert first.counts == {}
    assert gates.admit(HERE) is None


# --- from a configuration ---


def config(amount: int = 1, middlewares: tuple[str, ...] = ("few", "office")) -> Config:
    app = Service(load_balancer=LoadBalancer(servers=[Server(address="a:1")]))
    return Config(
        entry_points={"t": EntryPoint(address=":1")},
        tcp=TcpSection(
            routers={
                "gated": Router(rule="HostSNI(`*`)", service="app", middlewares=list(middlewares)),
                "open": Router(rule="ClientIP(`10.0.0.9`)", service="app", priority=9),
            },
            services={"app": app},
            middlewares={
                "few": TcpMiddleware(in_flight_conn=InFlightConn(amount=amount)),
                "office": TcpMiddleware(ip_allow_list=IpAllowList(source_range=["10.0.0.0/8"])),
            },
        ),
    )


def gates(made: Config, registry: Registry, client: Any = HERE) -> Gates | None:
    tcp = build(made, registry).entry_points["t"].tcp
    assert tcp is not None
    route = tcp.route(SimpleNamespace(client=client, host=b"", protocols=(), is_tls=False))
    assert route is not None
    found: Gates | None = route.gates
    return found


def test_routers_have_their_own() -> None:
    assert gates(config(), Registry(), ip_address("10.0.0.9")) is None
    assert gates(config(), Registry()) is not None


def test_connections_are_counted_across_reloads() -> None:
    registry = Registry()
    before = gates(config(), registry)
    assert before is not None
    assert before.admit(HERE) is None
    after = gates(config(amount=2), registry)
    assert after is not None
    assert after.admit(HERE) is None
    refusing = after.admit(HERE)
    assert refusing is not None
    assert (refusing.name, refusing.reason) == ("few", "it has 2 connection(s) already")
    before.leave(HERE)
    assert after.admit(HERE) is None


def test_counts_go_with_their_middleware() -> None:
    registry = Registry()
    before = gates(config(), registry)
    assert before is not None
    before.admit(HERE)
    gates(config(middlewares=("office",)), registry)
    again = gates(config(), registry)
    assert again is not None
    assert again.admit(HERE) is None
    before.leave(HERE)


def test_a_middleware_that_does_not_exist() -> None:
    with pytest.raises(InternalError, match="tcp router gated: middleware nobody does not exist"):
        gates(config(middlewares=("nobody",)), Registry())
