"""UDP entry points with `mode: datagram` over real sockets: a pick per datagram, its first answer ends it."""

from __future__ import annotations

import asyncio
import gc

import pytest

from streamlb.proxy import udp_upstream
from streamlb.proxy.udp_flow import UdpFlow
from tests.support.datagrams import Origin
from tests.support.loops import on_both_loops
from tests.support.udp import DEAD_PORT, Names, Turns, bench_of, mirror_to, runtime_of, server_at, tagged
from tests.support.until import until_async

ONCE = {"mode": "datagram"}


@on_both_loops
async def test_a_pick_per_datagram() -> None:
    async with bench_of(Origin(tagged(b"v1 ")), Origin(tagged(b"v2 ")), **ONCE) as bench:
        client = bench.client()
        assert [await client.ask(b"%d" % i) for i in range(4)] == [b"v1 0", b"v2 1", b"v1 2", b"v2 3"]
        assert bench.entry.counters.flows == 4
        await until_async(lambda: len(bench.entry) == 0)


@on_both_loops
async def test_answers_find_their_clients_in_whatever_order_they_come() -> None:
    origin = Origin(lambda _: None)
    async with bench_of(origin, max_flows=200, **ONCE) as bench:
        clients = [bench.client() for _ in range(10)]
        for i in range(50):
            clients[i % 10].send(b"%d" % i)
        await until_async(lambda: len(origin.heard) == 50)
        assert len({peer for _, peer in origin.heard}) == 50, "a socket of its own for each"
        for data, peer in reversed(origin.heard):
            origin.send(b"answer to " + data, peer)
        heard = {(n, await client.hear()) for _ in range(5) for n, client in enumerate(clients)}
        assert heard == {(i % 10, b"answer to %d" % i) for i in range(50)}
        assert len(bench.entry) == 0
        assert bench.watched == 0


@on_both_loops
async def test_an_answer_too_many_or_too_late_reaches_nobody() -> None:
    origin = Origin(lambda _: None)
    async with bench_of(origin, timeout=0.2, **ONCE) as bench:
        first, second = bench.client(), bench.client()
        first.send(b"a")
        await until_async(lambda: len(origin.heard) == 1)
        origin.send(b"one", origin.heard[0][1])
        assert await first.hear() == b"one"
        second.send(b"b")
        await until_async(lambda: len(origin.heard) == 2)
        origin.send(b"two", origin.heard[0][1])
        await until_async(lambda: len(bench.entry) == 0)
        origin.send(b"late", origin.heard[1][1])
        await asyncio.sleep(0.05)
        assert first.hears_nothing()
        assert second.hears_nothing()


@pytest.mark.parametrize("size", [0, 1, 9000, 65507])
@on_both_loops
async def test_any_size_passes_whole_to_server_client_and_mirror(size: int) -> None:
    origin, shadow = Origin(), Origin(lambda _: None)
    async with bench_of(origin, mirrors=(mirror_to(server_at(shadow.port)),), **ONCE) as bench:
        bench.closing.callback(shadow.close)
        payload = bytes(i % 251 for i in range(size))
        assert await bench.client().ask(payload) == payload
        await until_async(lambda: shadow.datagrams == [payload])
        assert origin.datagrams == [payload]
        await until_async(lambda: len(bench.entry._mirrors) == 0)


@pytest.mark.parametrize(("host", "asked"), [("0.0.0.0", "127.0.0.2"), ("::", "127.0.0.2"), ("::", "::1")])
@on_both_loops
async def test_an_answer_comes_from_the_address_that_was_asked(host: str, asked: str) -> None:
    async with bench_of(Origin(), host=host, **ONCE) as bench:
        client = bench.client(asked)
        assert await client.ask(b"a") == b"a"
        assert await client.ask(b"b") == b"b"


# --- servers that are not there ---


@on_both_loops
async def test_a_datagram_to_a_dead_server_goes_to_the_next() -> None:
    async with bench_of(server_at(DEAD_PORT), Origin(tagged(b"v2 ")), **ONCE) as bench:
        client = bench.client()
        for data in (b"a", b"b", b"c"):
            assert await client.ask(data) == b"v2 " + data
        assert bench.entry.counters.refused == 3
        assert len(bench.entry) == 0


@on_both_loops
async def test_a_datagram_that_nobody_takes_is_given_up_at_once() -> None:
    async with bench_of(server_at(DEAD_PORT), **ONCE) as bench:
        bench.client().send(b"a")
        await until_async(lambda: bench.entry.counters.refused == udp_upstream.MAX_RESENDS + 1)
        await until_async(lambda: len(bench.entry) == 0)
        # One that is too large to be kept is not sent again.
        bench.client().send(bytes(5000))
        await until_async(lambda: bench.entry.counters.refused == udp_upstream.MAX_RESENDS + 2)
        await until_async(lambda: len(bench.entry) == 0)


@on_both_loops
async def test_without_a_server_nothing_is_kept() -> None:
    async with bench_of(**ONCE) as bench:
        bench.client().send(b"a")
        await until_async(lambda: bench.entry.counters.unserved == 1)
        assert len(bench.entry) == 0


@on_both_loops
async def test_a_server_that_goes_down_may_still_answer_what_it_has() -> None:
    origin = Origin(lambda _: None)
    server = server_at(origin.port)
    async with bench_of(server, **ONCE) as bench:
        bench.closing.callback(origin.close)
        client = bench.client()
        client.send(b"a")
        await until_async(lambda: origin.heard)
        server.state.up = False
        bench.entry.leave_down()
        origin.send(b"b", origin.heard[0][1])
        assert await client.hear() == b"b"


@on_both_loops
async def test_datagrams_wait_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)
    origin = Origin()
    async with bench_of(server_at(origin.port, "origin.test"), **ONCE) as bench:
        bench.closing.callback(origin.close)
        client = bench.client()
        for data in (b"a", b"b", b"c"):
            client.send(data)
        await until_async(lambda: len(bench.entry) == 3)
        names.answer("127.0.0.1")
        assert sorted([await client.hear() for _ in range(3)]) == [b"a", b"b", b"c"]
        await until_async(lambda: len(bench.entry) == 0)
        assert bench.entry._upstream._room._size == 0


# --- limits and the end ---


@on_both_loops
async def test_datagrams_without_an_answer_end_by_the_timeout_and_are_bounded() -> None:
    origin = Origin(lambda _: None)
    async with bench_of(origin, timeout=0.3, max_flows=20, **ONCE) as bench:
        client = bench.client()
        for _ in range(30):
            client.send(b"a")
        await until_async(lambda: bench.entry.counters.full == 10)
        assert len(bench.entry) == 20
        await until_async(lambda: len(bench.entry) == 0)
        assert len(origin.heard) == 20
        assert bench.watched == 0


@on_both_loops
async def test_the_bound_of_a_client_holds_for_its_datagrams() -> None:
    origin = Origin(lambda _: None)
    async with bench_of(origin, max_flows_per_client=3, **ONCE) as bench:
        one, other = bench.client(source="127.0.0.5"), bench.client(source="127.0.0.6")
        for _ in range(5):
            one.send(b"a")
        await until_async(lambda: bench.entry.counters.crowded == 2)
        other.send(b"b")
        await until_async(lambda: len(origin.heard) == 4)
        assert len(bench.entry) == 4


@on_both_loops
async def test_a_reload_changes_the_mode() -> None:
    first, second = Origin(tagged(b"v1 ")), Origin(tagged(b"v2 "))
    async with bench_of(first, second) as bench:
        client = bench.client()
        assert [await client.ask(b"a") for _ in range(2)] == [b"v1 a"] * 2
        service = Turns(server_at(first.port), server_at(second.port))
        bench.world.runtime = runtime_of(service, version=2, **ONCE)
        other = bench.client()
        assert [await other.ask(b"b") for _ in range(4)] == [b"v1 b", b"v2 b"] * 2
        assert await client.ask(b"c") == b"v1 c", "a flow there was goes on"
        assert len(bench.entry) == 1


@on_both_loops
async def test_draining_ends_with_the_last_answer() -> None:
    origin = Origin(lambda _: None)
    async with bench_of(origin, **ONCE) as bench:
        client = bench.client()
        client.send(b"a")
        await until_async(lambda: origin.heard)
        bench.live.drain()
        client.send(b"late")
        await until_async(lambda: bench.entry.counters.draining == 1)
        assert len(bench.live) == 1
        origin.send(b"answer", origin.heard[0][1])
        assert await client.hear() == b"answer"
        assert await bench.live.wait_empty(1.0)


@on_both_loops
async def test_ended_datagrams_are_freed_without_the_garbage_collector() -> None:
    async with bench_of(server_at(DEAD_PORT), Origin(), **ONCE) as bench:
        client = bench.client()
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                assert await client.ask(b"a") == b"a"
            assert not any(isinstance(thing, UdpFlow) for thing in gc.get_objects())
        finally:
            gc.enable()


@on_both_loops
async def test_a_client_that_cannot_be_answered_ends_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench_of(Origin(), **ONCE) as bench:

        def refuse(data: bytes, peer: object) -> int:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(bench.entry._door, "answer", refuse)
        bench.client().send(b"a")
        await until_async(lambda: bench.entry.counters.failed == 1)
        assert len(bench.entry) == 0
