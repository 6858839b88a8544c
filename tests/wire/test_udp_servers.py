"""UDP entry points over real sockets: servers that are not there, names that have to be looked up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from streamlb.net import datagram
from streamlb.proxy import udp_upstream
from tests.support.datagrams import Origin
from tests.support.loops import on_both_loops
from tests.support.udp import DEAD_PORT, Names, bench_of, server_at, tagged
from tests.support.until import until_async

if TYPE_CHECKING:
    import pytest

# --- servers that are not there ---


@on_both_loops
async def test_the_first_datagram_goes_on_to_the_next_server() -> None:
    async with bench_of(server_at(DEAD_PORT), Origin(tagged(b"v2 "))) as bench:
        client = bench.client()
        assert await client.ask(b"a") == b"v2 a"
        assert await client.ask(b"b") == b"v2 b"
        assert bench.entry.counters.refused == 1
        assert len(bench.entry) == 1


@on_both_loops
async def test_a_flow_whose_server_goes_away_moves_on() -> None:
    doomed = Origin(tagged(b"v1 "))
    async with bench_of(doomed, Origin(tagged(b"v2 "))) as bench:
        client = bench.client()
        assert await client.ask(b"a") == b"v1 a"
        assert await client.ask(b"b") == b"v1 b"
        doomed.close()
        client.send(b"lost")
        await until_async(lambda: bench.entry.counters.refused == 1)
        assert await client.ask(b"c") == b"v2 c"
        assert client.hears_nothing()


@on_both_loops
async def test_an_only_server_is_tried_again_with_every_datagram() -> None:
    dead = Origin()
    dead.close()
    async with bench_of(dead) as bench:
        client = bench.client()
        for i in range(1, 4):
            client.send(b"lost")
            # Resent a few times, never without end.
            expected = bench.entry.counters.refused + udp_upstream.MAX_RESENDS + 1
            await until_async(lambda: bench.entry.counters.refused >= expected)  # noqa: B023
            assert bench.entry.counters.refused == i * (udp_upstream.MAX_RESENDS + 1)
        bench.origin(port=dead.port)
        assert await client.ask(b"back") == b"back"
        assert len(bench.entry) == 1


@on_both_loops
async def test_a_flood_towards_a_dead_server_is_survived() -> None:
    async with bench_of(server_at(DEAD_PORT)) as bench:
        clients = [bench.client() for _ in range(20)]
        for _ in range(20):
            for client in clients:
                client.send(b"x")
            await asyncio.sleep(0)
        await until_async(lambda: bench.entry.counters.refused > 20)
        assert len(bench.entry) == 20


@on_both_loops
async def test_a_datagram_too_large_for_the_server_is_dropped_alone() -> None:
    # IPv6 carries 20 bytes more than IPv4: such a datagram cannot go on to an IPv4 server.
    async with bench_of(Origin(), host="::1") as bench:
        client = bench.client("::1")
        assert await client.ask(b"a") == b"a"
        client.send(bytes(65520))
        await until_async(lambda: bench.entry.counters.failed == 1)
        assert await client.ask(b"b") == b"b"
        assert bench.entry.counters.flows == 1


# --- names ---


@on_both_loops
async def test_a_name_is_resolved_by_the_system() -> None:
    origin = Origin()
    async with bench_of(server_at(origin.port, "localhost")) as bench:
        bench.closing.callback(origin.close)
        assert await bench.client().ask(b"hello") == b"hello"


@on_both_loops
async def test_datagrams_wait_for_the_name_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)
    origin = Origin()
    async with bench_of(server_at(origin.port, "origin.test")) as bench:
        bench.closing.callback(origin.close)
        first, second = bench.client(), bench.client()
        for data in (b"a", b"", b"c"):
            first.send(data)
        second.send(b"z")
        await until_async(lambda: len(bench.entry) == 2)
        await asyncio.sleep(0.05)
        assert [host for host, _ in names.asked] == ["origin.test"], "one lookup for both flows"
        names.answer("127.0.0.1")
        assert [await first.hear() for _ in range(3)] == [b"a", b"", b"c"]
        assert await second.hear() == b"z"
        assert await first.ask(b"d") == b"d"


@on_both_loops
async def test_what_waits_for_a_name_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)
    origin = Origin()
    async with bench_of(server_at(origin.port, "origin.test")) as bench:
        bench.closing.callback(origin.close)
        client = bench.client()
        for i in range(20):
            client.send(b"%d" % i)
        await until_async(lambda: bench.entry.counters.waiting == 12)
        for flows in range(2, 32):
            bench.client().send(bytes(60_000))
            await until_async(lambda: len(bench.entry) == flows)  # noqa: B023
        assert bench.entry.counters.waiting == 12 + 30 - 17
        names.answer("127.0.0.1")
        assert [await client.hear() for _ in range(8)] == [b"%d" % i for i in range(8)]
        assert bench.entry._upstream._room._size == 0


@on_both_loops
async def test_a_name_that_does_not_resolve_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)
    async with bench_of(server_at(DEAD_PORT, "gone.test"), Origin(tagged(b"v2 "))) as bench:
        client = bench.client()
        client.send(b"a")
        client.send(b"b")
        await until_async(lambda: names.asked)
        names.answer()
        assert [await client.hear() for _ in range(2)] == [b"v2 a", b"v2 b"]
        # For a moment the name is known not to resolve.
        other = bench.client()
        assert await other.ask(b"c") == b"v2 c"


@on_both_loops
async def test_an_only_name_that_does_not_resolve_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)
    monkeypatch.setattr(datagram, "KEEP_FAILURE", 0.0)
    origin = Origin()
    async with bench_of(server_at(origin.port, "late.test")) as bench:
        bench.closing.callback(origin.close)
        client = bench.client()
        client.send(b"a")
        await until_async(lambda: names.asked)
        names.answer()
        await until_async(lambda: names.asked)
        names.answer("127.0.0.1")
        assert await client.hear() == b"a"


@on_both_loops
async def test_a_flow_may_end_while_its_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)
    async with bench_of(server_at(DEAD_PORT, "slow.test"), timeout=0.1) as bench:
        bench.client().send(b"a")
        await until_async(lambda: names.asked)
        await until_async(lambda: len(bench.entry) == 0)
        assert bench.entry._upstream._room._size == 0
        names.answer("127.0.0.1")
        await asyncio.sleep(0.02)
        assert bench.entry.counters.refused == 0


@on_both_loops
async def test_a_refusing_address_of_a_name_gives_way_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)
    origin = Origin()
    async with bench_of(server_at(origin.port, "both.test")) as bench:
        bench.closing.callback(origin.close)
        client = bench.client()
        client.send(b"a")
        await until_async(lambda: names.asked)
        names.answer("::1", "127.0.0.1")
        assert await client.hear() == b"a"
        assert await bench.client().ask(b"b") == b"b"
        assert bench.entry.counters.refused == 1


@on_both_loops
async def test_an_old_answer_serves_while_a_new_one_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)
    monkeypatch.setattr(datagram, "KEEP", 0.0)
    origin = Origin(tagged(b"old "))
    newer = Origin(tagged(b"new "), host="127.0.0.2", port=origin.port)
    async with bench_of(server_at(origin.port, "moving.test")) as bench:
        bench.closing.callback(origin.close)
        bench.closing.callback(newer.close)
        client = bench.client()
        client.send(b"a")
        await until_async(lambda: names.asked)
        names.answer("127.0.0.1")
        assert await client.hear() == b"old a"
        assert await bench.client().ask(b"b") == b"old b"
        names.answer("127.0.0.2")
        await asyncio.sleep(0.02)
        assert await bench.client().ask(b"c") == b"new c"
        names.answer()
        await asyncio.sleep(0.02)
        assert await bench.client().ask(b"d") == b"new d", "a name that stops resolving goes on being used"
        assert await client.ask(b"e") == b"old e"
