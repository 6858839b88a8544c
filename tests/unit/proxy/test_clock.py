"""Deadlines on a clock whose time the test moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from streamlb.proxy.clock import NEVER, TICK, Clock

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Loop:
    """The two methods of a loop that a clock needs."""

    def __init__(self) -> None:
        self.now = 100.0
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, work: Callable[[], None]) -> None:
        self.calls.append((self.now + delay, work))

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self.calls and self.calls[0][0] <= until:
            self.now, work = self.calls.pop(0)
            work()
        self.now = until


class Thing:
    def __init__(self, work: Callable[[], None] = lambda: None) -> None:
        self.due_at = NEVER
        self.times = 0
        self.work = work

    def on_due(self) -> None:
        self.due_at = NEVER
        self.times += 1
        self.work()


def clock() -> tuple[Loop, Clock]:
    loop = Loop()
    return loop, Clock(cast("asyncio.AbstractEventLoop", loop))


def test_a_deadline_is_met_within_a_tick_and_never_early() -> None:
    loop, ours = clock()
    thing = Thing()
    ours.watch(thing)
    loop.advance(0.1)  # The clock's time is now older than the loop's.
    thing.due_at = ours.after(5.0)
    loop.advance(5.0)
    assert thing.times == 0
    loop.advance(3 * TICK)
    assert thing.times == 1
    loop.advance(60)
    assert thing.times == 1


def test_it_ticks_only_while_it_watches() -> None:
    loop, ours = clock()
    assert not loop.calls
    things = [Thing(), Thing()]
    for thing in things:
        ours.watch(thing)
    assert len(loop.calls) == 1
    for thing in things:
        ours.forget(thing)
    loop.advance(2 * TICK)
    assert not loop.calls
    loop.advance(50)
    ours.watch(things[0])
    assert len(loop.calls) == 1
    assert ours.now == loop.now


def test_one_end_may_put_off_another() -> None:
    loop, ours = clock()
    things = [Thing(), Thing()]

    def calm() -> None:
        for thing in things:
            thing.due_at = NEVER

    for thing in things:
        thing.work = calm
        ours.watch(thing)
        thing.due_at = ours.after(1.0)
    loop.advance(5)
    assert sum(thing.times for thing in things) == 1


def test_a_mistake_of_one_does_not_stop_time() -> None:
    loop, ours = clock()

    def fail() -> None:
        raise ZeroDivisionError

    thing = Thing(fail)
    ours.watch(thing)
    thing.due_at = ours.after(0.0)
    with pytest.raises(ZeroDivisionError):
        loop.advance(1)
    assert loop.calls
