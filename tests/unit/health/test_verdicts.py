"""What a worker makes of verdicts and of its own failures, on a loop whose time stands still until told."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from streamlb.balance.selection import Selection
from streamlb.config.model import (
    Config,
    HealthCheck,
    HttpSection,
    LoadBalancer,
    MirrorChild,
    Mirroring,
    PassiveHealthCheck,
    Server,
    Service,
    Weighted,
    WeightedChild,
)
from streamlb.health.verdicts import Verdicts
from streamlb.runtime.build import build
from streamlb.runtime.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlb.runtime.snapshot import Runtime


class Timer:
    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class StillLoop:
    """As much of a loop as `Verdicts` uses."""

    def __init__(self) -> None:
        self.at = 100.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.at

    def call_later(self, delay: float, work: Callable[..., None], *args: Any) -> Timer:
        timer = Timer(self.at + delay, lambda: work(*args))
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        self.at += seconds
        due = [timer for timer in self.timers if timer.at <= self.at]
        self.timers = [timer for timer in self.timers if timer.at > self.at]
        for timer in due:
            if not timer.cancelled:
                timer.call()


def servers(
    *names: str, active: bool = False, passive: PassiveHealthCheck | None = None, slow_start: float = 0.0
) -> Service:
    return Service(
        load_balancer=LoadBalancer(
            servers=[Server(url=f"http://{name.removesuffix('!')}", weight=not name.endswith("!")) for name in names],
            health_check=HealthCheck(path="/h") if active else None,
            passive_health_check=passive,
            slow_start=slow_start,
        )
    )


class World:
    """Verdicts over a configuration's HTTP services."""

    def __init__(self, **services: Service) -> None:
        self.loop = StillLoop()
        self.reported: list[tuple[str, str, str]] = []
        self.downs = 0
        self.verdicts = Verdicts(self.loop, self.reported.append, self._on_down)  # type: ignore[arg-type]
        self.registry = Registry()
        self.runtime: Runtime
        self.load(**services)

    def _on_down(self) -> None:
        self.downs += 1

    def load(self, **services: Service) -> None:
        self.runtime = build(Config(http=HttpSection(services=services)), self.registry)
        self.verdicts.adopt(self.runtime)

    def picks(self, service: str = "app", count: int = 4) -> str:
        """The servers of successive requests; `-` for none."""
        found = [self.runtime.services["http", service].pick(Selection()) for _ in range(count)]
        return "".join(server.name[-1] if server else "-" for server in found)

    def set(self, name: str, up: bool, service: str = "app") -> None:
        self.verdicts.apply(("http", service, f"http://{name}"), up)

    def watch(self, name: str, service: str = "app") -> Any:
        children = self.runtime.services["http", service].children  # type: ignore[attr-defined]
        [found] = {child.node.watch for child in children if child.name == f"http://{name}"}
        return found


ONCE = PassiveHealthCheck()


def test_without_health_checks_nothing_is_watched() -> None:
    world = World(app=servers("a", "b"))
    assert world.watch("a") is None
    world.set("a", False)
    assert world.picks() == "abab"


def test_a_verdict_moves_traffic_and_all_down_is_nobody() -> None:
    world = World(app=servers("a", "b", active=True))
    assert world.picks() == "abab"
    world.set("a", False)
    assert world.picks() == "bbbb"
    world.set("b", False)
    world.set("b", False)
    assert world.picks() == "----"
    assert world.downs == 2
    world.set("a", True)
    assert world.picks() == "aaaa"
    world.set("b", True)
    assert sorted(world.picks()) == list("aabb")


def test_a_new_world_knows_who_is_down() -> None:
    world = World(app=servers("a", "b", active=True))
    world.verdicts.begin([("http", "app", "http://a")])
    world.load(app=servers("a", "b", "c", active=True))
    assert world.picks() == "bcbc"
    # A check that is gone cannot keep anybody down.
    world.load(app=servers("a", "b"))
    world.verdicts.begin([])
    world.load(app=servers("a", "b", active=True))
    assert sorted(world.picks()) == list("aabb")


def test_verdicts_that_come_before_the_world_count() -> None:
    loop = StillLoop()
    verdicts = Verdicts(loop, lambda _key: None, lambda: None)  # type: ignore[arg-type]
    verdicts.begin([("http", "app", "http://a"), ("http", "app", "http://b")])
    verdicts.apply(("http", "app", "http://b"), True)
    runtime = build(Config(http=HttpSection(services={"app": servers("a", "b", active=True)})), Registry())
    verdicts.adopt(runtime)
    found = [runtime.services["http", "app"].pick(Selection()) for _ in range(3)]
    assert [server and server.name for server in found] == ["http://b"] * 3


def test_parents_follow() -> None:
    tree = Weighted(services=[WeightedChild(name="app"), WeightedChild(name="other")])
    mirror = Mirroring(service="app", mirrors=[MirrorChild(name="other", percent=100)])
    world = World(
        app=servers("a", active=True),
        other=servers("b", active=True),
        tree=Service(weighted=tree),
        mirror=Service(mirroring=mirror),
    )
    assert world.picks("tree") == "abab"
    world.set("b", False, "other")
    assert (world.picks("tree"), world.picks("mirror")) == ("aaaa", "aaaa")
    world.set("a", False)
    world.set("b", True, "other")
    assert (world.picks("tree"), world.picks("mirror")) == ("bbbb", "----")


def test_a_failure_takes_a_server_out_for_the_window(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World(app=servers("a", "b", passive=ONCE))
    world.watch("a").failed("connection refused")
    assert world.picks() == "bbbb"
    world.loop.advance(9.9)
    assert world.picks() == "bbbb"
    world.loop.advance(0.1)
    assert sorted(world.picks()) == list("aabb")
    assert [record.message for record in caplog.records] == [
        "service app: server http://a is taken out for 10 s: connection refused (1 of 2 servers up)",
        "service app: server http://a is back: it has had its time (2 of 2 servers up)",
    ]
    assert world.reported == []


def test_the_last_server_is_never_taken_out() -> None:
    world = World(app=servers("a", "b", passive=ONCE))
    world.watch("a").failed("answered 500")
    world.watch("b").failed("answered 500")
    assert world.picks() == "bbbb"
    only = World(app=servers("a", passive=ONCE))
    only.watch("a").failed("answered 500")
    assert only.picks() == "aaaa"
    drained = World(app=servers("a", "b!", passive=ONCE))
    drained.watch("a").failed("answered 500")  # The other one takes no new clients.
    assert drained.picks() == "aaaa"


def test_only_so_many_failures_in_the_window_count() -> None:
    world = World(app=servers("a", "b", passive=PassiveHealthCheck(max_failed_attempts=3, failure_window=10)))
    watch = world.watch("a")
    for status in (200, 204, 404, 499):
        watch.failed("x")
        watch.answered(500)
        watch.answered(status)
    watch.failed("x")
    watch.succeeded()
    for _ in range(5):
        watch.failed("x")
        world.loop.advance(6)
    assert sorted(world.picks()) == list("aabb")
    for _ in range(3):
        watch.failed("x")
    assert world.picks() == "bbbb"


def test_failures_of_a_server_that_is_out_change_nothing() -> None:
    world = World(app=servers("a", "b", "c", passive=ONCE))
    for _ in range(3):
        world.watch("a").failed("late answers of requests under way")
        world.loop.advance(3)
    assert sorted(world.picks()) == list("bbcc")
    assert len(world.loop.timers) == 1
    world.loop.advance(1)
    assert set(world.picks(count=6)) == set("abc")


def test_with_an_active_check_only_that_brings_it_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World(app=servers("a", "b", active=True, passive=ONCE))
    world.watch("a").failed("answered 503")
    assert world.reported == [("http", "app", "http://a")]
    world.loop.advance(1000)
    assert world.picks() == "bbbb"
    world.set("a", True)
    assert sorted(world.picks()) == list("aabb")
    assert [record.message for record in caplog.records] == [
        "service app: server http://a is taken out until its health check succeeds: answered 503 (1 of 2 servers up)",
        "service app: server http://a is back: its health check succeeds (2 of 2 servers up)",
    ]


def test_a_server_out_for_two_reasons_needs_both_to_end() -> None:
    world = World(app=servers("a", "b", active=True, passive=ONCE))
    world.watch("a").failed("answered 503")
    world.set("a", False)
    assert world.picks() == "bbbb"
    world.set("a", True)
    assert sorted(world.picks()) == list("aabb")


def test_a_reload_keeps_who_is_out_and_what_was_counted() -> None:
    twice = PassiveHealthCheck(max_failed_attempts=2, failure_window=10)
    world = World(app=servers("a", "b", "c", passive=twice))
    for name in ("a", "a", "b"):
        world.watch(name).failed("x")
    world.load(app=servers("a", "b", "c", "d", passive=twice))
    assert set(world.picks(count=6)) == set("bcd")
    world.watch("b").failed("x")
    assert set(world.picks(count=6)) == set("cd")
    world.load(app=servers("a", "b", "c"))
    assert set(world.picks(count=6)) == set("abc")
    world.loop.advance(100)


def test_a_reload_without_the_active_check_brings_back_who_waits_for_it() -> None:
    world = World(app=servers("a", "b", active=True, passive=ONCE))
    world.watch("a").failed("x")
    world.load(app=servers("a", "b", active=True, passive=ONCE))
    assert world.picks() == "bbbb"
    world.load(app=servers("a", "b", passive=ONCE))
    assert sorted(world.picks()) == list("aabb")


def test_the_same_server_twice_is_one() -> None:
    world = World(app=servers("a", "a", "b", active=True))
    world.set("a", False)
    assert world.picks() == "bbbb"
    world.set("a", True)
    assert world.picks(count=6).count("a") == 4


def test_a_server_that_is_back_is_offered_to_those_who_wait_for_a_place() -> None:
    service = servers("a", "b", active=True)
    assert service.load_balancer is not None
    for server in service.load_balancer.servers:
        server.max_connections = 1
    world = World(app=service)
    world.set("a", False)
    node: Any = world.runtime.services["http", "app"]
    [_, other] = [child.node for child in node.children]
    other.state.active = 1
    told = []

    class Waiter:
        def on_room(self) -> None:
            told.append(world.picks(count=1))

    want = Selection()
    assert node.pick(want) is None
    assert want.queue is not None
    assert want.queue.join(Waiter(), want.wanted)
    world.set("a", True)
    assert told == ["a"]


# --- slow start --------------------------------------------------------------------------------------------------


def test_a_server_that_is_back_gets_its_share_little_by_little() -> None:
    world = World(app=servers("a", "b", active=True, slow_start=100))
    assert world.picks(count=40).count("a") == 20  # A start is no return.
    world.set("a", False)
    world.set("a", True)
    found = []
    for _ in range(5):
        found.append(world.picks(count=200).count("a"))
        world.loop.advance(25)
    assert found[0] <= 10
    assert found[1:] == [pytest.approx(share, abs=3) for share in (40, 67, 86, 100)]
    assert world.loop.timers == []
    assert world.picks() in ("abab", "baba")


def test_the_only_one_that_is_back_gets_everything() -> None:
    world = World(app=servers("a", "b", passive=ONCE, active=True, slow_start=100))
    world.set("a", False)
    world.set("b", False)
    world.set("b", True)
    assert world.picks() == "bbbb"
    world.loop.advance(20)
    world.set("a", True)
    assert world.picks(count=100).count("a") == pytest.approx(20, abs=2)
    world.set("b", False)
    assert world.picks() == "aaaa"


def test_a_reload_goes_on_warming_and_one_without_it_ends_it() -> None:
    world = World(app=servers("a", "b", active=True, slow_start=100))
    world.set("a", False)
    world.set("a", True)
    world.loop.advance(20)
    world.load(app=servers("a", "b", "c", active=True, slow_start=100))
    assert world.picks(count=110).count("a") == pytest.approx(10, abs=2)
    world.load(app=servers("a", "b", active=True))
    world.loop.advance(5)
    assert world.picks(count=20).count("a") == 10
