"""Flows: admission, the lazy deadlines, what is looked at when."""

from __future__ import annotations

import pytest

from streamlb.session.flows import MIN_TICK, SPARED, TICKS_PER_TIMEOUT, Flow, FlowTable, Stage

TIMEOUT = 3.0
TICK = TIMEOUT / TICKS_PER_TIMEOUT


def table_of(
    *keys: str, now: float = 100.0, timeout: float = TIMEOUT, max_flows: int = 10, max_per_client: int = 10
) -> FlowTable[Flow]:
    """A table with a flow for each key; the client is the key's first letter."""
    table: FlowTable[Flow] = FlowTable(timeout, max_flows, max_per_client)
    for key in keys:
        table.admit(flow_of(key), now)
    return table


def flow_of(key: str) -> Flow:
    return Flow(key, key[0])


def keys_of(flows: list[Flow]) -> set[object]:
    return {flow.key for flow in flows}


def test_an_empty_table_needs_no_timer() -> None:
    table = table_of()
    assert len(table) == 0
    assert table.next_at is None
    assert table.expire(1e9, 10) == []


def test_an_admitted_flow_is_found_by_its_key() -> None:
    table = table_of("a")
    assert table.flows["a"].key == "a"
    assert table.flows["a"].last_seen_at == 100.0
    assert table.flows.get("b") is None


def test_there_is_room_up_to_the_limit() -> None:
    table = table_of("a", "b", max_flows=3)
    assert table.has_room("z")
    table.admit(flow_of("c"), 100.0)
    assert not table.has_room("z")
    table.remove(table.flows["a"])
    assert table.has_room("z")


def test_one_flow_per_key() -> None:
    table = table_of("a")
    with pytest.raises(AssertionError):
        table.admit(flow_of("a"), 100.0)


def test_a_quiet_flow_ends_after_the_timeout_and_at_most_one_tick_later() -> None:
    table = table_of("a")
    assert table.expire(100.0 + TIMEOUT - 0.001, 10) == []
    next_at = table.next_at
    assert next_at is not None
    assert 100.0 + TIMEOUT < next_at <= 100.0 + TIMEOUT + TICK
    assert keys_of(table.expire(next_at, 10)) == {"a"}
    assert len(table) == 0
    assert table.next_at is None


def test_a_flow_that_was_seen_lives_on_for_a_timeout() -> None:
    table = table_of("a", "b")
    table.flows["a"].last_seen_at = 102.0
    assert keys_of(table.expire(103.5, 10)) == {"b"}
    assert table.expire(104.9, 10) == []
    assert keys_of(table.expire(105.0 + TICK, 10)) == {"a"}


def test_a_busy_flow_is_looked_at_once_per_timeout() -> None:
    table = table_of("a")
    now, looks = 100.0, 0
    while now < 130.0:
        now += 0.01
        table.flows["a"].last_seen_at = now
        due = table.next_at
        assert due is not None
        if due <= now:
            looks += 1
            assert table.expire(now, 10) == []
    assert 8 <= looks <= 10


def test_a_removed_flow_is_forgotten_everywhere() -> None:
    table = table_of("a", "b")
    table.remove(table.flows["a"])
    assert set(table.flows) == {"b"}
    assert keys_of(table.expire(200.0, 10)) == {"b"}
    assert table.next_at is None


def test_a_key_can_come_back_at_once() -> None:
    table = table_of("a")
    table.remove(table.flows["a"])
    table.admit(flow_of("a"), 101.0)
    assert keys_of(table.expire(101.0 + TIMEOUT + TICK, 10)) == {"a"}


def test_work_is_bounded_and_the_rest_is_due_at_once() -> None:
    table = table_of(*"abcdefghij")
    assert len(table.expire(200.0, 4)) == 4
    assert len(table) == 6
    assert table.next_at is not None
    assert table.next_at <= 200.0
    assert len(table.expire(200.0, 4)) == 4
    assert len(table.expire(200.0, 4)) == 2
    assert table.next_at is None


def test_looking_at_a_flow_that_lives_counts_as_work() -> None:
    table = table_of("a", "b")
    for flow in table.flows.values():
        flow.last_seen_at = 102.9
    assert table.expire(103.3, 1) == []
    assert table.next_at is not None
    assert table.next_at <= 103.3
    assert table.expire(103.3, 1) == []
    assert table.next_at > 103.3


def test_a_leap_of_the_clock_ends_all_and_nothing_spins() -> None:
    table = table_of("a", "b")
    assert keys_of(table.expire(1e9, 10)) == {"a", "b"}


def test_a_clock_that_stands_still_or_steps_back_ends_nobody() -> None:
    table = table_of("a")
    assert table.expire(100.0, 10) == []
    assert table.expire(50.0, 10) == []
    table.flows["a"].last_seen_at = 99.0
    assert table.expire(101.9, 10) == []
    assert keys_of(table.expire(103.0 + TICK, 10)) == {"a"}


def test_new_limits_hold_for_the_flows_there_are() -> None:
    table = table_of("a", "b")
    table.flows["b"].last_seen_at = 101.0
    table.set_limits(1.0, 1, 1)
    assert not table.has_room("z")
    assert keys_of(table.expire(101.1, 10)) == {"a"}
    assert not table.has_room("z")
    assert keys_of(table.expire(102.1, 10)) == {"b"}
    assert table.has_room("z")


@pytest.mark.parametrize("timeout", [0.0, 1e-9, 0.001, 0.1, 3600.0])
def test_any_timeout_ends_flows_and_rests_between(timeout: float) -> None:
    table = table_of("a", timeout=timeout)
    next_at = table.next_at
    assert next_at is not None
    assert next_at >= 100.0
    assert table.expire(next_at + MIN_TICK, 10)


@pytest.mark.parametrize("now", [0.0, 1e-3, 12345.678, 1e9 + 1 / 3])
@pytest.mark.parametrize("timeout", [0.1, 1 / 3, 3.0, 59.9])
def test_rounding_never_ends_a_flow_early_nor_makes_expire_spin(now: float, timeout: float) -> None:
    table = table_of("a", now=now, timeout=timeout)
    for _ in range(50):
        next_at = table.next_at
        assert next_at is not None
        ended = table.expire(next_at, 1000)
        if ended:
            assert next_at - now >= timeout * (1 - 1e-6)
            assert next_at - now <= timeout + 2 * max(timeout / TICKS_PER_TIMEOUT, MIN_TICK)
            return
    pytest.fail("never ended")


# --- who gives way ---


def speak(table: FlowTable[Flow], key: str, stage: Stage) -> Flow:
    """Bring a flow to a stage."""
    flow = table.flows[key]
    if stage is not Stage.FRESH:
        table.answered(flow)
    if stage is Stage.PROVEN:
        table.proved(flow)
    assert flow.stage is stage
    return flow


def test_a_client_has_room_up_to_its_limit_and_others_beyond_it() -> None:
    table = table_of("a1", "a2", max_per_client=2)
    assert table.is_crowded("a")
    assert not table.has_room("a")
    assert table.has_room("b")
    table.remove(table.flows["a1"])
    assert table.has_room("a")


def test_a_client_without_flows_is_forgotten() -> None:
    table = table_of("a1", "a2", "b1")
    table.remove(table.flows["a1"])
    assert set(table._clients) == {"a", "b"}
    assert len(table.expire(200.0, 10)) == 2
    assert table._clients == {}


def test_nobody_gives_way_in_the_first_second() -> None:
    table = table_of("a", "b", max_flows=2)
    speak(table, "b", Stage.SERVED)
    assert table.yielding("c", 100.0 + SPARED - 0.001) is None
    assert table.yielding("c", 100.0 + SPARED) is table.flows["a"]


def test_the_oldest_without_an_answer_gives_way_first_then_the_oldest_with_one() -> None:
    table = table_of("a", "b", "c", "d", max_flows=4)
    for key, stage in (("a", Stage.PROVEN), ("c", Stage.SERVED), ("b", Stage.SERVED)):
        speak(table, key, stage)
    gone = []
    for newcomer in "wxyz":
        flow = table.yielding(newcomer, 102.0)
        if flow is not None:
            gone.append(flow.key)
            table.remove(flow)
            table.admit(flow_of(newcomer), 102.0)
    assert gone == ["d", "c", "b"]
    assert set(table.flows) == {"a", "w", "x", "y"}


def test_a_proven_flow_never_gives_way() -> None:
    table = table_of("a", "b", max_flows=2)
    speak(table, "a", Stage.PROVEN)
    speak(table, "b", Stage.PROVEN)
    assert table.yielding("c", 1e9) is None


def test_a_crowded_client_gets_a_place_of_its_own_only() -> None:
    table = table_of("b1", "a1", "a2", max_per_client=2)
    assert table.yielding("a", 102.0) is table.flows["a1"]
    speak(table, "a2", Stage.SERVED)
    assert table.yielding("a", 100.0) is table.flows["a2"], "it has had its answer: no reason to wait"
    speak(table, "a1", Stage.PROVEN)
    table.proved(table.flows["a2"])
    assert table.yielding("a", 1e9) is None
    assert table.has_room("b")


def test_lower_limits_make_nobody_give_way() -> None:
    table = table_of("a1", "a2", "b1")
    table.set_limits(TIMEOUT, 2, 10)
    assert table.yielding("c", 102.0) is None
    table.set_limits(TIMEOUT, 10, 1)
    assert table.yielding("a", 102.0) is None
    assert table.has_room("c")


def test_what_gave_way_is_forgotten_everywhere() -> None:
    table = table_of("a", "b", max_flows=2)
    for now, key in enumerate("cdefgh", start=101):
        flow = table.yielding(key, now)
        assert flow is not None
        table.remove(flow)
        table.admit(flow_of(key), now)
    assert set(table.flows) == {"g", "h"} == set(table._clients)
    assert keys_of(table.expire(200.0, 10)) == {"g", "h"}
    assert (len(table._lines.fresh), len(table._lines.served), table._lines.count) == (0, 0, 0)
