"""From the names of strategies to balancers that choose accordingly."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from streamlb.balance.hashing import Rendezvous
from streamlb.balance.latency import Latency
from streamlb.balance.load import LeastBusy, LeastTime, TwoChoices
from streamlb.balance.selection import Selection, Server
from streamlb.balance.strategy import Rotation
from streamlb.balance.tree import Balancer
from streamlb.config.model import Config, HashBy, HighestRandomWeight, HttpSection, LoadBalancer, Service, WeightedChild
from streamlb.config.model import Server as ConfiguredServer
from streamlb.config.static import EntryPoint
from streamlb.runtime.build import build
from streamlb.runtime.registry import Registry


def config(**options: Any) -> Config:
    servers = [ConfiguredServer(url=f"http://{name}") for name in "abc"]
    service = Service(load_balancer=LoadBalancer(servers=servers, **options))
    return Config(entry_points={"web": EntryPoint(address=":80")}, http=HttpSection(services={"app": service}))


def app(registry: Registry | None = None, **options: Any) -> Balancer:
    node = build(config(**options), registry or Registry()).services["http", "app"]
    assert isinstance(node, Balancer)
    return node


@pytest.mark.parametrize(
    ("name", "kind"),
    [("wrr", Rotation), ("p2c", TwoChoices), ("leastconn", LeastBusy), ("leasttime", LeastTime), ("hrw", Rendezvous)],
)
def test_every_strategy_serves(name: str, kind: type) -> None:
    node = app(strategy=name)
    assert isinstance(node.strategy, kind)
    for number in range(20):
        assert isinstance(node.pick(Selection(b"", bytes([number]))), Server)


def test_latency_is_taken_for_those_who_ask_and_survives() -> None:
    registry = Registry()
    for child in app(registry).children:
        assert isinstance(child.node, Server)
        assert child.node.state.latency is None
    first = app(registry, strategy="leasttime").children[0].node
    assert isinstance(first, Server)
    assert isinstance(first.state.latency, Latency)
    again = app(registry, strategy="leasttime").children[0].node
    assert isinstance(again, Server)
    assert again.state.latency is first.state.latency


def test_lots_are_drawn_from_outside() -> None:
    drawn = iter([0.4, 0.9])
    node = build(config(strategy="p2c"), Registry(), random=drawn.__next__).services["http", "app"]
    picked = node.pick(Selection())
    assert picked is not None
    assert picked.name == "http://b"


def test_failing_open() -> None:
    node = app(on_all_down="failOpen")
    for child in node.children:
        assert isinstance(child.node, Server)
        child.node.set_up(False)
    assert not node.up
    assert node.pick(Selection()) is not None


def test_hashing_over_services() -> None:
    made = config()
    services = made.http.services
    for name in "xyz":
        services[name] = Service(load_balancer=LoadBalancer(servers=[ConfiguredServer(url=f"http://{name}")]))
    children = [WeightedChild(name="x"), WeightedChild(name="y", weight=3), WeightedChild(name="z", weight=0)]
    services["by-cookie"] = Service(
        highest_random_weight=HighestRandomWeight(services=children, hash_by=HashBy(cookie="user"))
    )
    services["by-field"] = Service(
        highest_random_weight=HighestRandomWeight(services=children, hash_by=HashBy(header="X-User"))
    )
    world = build(made, Registry())
    node = world.services["http", "by-cookie"]
    shares = Counter(str(node.pick(Selection(b"user=%d" % number))) for number in range(400))
    assert shares["Server(http://z)"] == 0
    assert 250 < shares["Server(http://y)"] < 350
    assert isinstance(world.services["http", "by-field"].pick(Selection()), Server)
