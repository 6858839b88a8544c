"""UDP entry points over real sockets: mirrors, which no client notices."""

from __future__ import annotations

import socket

import pytest

from tests.support.datagrams import Origin
from tests.support.loops import on_both_loops
from tests.support.udp import DEAD_PORT, Names, bench_of, mirror_to, server_at, tagged
from tests.support.until import until_async

# --- mirrors ---


@on_both_loops
async def test_a_mirror_gets_every_datagram_and_its_answers_go_nowhere() -> None:
    shadow = Origin(tagged(b"shadow "))
    async with bench_of(Origin(tagged(b"v1 ")), mirrors=(mirror_to(server_at(shadow.port)),)) as bench:
        bench.closing.callback(shadow.close)
        client = bench.client()
        for data in (b"a", b"", b"c"):
            assert await client.ask(data) == b"v1 " + data
        await until_async(lambda: shadow.datagrams == [b"a", b"", b"c"])
        assert client.hears_nothing()
        assert bench.entry.counters.flows == 1


@pytest.mark.parametrize("size", [0, 1472, 65507])
@on_both_loops
async def test_any_size_is_copied_whole(size: int) -> None:
    shadow = Origin(lambda _: None)
    async with bench_of(Origin(), mirrors=(mirror_to(server_at(shadow.port)),)) as bench:
        bench.closing.callback(shadow.close)
        client = bench.client()
        payload = bytes(i % 251 for i in range(size))
        for _ in range(2):
            assert await client.ask(payload) == payload
        await until_async(lambda: shadow.datagrams == [payload] * 2)


@on_both_loops
async def test_mirrors_of_different_clients_are_told_apart() -> None:
    shadow = Origin(lambda _: None)
    async with bench_of(Origin(), mirrors=(mirror_to(server_at(shadow.port)),)) as bench:
        bench.closing.callback(shadow.close)
        for _ in range(3):
            await bench.client().ask(b"a")
        await until_async(lambda: len({peer for _, peer in shadow.heard}) == 3)


@on_both_loops
async def test_a_mirror_that_is_not_there_changes_nothing() -> None:
    async with bench_of(Origin(), mirrors=(mirror_to(server_at(DEAD_PORT)), mirror_to())) as bench:
        client = bench.client()
        for i in range(20):
            assert await client.ask(b"%d" % i) == b"%d" % i
        assert bench.entry._mirrors.dropped > 1


@on_both_loops
async def test_a_mirror_that_floods_back_is_not_kept_in_memory() -> None:
    shadow = Origin(lambda _: bytes(60_000))
    async with bench_of(Origin(), mirrors=(mirror_to(server_at(shadow.port)),)) as bench:
        bench.closing.callback(shadow.close)
        client = bench.client()
        for i in range(50):
            assert await client.ask(b"%d" % i) == b"%d" % i
        (mirror,) = next(iter(bench.entry._table.flows.values())).mirrors
        assert mirror.sock is not None
        assert mirror.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < 10_000


@on_both_loops
async def test_a_mirror_waits_for_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)
    shadow = Origin()
    async with bench_of(Origin(), mirrors=(mirror_to(server_at(shadow.port, "shadow.test")),)) as bench:
        bench.closing.callback(shadow.close)
        client = bench.client()
        for i in range(20):
            assert await client.ask(b"%d" % i) == b"%d" % i
        names.answer("127.0.0.1")
        await until_async(lambda: len(shadow.heard) == 8)
        await client.ask(b"x")
        await until_async(lambda: len(shadow.heard) == 9)
        assert shadow.datagrams == [*(b"%d" % i for i in range(8)), b"x"]
        assert bench.entry._mirrors.dropped == 12
        assert bench.entry._upstream._room._size == 0


@on_both_loops
async def test_a_mirror_whose_name_does_not_resolve_or_comes_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)
    async with bench_of(Origin(), mirrors=(mirror_to(server_at(DEAD_PORT, "gone.test")),), timeout=0.2) as bench:
        client = bench.client()
        await client.ask(b"a")
        names.answer()
        await until_async(lambda: bench.entry._mirrors.dropped == 1)
        assert await client.ask(b"b") == b"b"
        assert len(bench.entry._mirrors) == 0
        await until_async(lambda: len(bench.entry) == 0)
        assert await client.ask(b"c") == b"c"
        assert bench.entry._upstream._room._size == 0


@on_both_loops
async def test_mirrors_are_bounded_and_end_with_their_flows() -> None:
    shadow = Origin()
    shadow_server = server_at(shadow.port)
    order = mirror_to(shadow_server)
    async with bench_of(Origin(), mirrors=(order, order), timeout=0.3, max_flows=3) as bench:
        bench.closing.callback(shadow.close)
        for _ in range(3):
            assert await bench.client().ask(b"a") == b"a"
        assert len(bench.entry._mirrors) == 3
        assert bench.entry._mirrors.dropped == 3
        assert shadow_server.state.active == 3
        await until_async(lambda: len(bench.entry) == 0)
        assert len(bench.entry._mirrors) == 0
        assert shadow_server.state.active == 0


@on_both_loops
async def test_a_flow_that_moves_on_keeps_its_mirror() -> None:
    shadow = Origin()
    mirrors = (mirror_to(server_at(shadow.port)),)
    async with bench_of(server_at(DEAD_PORT), Origin(), mirrors=mirrors) as bench:
        bench.closing.callback(shadow.close)
        client = bench.client()
        assert await client.ask(b"a") == b"a"
        assert await client.ask(b"b") == b"b"
        await until_async(lambda: shadow.datagrams == [b"a", b"b"])


@on_both_loops
async def test_trouble_is_logged_at_a_bounded_rate(caplog: pytest.LogCaptureFixture) -> None:
    async with bench_of(Origin(), mirrors=(mirror_to(server_at(DEAD_PORT)),), max_flows=1) as bench:
        client = bench.client()
        for _ in range(50):
            await client.ask(b"a")
            bench.client().send(b"b")
        await until_async(lambda: bench.entry.counters.full == 50)
        lines = [record.getMessage() for record in caplog.records]
        assert sorted(lines) == [
            "entry point dns: UDP datagrams of new clients dropped: the limit of 1 flows is reached (udp.maxFlows)",
            "mirror shadow: 1 datagram(s) not copied: Connection refused",
        ]


@on_both_loops
async def test_a_flow_counts_once_for_its_mirror_however_often_its_server_is_tried() -> None:
    mirrors = (mirror_to(server_at(DEAD_PORT)),)
    async with bench_of(server_at(DEAD_PORT), server_at(DEAD_PORT), mirrors=mirrors) as bench:
        client = bench.client()
        for tries in (3, 6):
            client.send(b"a")
            await until_async(lambda: bench.entry.counters.refused == tries)  # noqa: B023
        (flow,) = bench.entry._table.flows.values()
        assert flow.want.mirrors == list(mirrors)
