"""What survives a reload, and what is forgotten."""

from __future__ import annotations

from typing import Any

from streamlb.balance.latency import Latency
from streamlb.balance.load import LeastBusy, LeastTime
from streamlb.balance.queue import Queue
from streamlb.balance.quota import Quota
from streamlb.balance.selection import Selection, Server, ServerState
from streamlb.balance.tree import Balancer, Child
from streamlb.config.static import ServersTransport
from streamlb.runtime.registry import Registry

PLAIN = ServersTransport()


def balancer(*children: tuple[str, int]) -> Balancer:
    return Balancer("app", [Child(name, Server(name, "h", 1), weight) for name, weight in children])


def picks(node: Balancer, count: int) -> str:
    return "".join(picked.name for _ in range(count) if (picked := node.pick(Selection())))


def test_states_are_kept_by_protocol_service_and_server() -> None:
    registry = Registry()
    first = registry.renew()
    state = first.state("http", "app", "a", PLAIN)
    assert first.state("http", "app", "a", PLAIN) is state
    others = [
        first.state("tcp", "app", "a", PLAIN),
        first.state("http", "b", "a", PLAIN),
        first.state("http", "app", "b", PLAIN),
    ]
    assert state not in others
    first.commit()
    second = registry.renew()
    assert second.state("http", "app", "a", PLAIN) is state


def test_nothing_changes_without_a_commit() -> None:
    registry = Registry()
    first = registry.renew()
    state = first.state("http", "app", "a", PLAIN)
    first.commit()
    abandoned = registry.renew()
    abandoned.state("http", "app", "b", PLAIN)
    again = registry.renew()
    assert again.state("http", "app", "a", PLAIN) is state
    again.commit()
    assert registry.retired == []


def test_what_is_gone_is_retired_and_forgotten() -> None:
    registry = Registry()
    first = registry.renew()
    gone, stays = first.state("http", "app", "a", PLAIN), first.state("http", "app", "b", PLAIN)
    first.commit()
    second = registry.renew()
    second.state("http", "app", "b", PLAIN)
    second.commit()
    assert registry.retired == [gone]
    third = registry.renew()
    assert third.state("http", "app", "a", PLAIN) is not gone
    assert third.state("http", "app", "b", PLAIN) is stays
    third.commit()
    assert registry.retired == []


def reloaded(before: Balancer, after: Balancer) -> Balancer:
    registry = Registry()
    renewal = registry.renew()
    renewal.resume("http", before)
    renewal.commit()
    picks(before, 2)
    renewal = registry.renew()
    renewal.resume("http", after)
    renewal.commit()
    return after


def test_a_rotation_goes_on_where_it_was() -> None:
    assert picks(reloaded(balancer(("a", 1), ("b", 2)), balancer(("a", 1), ("b", 2))), 4) == "babb"


def test_a_rotation_of_other_children_or_weights_goes_on_at_the_same_part() -> None:
    assert picks(reloaded(balancer(("a", 1), ("b", 2)), balancer(("a", 1), ("c", 2))), 4) == "cacc"
    assert picks(reloaded(balancer(("a", 1), ("b", 2)), balancer(("a", 2), ("b", 1))), 3) == "aba"


def test_a_quota_is_kept_if_its_percentage_is_the_same() -> None:
    registry = Registry()
    renewal = registry.renew()
    quota = renewal.quota("http", "app", "m", 50, lambda: Quota(50))
    twin = renewal.quota("http", "app", "m", 50, lambda: Quota(50))
    assert twin is not quota
    renewal.commit()
    assert registry.renew().quota("http", "app", "m", 50, lambda: Quota(50)) is quota
    assert registry.renew().quota("http", "app", "m", 10, lambda: Quota(10)).percent == 10
    assert registry.renew().quota("tcp", "app", "m", 50, lambda: Quota(50)) is not quota


def test_a_parked_server_keeps_its_state_apart_and_begins_anew() -> None:
    registry = Registry()
    first = registry.renew()
    state = first.state("http", "app", "a", PLAIN)
    first.commit()
    state.active = 3
    second = registry.renew()
    second.park("http", "app", "a")
    assert state.up, "nothing happens before the build has succeeded"
    second.commit()
    assert registry.parked == {("http", "app", "a"): state}
    assert registry.retired == [state]
    assert not state.up
    third = registry.renew()
    third.park("http", "app", "a")
    third.commit()
    assert registry.parked == {("http", "app", "a"): state}
    assert registry.retired == []
    back = registry.renew()
    fresh = back.state("http", "app", "a", PLAIN)
    back.commit()
    assert fresh is not state
    assert fresh.up
    assert registry.parked == {}


def test_a_server_that_begins_in_maintenance_is_parked_too() -> None:
    registry = Registry()
    first = registry.renew()
    first.park("tcp", "app", "a")
    first.commit()
    [state] = registry.parked.values()
    assert (state.up, state.active) == (False, 0)


def test_a_quota_of_another_percentage_goes_on() -> None:
    registry = Registry()
    renewal = registry.renew()
    quota = renewal.quota("http", "app", "m", 10, lambda: Quota(10))
    renewal.commit()
    assert quota.admit()
    assert registry.renew().quota("http", "app", "m", 20, lambda: Quota(20)).credit == quota.credit


def build_queue(registry: Registry, places: int, size: int = 10) -> tuple[Queue, ServerState]:
    renewal = registry.renew()
    queue = renewal.queue("http", "app", Queue("app", size, 1.0))
    state = renewal.state("http", "app", "a", PLAIN)
    renewal.places("http", "app", "a", places)
    renewal.commit()
    return queue, state


def test_a_queue_and_the_places_are_those_of_the_newest_build_for_everybody() -> None:
    registry = Registry()
    queue, state = build_queue(registry, 1)
    assert (state.max_connections, state.queue, registry.stirred) == (1, queue, [])
    assert build_queue(registry, 1, size=20) == (queue, state)
    assert (queue.max_size, registry.stirred) == (20, [])
    assert build_queue(registry, 3) == (queue, state)
    assert (state.max_connections, registry.stirred) == (3, [queue])
    without = registry.renew()
    without.state("http", "app", "a", PLAIN)
    without.commit()
    assert (state.max_connections, state.queue, registry.stirred) == (0, None, [queue])
    assert build_queue(registry, 1)[0] is not queue
    assert registry.stirred == []


def test_the_others_go_on_too() -> None:
    servers = [Server(name, "h", 1) for name in "abc"]
    for kind in (LeastBusy, lambda children: LeastTime([(server, 1, Latency()) for server, _ in children])):

        def made(kind: Any = kind) -> Balancer:
            children = [Child(each.name, each) for each in servers]
            return Balancer("app", children, strategy=kind([(each, 1) for each in servers]))

        assert picks(reloaded(made(), made()), 4) == "cabc"
