"""The epoll of our own: events reach whom they are for, whatever happens meanwhile, on both loops."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import weakref
from typing import TYPE_CHECKING

import pytest

from streamlb.net.poller import (
    FAILED,
    MAX_EVENTS_PER_WAKE,
    ON_CHANGE,
    PEER_ENDED,
    READABLE,
    WRITABLE,
    Poller,
    poller_of,
)
from tests.support.loops import LOOPS, on_both_loops
from tests.support.until import until_async

if TYPE_CHECKING:
    from collections.abc import Callable


class Pairs:
    """Connected sockets, watched by one poller: `near` is watched, `far` speaks. `seen`: what was reported."""

    def __init__(self) -> None:
        self.poller = poller_of(asyncio.get_running_loop())
        self.sockets: list[socket.socket] = []
        self.seen: list[tuple[int, int]] = []

    def __enter__(self) -> Pairs:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self.sockets:
            self.poller.remove(sock.fileno())
            sock.close()

    def pair(self) -> tuple[socket.socket, socket.socket]:
        near, far = socket.socketpair()
        near.setblocking(False)
        self.sockets += [near, far]
        return near, far

    def note(self, fd: int) -> Callable[[int], None]:
        return lambda events: self.seen.append((fd, events))

    def watch(self, events: int = READABLE) -> tuple[socket.socket, socket.socket]:
        near, far = self.pair()
        self.poller.add(near.fileno(), events, self.note(near.fileno()))
        return near, far


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)


@on_both_loops
async def test_a_state_is_reported_while_it_lasts() -> None:
    with Pairs() as pairs:
        near, far = pairs.watch()
        await turns()
        assert not pairs.seen
        far.send(b"x")
        await until_async(lambda: len(pairs.seen) > 2)
        assert set(pairs.seen) == {(near.fileno(), READABLE)}
        near.recv(1)
        await turns()
        pairs.seen.clear()
        await turns()
        assert not pairs.seen


@on_both_loops
async def test_a_change_is_reported_once() -> None:
    with Pairs() as pairs:
        _, far = pairs.watch(READABLE | PEER_ENDED | ON_CHANGE)
        far.send(b"x")
        await until_async(lambda: pairs.seen)
        await turns()
        assert len(pairs.seen) == 1
        far.shutdown(socket.SHUT_WR)
        await until_async(lambda: len(pairs.seen) == 2)
        assert pairs.seen[1][1] & PEER_ENDED


@on_both_loops
async def test_what_is_watched_for_can_change() -> None:
    with Pairs() as pairs:
        near, _ = pairs.watch()
        pairs.poller.modify(near.fileno(), WRITABLE)
        await until_async(lambda: (near.fileno(), WRITABLE) in pairs.seen)


@on_both_loops
async def test_a_reset_is_reported_unasked() -> None:
    with Pairs() as pairs, socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname())
        near, _ = listener.accept()
        pairs.sockets += [near, far]
        pairs.poller.add(near.fileno(), 0, pairs.note(near.fileno()))
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        far.close()
        await until_async(lambda: pairs.seen)
        assert pairs.seen[0][1] & FAILED


@on_both_loops
async def test_more_than_one_wake_brings_reach_all() -> None:
    with Pairs() as pairs:
        everyone = [pairs.watch(READABLE | ON_CHANGE) for _ in range(MAX_EVENTS_PER_WAKE * 2 + 3)]
        for _, far in everyone:
            far.send(b"x")
        await until_async(lambda: len(pairs.seen) == len(everyone))
        assert {fd for fd, _ in pairs.seen} == {near.fileno() for near, _ in everyone}


@on_both_loops
async def test_what_was_reported_of_a_closed_socket_does_not_reach_the_one_with_its_number() -> None:
    """Two are ready at once; who comes first closes the other, whose number at once belongs to a stranger."""
    for leave in ("remove", "forget"):
        with Pairs() as pairs:
            one, far_one = pairs.pair()
            two, far_two = pairs.pair()
            reported: list[str] = []
            strangers: list[int] = []

            def replace(
                mine: socket.socket,
                other: socket.socket,
                leave: str = leave,
                pairs: Pairs = pairs,
                reported: list[str] = reported,
                strangers: list[int] = strangers,
            ) -> None:
                reported.append("first")
                mine.recv(10)
                number = other.fileno()
                getattr(pairs.poller, leave)(number)
                other.close()
                stranger, _ = pairs.pair()
                assert stranger.fileno() == number
                strangers.append(number)
                pairs.poller.add(number, READABLE, lambda _: reported.append("stranger"))

            pairs.poller.add(one.fileno(), READABLE, lambda _, a=one, b=two: replace(a, b))  # type: ignore[misc]
            pairs.poller.add(two.fileno(), READABLE, lambda _, a=two, b=one: replace(a, b))  # type: ignore[misc]
            far_one.send(b"x")
            far_two.send(b"x")
            await until_async(lambda: reported)  # noqa: B023
            await turns()
            assert reported == ["first"]
            assert len(strangers) == 1


@on_both_loops
async def test_who_is_not_done_is_called_again_until_it_is_removed() -> None:
    with Pairs() as pairs:
        near, far = pairs.pair()
        number = near.fileno()
        calls: list[int] = []

        def on_ready(events: int) -> None:
            calls.append(events)
            pairs.poller.again(number, READABLE)
            if len(calls) == 5:
                pairs.poller.remove(number)

        pairs.poller.add(number, READABLE | ON_CHANGE, on_ready)
        far.send(b"x")
        await until_async(lambda: len(calls) == 5)
        pairs.poller.add(number, WRITABLE | ON_CHANGE, pairs.note(number))
        await until_async(lambda: pairs.seen)
        await turns()
        assert len(calls) == 5
        assert len(pairs.seen) == 1


@on_both_loops
async def test_a_watched_one_is_handed_over() -> None:
    with Pairs() as pairs:
        near, far = pairs.pair()
        pairs.poller.add(near.fileno(), READABLE | ON_CHANGE, lambda _: pytest.fail("not mine any more"))
        pairs.poller.hand_over(near.fileno(), pairs.note(near.fileno()))
        far.send(b"x")
        await until_async(lambda: pairs.seen)


@on_both_loops
async def test_an_error_of_one_is_logged_and_leaves_the_others_alone(caplog: pytest.LogCaptureFixture) -> None:
    with Pairs() as pairs:
        bad, far_bad = pairs.pair()
        _, far_good = pairs.watch(READABLE | ON_CHANGE)
        pairs.poller.add(bad.fileno(), READABLE | ON_CHANGE, lambda _: 1 // 0)
        far_bad.send(b"x")
        far_good.send(b"x")
        await until_async(lambda: pairs.seen and caplog.records)
        assert [record.message for record in caplog.records] == ["an event was lost by a bug of streamlb"]


@on_both_loops
async def test_whose_event_was_lost_is_told(caplog: pytest.LogCaptureFixture) -> None:
    class Buggy:
        told = 0

        def on_ready(self, _events: int) -> None:
            raise RuntimeError("a bug")

        def on_bug(self) -> None:
            self.told += 1
            raise RuntimeError("another one")

    buggy = Buggy()
    with Pairs() as pairs:
        near, far = pairs.pair()
        pairs.poller.add(near.fileno(), READABLE | ON_CHANGE, buggy.on_ready)
        far.send(b"x")
        await until_async(lambda: buggy.told == 1)
        pairs.poller.again(near.fileno(), READABLE)
        await until_async(lambda: buggy.told == 2)
    assert "a bug" in caplog.text
    assert "another one" in caplog.text


@on_both_loops
async def test_a_forgotten_copy_disturbs_nobody() -> None:
    with Pairs() as pairs:
        near, far = pairs.watch(READABLE | ON_CHANGE)
        copy = os.dup(near.fileno())
        pairs.poller.forget(near.fileno())
        near.close()
        far.send(b"x")
        await turns()
        os.close(copy)
        assert not pairs.seen


@on_both_loops
async def test_removing_what_is_not_watched_does_nothing() -> None:
    poller = Poller(asyncio.get_running_loop())
    poller.remove(12345)
    poller.forget(12345)
    assert not len(poller)
    poller.close()
    poller.close()


@pytest.mark.parametrize("kind", LOOPS)
def test_a_poller_is_one_per_loop_and_ends_with_it(kind: str) -> None:
    loop = LOOPS[kind]()
    poller = poller_of(loop)
    assert poller_of(loop) is poller
    gone = weakref.ref(poller)
    del poller
    loop.close()
    del loop
    gc.collect()
    assert gone() is None
