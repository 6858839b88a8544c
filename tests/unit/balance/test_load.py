"""Strategies that look at load: the less busy of two, the soonest answer, and nobody starved or stormed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from streamlb.balance.hashing import Draws
from streamlb.balance.latency import Latency
from streamlb.balance.load import PASSED_OVER, LeastBusy, LeastTime, TwoChoices
from streamlb.balance.selection import Selection, Server

if TYPE_CHECKING:
    from collections.abc import Callable

WANT = Selection()


def server(name: str, active: int = 0) -> Server:
    made = Server(name, "127.0.0.1", 80)
    made.state.active = active
    return made


def scripted(*numbers: float) -> Callable[[], float]:
    return iter(numbers).__next__


# --- p2c ---


def two(*servers: Server, weights: tuple[int, ...] = (), random: Callable[[], float] | None = None) -> TwoChoices:
    return TwoChoices(list(zip(servers, weights or [1] * len(servers), strict=True)), random or Draws(1))


@given(
    actives=st.lists(st.integers(0, 5), min_size=2, max_size=6),
    first=st.floats(0, 1, exclude_max=True),
    second=st.floats(0, 1, exclude_max=True),
)
def test_the_less_busy_of_two_different_servers(actives: list[int], first: float, second: float) -> None:
    servers = [server(f"s{n}", active) for n, active in enumerate(actives)]
    one = servers[int(first * len(servers))]
    rest = [each for each in servers if each is not one]
    other = rest[int(second * len(rest))]
    chosen = two(*servers, random=scripted(first, second)).next(WANT)
    assert chosen in (one, other)
    assert chosen is not None
    assert chosen.state.active == min(one.state.active, other.state.active)
    if one.state.active == other.state.active:
        assert chosen is one


def test_idle_servers_are_drawn_evenly() -> None:
    choices = two(*(server(name) for name in "abc"))
    drawn = Counter(choices.next(WANT) for _ in range(3000))
    assert len(drawn) == 3
    assert all(850 < count < 1150 for count in drawn.values())


def test_the_busiest_of_all_is_never_chosen() -> None:
    busy = server("busy", 9)
    choices = two(busy, server("a"), server("b"))
    assert busy not in {choices.next(WANT) for _ in range(200)}


def test_load_is_measured_by_weight() -> None:
    small, large = server("small", 1), server("large", 4)
    assert two(small, large, weights=(1, 5), random=Draws(1)).next(WANT) is large
    assert two(small, large, weights=(1, 3), random=Draws(1)).next(WANT) is small


def test_only_the_usable_are_drawn() -> None:
    a, b, drained = server("a"), server("b"), server("drained")
    choices = two(a, b, drained, weights=(1, 1, 0))
    assert {choices.next(WANT) for _ in range(50)} == {a, b}
    choices.use({b, drained})
    assert {choices.next(WANT) for _ in range(5)} == {b}
    choices.use(())
    assert choices.next(WANT) is None


def test_others_come_by_their_load() -> None:
    a, b, c = server("a", 3), server("b", 1), server("c", 2)
    choices = two(a, b, c)
    assert choices.upcoming(WANT) == [b, c, a]
    choices.skip_to(c)


# --- leastconn ---


def busy(*servers: Server, weights: tuple[int, ...] = (), worker: int = 0, workers: int = 1) -> LeastBusy:
    return LeastBusy(list(zip(servers, weights or [1] * len(servers), strict=True)), worker, workers)


def test_the_least_busy_of_all() -> None:
    a, b, c = server("a", 2), server("b", 1), server("c", 3)
    assert busy(a, b, c).next(WANT) is b
    assert busy(a, b, c).upcoming(WANT) == [b, a, c]


def test_the_equally_busy_take_turns() -> None:
    servers = [server(name) for name in "abc"]
    strategy = busy(*servers)
    assert [strategy.next(WANT) for _ in range(6)] == servers * 2
    strategy.skip_to(servers[1])
    assert [strategy.next(WANT) for _ in range(3)] == [servers[0], servers[2], servers[1]]


def test_connections_that_stay_are_shared_by_weight() -> None:
    servers = [server(name) for name in "abc"]
    strategy = busy(*servers, weights=(1, 3, 0))
    for _ in range(40):
        chosen = strategy.next(WANT)
        assert chosen is not None
        chosen.state.active += 1
    assert [each.state.active for each in servers] == [10, 30, 0]


def test_workers_begin_with_different_servers() -> None:
    servers = [server(name) for name in "abcd"]
    assert [busy(*servers, worker=n, workers=4).next(WANT) for n in range(4)] == servers
    assert busy(*servers[:2], worker=3, workers=4).next(WANT) is servers[1]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=6))
def test_the_least_busy_is_one_of_the_usable(children: list[tuple[int, int, bool]]) -> None:
    servers = [server(f"s{n}", active) for n, (_, active, _) in enumerate(children)]
    weights = tuple(weight for weight, _, _ in children)
    strategy = busy(*servers, weights=weights)
    usable = {each for each, (weight, _, up) in zip(servers, children, strict=True) if weight and up}
    strategy.use([each for each, (_, _, up) in zip(servers, children, strict=True) if up])
    load = {each: (each.state.active + 1) / weight for each, weight in zip(servers, weights, strict=True) if weight}
    for _ in range(3):
        chosen = strategy.next(WANT)
        if not usable:
            assert chosen is None
            continue
        assert chosen in usable
        assert load[chosen] == min(load[each] for each in usable)


# --- leasttime ---


class Farm:
    """Servers that answer in so many seconds, one request at a time."""

    def __init__(self, **seconds: float | None) -> None:
        self.seconds = seconds
        self.servers = {name: server(name) for name in seconds}
        self.latencies = {name: Latency() for name in seconds}
        children = [(self.servers[name], 1, self.latencies[name]) for name in seconds]
        self.strategy = LeastTime(children)

    def serve(self, count: int) -> Counter[str]:
        served: Counter[str] = Counter()
        for _ in range(count):
            chosen = self.strategy.next(WANT)
            assert chosen is not None
            served[chosen.name] += 1
            self.latencies[chosen.name].add(self.seconds[chosen.name])
        return served


def test_everybody_is_tried_then_the_fastest_wins() -> None:
    farm = Farm(slow=0.3, fast=0.1, middle=0.2)
    assert farm.serve(3) == {"slow": 1, "fast": 1, "middle": 1}
    assert farm.serve(100) == {"fast": 100}


def test_a_server_that_fails_fast_is_not_the_fastest() -> None:
    farm = Farm(broken=None, sound=0.5)
    assert farm.serve(PASSED_OVER) == {"broken": 1, "sound": PASSED_OVER - 1}


def test_a_server_passed_over_for_long_may_show_that_it_has_recovered() -> None:
    farm = Farm(broken=None, sound=0.5)
    farm.serve(10)
    farm.seconds["broken"] = 0.1
    served = farm.serve(3 * PASSED_OVER)
    assert served["broken"] > PASSED_OVER
    farm = Farm(broken=None, sound=0.5)
    assert farm.serve(5 * PASSED_OVER)["broken"] <= 6


def test_equals_take_turns() -> None:
    farm = Farm(a=0.1, b=0.1, c=0.1)
    farm.serve(3)
    assert [next(iter(farm.serve(1))) for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_all_broken_is_all_equal() -> None:
    farm = Farm(a=None, b=None)
    assert farm.serve(100) == {"a": 50, "b": 50}


def test_work_under_way_counts() -> None:
    farm = Farm(fast=0.1, slow=0.25)
    farm.serve(2)
    farm.servers["fast"].state.active = 1
    assert farm.serve(1) == {"fast": 1}
    farm.servers["fast"].state.active = 2
    assert farm.serve(1) == {"slow": 1}


def test_a_newcomer_is_not_stormed_before_it_has_answered() -> None:
    """While its first answer is awaited a new server counts as an average one, not as the fastest of all."""
    old, new = server("old"), server("new")
    known, unknown = Latency(), Latency()
    known.add(0.1)
    strategy = LeastTime([(old, 1, known), (new, 1, unknown)])
    served: Counter[str] = Counter()
    for _ in range(20):
        chosen = strategy.next(WANT)
        assert chosen is not None
        chosen.state.active += 1
        served[chosen.name] += 1
    assert served == {"old": 10, "new": 10}


def test_weights_count() -> None:
    a, b = server("a"), server("b")
    latencies = [Latency(), Latency()]
    for each in latencies:
        each.add(0.1)
    strategy = LeastTime([(a, 1, latencies[0]), (b, 3, latencies[1])])
    served: Counter[str] = Counter()
    for _ in range(40):
        chosen = strategy.next(WANT)
        assert chosen is not None
        chosen.state.active += 1
        served[chosen.name] += 1
    assert served == {"a": 10, "b": 30}


def test_those_who_were_away_come_back_to_the_end_of_no_queue() -> None:
    farm = Farm(a=0.1, b=0.2)
    farm.strategy.use([farm.servers["a"]])
    assert farm.serve(10) == {"a": 10}
    farm.strategy.use(())
    assert farm.strategy.next(WANT) is None
    farm.strategy.use(list(farm.servers.values()))
    assert farm.serve(10) == {"b": 1, "a": 9}


def test_others_come_by_what_is_expected_of_them() -> None:
    farm = Farm(a=0.3, b=0.1, c=None, d=0.2)
    farm.serve(4)
    upcoming = farm.strategy.upcoming(WANT)
    assert [each.name for each in upcoming] == ["b", "d", "a", "c"]
    farm.strategy.skip_to(upcoming[1])
    assert farm.strategy._usable[-1].server.name == "d"


def test_nobody_knows_anybody() -> None:
    a, b = server("a", 1), server("b", 1)
    strategy = LeastTime([(a, 1, Latency()), (b, 0, Latency())])
    assert strategy.next(WANT) is a
    pair = LeastTime([(a, 1, Latency()), (b, 1, Latency())])
    assert [pair.next(WANT) for _ in range(4)] == [a, b, a, b]
    assert len(pair.upcoming(WANT)) == 2


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.none() | st.floats(0, 1)), max_size=6))
def test_a_pick_always_ends_with_somebody_usable(children: list[tuple[int, int, float | None]]) -> None:
    servers = [server(f"s{n}", active) for n, (_, active, _) in enumerate(children)]
    latencies = [Latency() for _ in children]
    for known, (_, _, seconds) in zip(latencies, children, strict=True):
        known.add(seconds)
    strategy = LeastTime([(s, w, known) for s, (w, _, _), known in zip(servers, children, latencies, strict=True)])
    usable = {s for s, (weight, _, _) in zip(servers, children, strict=True) if weight > 0}
    for _ in range(3):
        chosen = strategy.next(WANT)
        assert (chosen in usable) if usable else chosen is None
