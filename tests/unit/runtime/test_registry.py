"""What survives a reload, and what is forgotten."""

from __future__ import annotations

from streamlb.balance.quota import Quota
from streamlb.balance.selection import Selection, Server
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
    registry.renew().resume("http", after)
    return after


def test_a_rotation_goes_on_where_it_was() -> None:
    assert picks(reloaded(balancer(("a", 1), ("b", 2)), balancer(("a", 1), ("b", 2))), 4) == "babb"


def test_a_rotation_of_other_children_or_weights_starts_afresh() -> None:
    assert picks(reloaded(balancer(("a", 1), ("b", 2)), balancer(("a", 1), ("c", 2))), 3) == "acc"
    assert picks(reloaded(balancer(("a", 1), ("b", 2)), balancer(("a", 2), ("b", 1))), 3) == "aab"


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
