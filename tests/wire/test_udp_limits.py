"""UDP entry points over real sockets: limits, floods, who gives way to whom, what is counted."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Any

from streamlb.net import datagram
from streamlb.proxy import udp_upstream
from streamlb.session import flows
from tests.support.datagrams import Origin
from tests.support.loops import on_both_loops
from tests.support.udp import bench_of, mirror_to, server_at
from tests.support.until import until_async

if TYPE_CHECKING:
    import pytest

    from tests.support.datagrams import Client
    from tests.support.udp import Bench

# --- limits ---


@on_both_loops
async def test_the_limit_turns_new_clients_away_and_leaves_the_others() -> None:
    async with bench_of(Origin(), timeout=0.5, max_flows=2) as bench:
        first, second, third = bench.client(), bench.client(), bench.client()
        await first.ask(b"a")
        await second.ask(b"a")
        third.send(b"a")
        await until_async(lambda: bench.entry.counters.full == 1)
        assert await first.ask(b"b") == b"b"
        assert await second.ask(b"b") == b"b"
        assert third.hears_nothing()
        await until_async(lambda: len(bench.entry) == 0)
        assert await third.ask(b"c") == b"c"


# --- per client ---


@on_both_loops
async def test_a_client_has_its_limit_and_others_do_not_feel_it() -> None:
    async with bench_of(Origin(lambda _: None), max_flows_per_client=2) as bench:
        greedy = [bench.client(source="127.0.0.5") for _ in range(5)]
        for client in greedy:
            client.send(b"a")
        await until_async(lambda: bench.entry.counters.crowded == 3)
        bench.client(source="127.0.0.6").send(b"b")
        await until_async(lambda: len(bench.entry) == 3)
        assert bench.entry.counters.full == 0


@on_both_loops
async def test_a_client_with_many_questions_gets_the_places_of_those_that_are_answered() -> None:
    # A name server that forwards asks each question from a port of its own.
    async with bench_of(Origin(), max_flows_per_client=5) as bench:
        for number in range(50):
            assert await bench.client().ask(b"%d" % number) == b"%d" % number
        assert bench.entry.counters.crowded == 0
        assert bench.entry.counters.evicted == 45
        assert len(bench.entry) == bench.watched == 5


@on_both_loops
async def test_an_ipv6_client_counts_for_its_network_and_an_ipv4_one_for_itself() -> None:
    async with bench_of(Origin(lambda _: None), host="::", max_flows_per_client=1) as bench:
        for asked, source in (("::1", "::1"), ("127.0.0.1", "127.0.0.5"), ("127.0.0.1", "127.0.0.6")):
            bench.client(asked, source=source).send(b"a")
        await until_async(lambda: len(bench.entry) == 3)
        bench.client("::1").send(b"b")
        await until_async(lambda: bench.entry.counters.crowded == 1)


@on_both_loops
async def test_no_limit_per_client() -> None:
    async with bench_of(Origin(), max_flows=10, max_flows_per_client=0) as bench:
        for _ in range(10):
            await bench.client().ask(b"a")
        bench.client().send(b"b")
        await until_async(lambda: bench.entry.counters.full == 1)


# --- floods ---


async def strangers(bench: Bench, first: int, count: int) -> None:
    """A datagram each from so many sources, no faster than they are read: the kernel would lose what is counted."""
    counters = bench.entry.counters
    goal = counters.full + counters.flows + count
    for i in range(first, first + count):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            # Many addresses: one alone has not ports enough.
            stranger.bind((f"127.0.{1 + i % 200}.{1 + i // 200 % 250}", 0))
            stranger.sendto(b"", ("127.0.0.1", bench.port))
    while counters.full + counters.flows < goal:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def proven(bench: Bench) -> Client:
    client = bench.client()
    assert await client.ask(b"hello") == b"hello"
    assert await client.ask(b"again") == b"again"
    return client


@on_both_loops
async def test_a_flood_of_strangers_stays_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "SPARED", 60.0)
    async with bench_of(Origin(lambda data: data or None), max_flows=300) as bench:
        client = await proven(bench)
        counters = bench.entry.counters
        for start in range(0, 50_000, 100):
            await strangers(bench, start, 100)
            if start % 5000 == 0:
                assert await client.ask(b"during") == b"during"
            assert len(bench.entry) <= 300
        assert counters.full == 50_000 - 299
        assert len(bench.entry) == bench.watched == 300
        assert await client.ask(b"after") == b"after"
        assert counters.overrun == 0


@on_both_loops
async def test_strangers_of_a_flood_give_way_and_proven_flows_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "SPARED", 0.0)
    async with bench_of(Origin(lambda data: data or None), max_flows=20) as bench:
        clients = [await proven(bench) for _ in range(10)]
        for start in range(0, 5_000, 100):
            await strangers(bench, start, 100)
            assert len(bench.entry) == bench.watched == 20
            if start % 1000 == 0:
                assert await bench.client().ask(b"new") == b"new", "a new client is served in the flood"
        assert [await client.ask(b"after") for client in clients] == [b"after"] * 10
        assert bench.entry.counters.full == 0
        assert bench.entry.counters.flows == 10 + 5000 + 5
        assert bench.entry.counters.evicted == 5000 + 5 - 10


@on_both_loops
async def test_a_flow_that_never_hears_anything_may_be_replaced_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flows, "SPARED", 0.0)
    origin = Origin(lambda _: None)
    async with bench_of(origin, max_flows=3) as bench:
        senders = [bench.client() for _ in range(6)]
        for number in range(20):
            for sender in senders:
                sender.send(b"%d" % number)
            await until_async(lambda: len(origin.heard) == 6 * (number + 1))  # noqa: B023
        assert len(bench.entry) == 3


@on_both_loops
async def test_a_flow_that_moved_is_as_proven_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "SPARED", 0.0)
    doomed = Origin()
    async with bench_of(doomed, Origin(), max_flows=1) as bench:
        client = await proven(bench)
        doomed.close()
        client.send(b"lost")
        await until_async(lambda: bench.entry.counters.refused == 1)
        bench.client().send(b"x")
        await until_async(lambda: bench.entry.counters.full == 1)
        assert await client.ask(b"a") == b"a"
        assert await client.ask(b"b") == b"b"
        assert bench.entry.counters.evicted == 0


@on_both_loops
async def test_no_flow_gives_way_where_there_is_no_server_for_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "SPARED", 0.0)
    origin = Origin()
    server = server_at(origin.port)
    async with bench_of(server, max_flows=1) as bench:
        bench.closing.callback(origin.close)
        client = bench.client()
        assert await client.ask(b"a") == b"a"
        bench.world.runtime.entry_points["dns"].udp.servers.clear()  # type: ignore[union-attr]
        bench.client().send(b"b")
        await until_async(lambda: bench.entry.counters.unserved == 1)
        assert await client.ask(b"c") == b"c"


@on_both_loops
async def test_what_the_kernel_lost_is_counted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    async with bench_of(Origin(lambda _: None), timeout=0.2) as bench:
        bench.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        client = bench.client()
        for _ in range(200):
            client.send(bytes(1000))
        await until_async(lambda: bench.entry.counters.overrun > 100)
        lines = [record.getMessage() for record in caplog.records]
        assert any(line.startswith("entry point dns: UDP datagrams lost: they came faster") for line in lines)


@on_both_loops
async def test_new_clients_that_come_too_fast_leave_the_others_their_place_in_the_queue() -> None:
    origin = Origin(lambda data: data or None)
    async with bench_of(origin, max_flows=1000) as bench:
        bench.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 200_000)
        client = await proven(bench)
        counters = bench.entry.counters
        # All at once: nothing is read meanwhile.
        for number in range(300):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                # An address each: the kernel may give the same port again.
                stranger.bind((f"127.0.{1 + number // 200}.{1 + number % 200}", 0))
                stranger.sendto(b"", ("127.0.0.1", bench.port))
            if number % 30 == 0:
                client.send(b"%d" % number)
        assert [await client.hear() for _ in range(10)] == [b"%d" % number for number in range(0, 300, 30)]
        await until_async(lambda: counters.flows + counters.pressed == 301)
        assert counters.pressed > 0
        assert counters.flows > 64
        assert await bench.client().ask(b"later") == b"later"


@on_both_loops
async def test_a_server_with_much_to_say_is_heard_in_a_flood() -> None:
    origin = Origin(lambda _: None)
    async with bench_of(origin, max_flows=1000) as bench:
        client = bench.client()
        client.send(b"subscribe")
        await until_async(lambda: origin.heard)
        bench.entry._is_pressed = True
        for number in range(20):
            origin.send(b"%d" % number, origin.heard[0][1])
        assert [await client.hear() for _ in range(20)] == [b"%d" % number for number in range(20)]


@on_both_loops
async def test_what_was_lost_of_a_server_is_counted_when_its_flow_ends() -> None:
    origin = Origin(lambda _: None)
    async with bench_of(origin, timeout=0.1) as bench:
        client = bench.client()
        client.send(b"subscribe")
        await until_async(lambda: origin.heard)
        for _ in range(2000):
            # Nobody reads meanwhile.
            origin.send(bytes(1000), origin.heard[0][1])
        await until_async(lambda: len(bench.entry) == 0)
        assert bench.entry.counters.overrun > 1000


# --- shortages ---


@on_both_loops
async def test_out_of_descriptors_mirrors_go_first_then_new_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    shadow = Origin()
    async with bench_of(Origin(), mirrors=(mirror_to(server_at(shadow.port)),)) as bench:
        bench.closing.callback(shadow.close)
        first = bench.client()
        assert await first.ask(b"a") == b"a"
        assert len(bench.entry._mirrors) == 1
        connect = datagram.connect
        failures = [errno.EMFILE]

        def short(place: datagram.Place) -> socket.socket:
            if failures:
                raise OSError(failures.pop(), "short")
            return connect(place)

        monkeypatch.setattr(udp_upstream, "connect", short)
        second = bench.client()
        assert await second.ask(b"b") == b"b"
        assert len(bench.entry._mirrors) == 1, "the first one's was closed, the second one's opened"
        failures += [errno.EMFILE] * 2
        bench.client().send(b"c")
        await until_async(lambda: bench.entry.counters.short == 1)
        failures[:] = [errno.EADDRNOTAVAIL]
        bench.client().send(b"d")
        await until_async(lambda: bench.entry.counters.short == 2)
        assert await first.ask(b"e") == b"e"
        assert len(bench.entry) == 2


@on_both_loops
async def test_an_answer_that_does_not_fit_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench_of(Origin()) as bench:
        client = bench.client()
        await client.ask(b"a")
        door = bench.entry._door
        answer = door.answer
        errors: list[OSError] = [BlockingIOError(), PermissionError()]

        def full(data: bytes, key: Any) -> int:
            if errors:
                raise errors.pop(0)
            return answer(data, key)

        monkeypatch.setattr(door, "answer", full)
        client.send(b"lost")
        await until_async(lambda: bench.entry.counters.busy == 1)
        client.send(b"lost")
        await until_async(lambda: bench.entry.counters.failed == 1)
        assert await client.ask(b"b") == b"b"


@on_both_loops
async def test_an_error_that_says_nothing_about_the_server_ends_no_flow() -> None:
    async with bench_of(Origin()) as bench:
        client = bench.client()
        await client.ask(b"a")
        (flow,) = bench.entry._table.flows.values()
        receive = flow.receive

        def too_large(size: int) -> bytes:
            # What the news of a smaller path MTU looks like.
            flow.receive = receive
            raise OSError(errno.EMSGSIZE, "Message too long")

        flow.receive = too_large
        assert await client.ask(b"b") == b"b"
        assert bench.entry.counters.refused == 0
