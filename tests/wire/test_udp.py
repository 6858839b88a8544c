"""UDP entry points over real sockets: flows, answers, limits, the end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket

import pytest

from streamlb.config.model import Config
from streamlb.proxy.udp_flow import UdpFlow
from streamlb.runtime.snapshot import Runtime
from tests.support.datagrams import Origin
from tests.support.loops import on_both_loops
from tests.support.udp import DEAD_PORT, Turns, bench_of, mirror_to, runtime_of, server_at, tagged
from tests.support.until import until_async

# --- datagrams, whole and both ways ---


@on_both_loops
async def test_a_datagram_and_its_answer() -> None:
    async with bench_of(Origin(tagged(b"v1 "))) as bench:
        client = bench.client()
        assert await client.ask(b"hello") == b"v1 hello"
        assert await client.ask(b"again") == b"v1 again"
        assert bench.entry.counters.flows == 1


@pytest.mark.parametrize("size", [0, 1, 1472, 9000, 65507])
@on_both_loops
async def test_any_size_passes_whole(size: int) -> None:
    origin = Origin()
    async with bench_of(origin) as bench:
        client = bench.client()
        payload = bytes(i % 251 for i in range(size))
        assert await client.ask(payload) == payload
        assert origin.datagrams == [payload]


@on_both_loops
async def test_datagrams_stay_apart_and_in_order() -> None:
    origin = Origin()
    async with bench_of(origin) as bench:
        client = bench.client()
        sent = [b"%d" % i for i in range(200)]
        for data in sent:
            client.send(data)
        assert [await client.hear() for _ in sent] == sent
        assert origin.datagrams == sent


@on_both_loops
async def test_a_server_may_answer_many_times_or_late() -> None:
    origin = Origin(lambda _: None)
    async with bench_of(origin) as bench:
        client = bench.client()
        client.send(b"subscribe")
        await until_async(lambda: origin.heard)
        for i in range(100):
            origin.send(b"%d" % i, origin.heard[0][1])
        assert [await client.hear() for _ in range(100)] == [b"%d" % i for i in range(100)]


@on_both_loops
async def test_clients_do_not_hear_each_other() -> None:
    async with bench_of(Origin()) as bench:
        clients = [bench.client() for _ in range(50)]
        for i, client in enumerate(clients):
            client.send(b"%d" % i)
        assert [await client.hear() for client in clients] == [b"%d" % i for i in range(50)]
        assert all(client.hears_nothing() for client in clients)
        assert len(bench.entry) == 50


# --- the address an answer comes from ---


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.2"),
        ("0.0.0.0", "127.9.8.7"),
        ("::", "127.0.0.2"),
        ("::", "::1"),
        ("::1", "::1"),
    ],
)
@on_both_loops
async def test_an_answer_comes_from_the_address_that_was_asked(host: str, asked: str) -> None:
    async with bench_of(Origin(), host=host) as bench:
        client = bench.client(asked)
        assert await client.ask(b"hello") == b"hello"
        assert await client.ask(b"") == b""


@on_both_loops
async def test_one_client_socket_asking_two_addresses_has_two_flows() -> None:
    async with bench_of(Origin(), host="0.0.0.0") as bench:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as client:
            for address in ("127.0.0.2", "127.0.0.3"):
                client.sendto(address.encode(), (address, bench.port))
            heard: dict[bytes, str] = {}

            def both_heard() -> bool:
                with contextlib.suppress(BlockingIOError):
                    data, where = client.recvfrom(100)
                    heard[data] = where[0]
                return len(heard) == 2

            await until_async(both_heard)
            assert len(bench.entry) == 2
            assert heard == {b"127.0.0.2": "127.0.0.2", b"127.0.0.3": "127.0.0.3"}


# --- picks and flows ---


@on_both_loops
async def test_one_pick_per_flow() -> None:
    async with bench_of(Origin(tagged(b"v1 ")), Origin(tagged(b"v2 "))) as bench:
        first, second = bench.client(), bench.client()
        assert await first.ask(b"a") == b"v1 a"
        assert await second.ask(b"a") == b"v2 a"
        assert await first.ask(b"b") == b"v1 b"
        assert await second.ask(b"b") == b"v2 b"


@on_both_loops
async def test_a_quiet_flow_ends_and_the_next_datagram_picks_anew() -> None:
    async with bench_of(Origin(tagged(b"v1 ")), Origin(tagged(b"v2 ")), timeout=0.2) as bench:
        client = bench.client()
        assert await client.ask(b"a") == b"v1 a"
        await until_async(lambda: len(bench.entry) == 0)
        assert await client.ask(b"b") == b"v2 b"
        assert bench.entry.counters.flows == 2


@on_both_loops
async def test_traffic_in_either_direction_keeps_a_flow() -> None:
    origin = Origin(lambda _: None)
    async with bench_of(origin, timeout=0.3) as bench:
        client = bench.client()
        client.send(b"up")
        await until_async(lambda: origin.heard)
        started_at = bench.loop.time()
        while bench.loop.time() < started_at + 0.6:
            origin.send(b"down", origin.heard[0][1])
            assert await client.hear() == b"down"
        while bench.loop.time() < started_at + 1.2:
            client.send(b"up")
            await asyncio.sleep(0.02)
        assert bench.entry.counters.flows == 1
        assert len({peer for _, peer in origin.heard}) == 1


@on_both_loops
async def test_without_a_server_datagrams_are_dropped_and_nothing_is_kept() -> None:
    async with bench_of() as bench:
        bench.client().send(b"a")
        await until_async(lambda: bench.entry.counters.unserved == 1)
        assert len(bench.entry) == 0


@on_both_loops
async def test_a_new_world_takes_new_flows_and_leaves_the_old_ones() -> None:
    async with bench_of(Origin(tagged(b"old "))) as bench:
        newer = bench.origin(tagged(b"new "))
        first = bench.client()
        await first.ask(b"a")
        bench.world.runtime = runtime_of(Turns(server_at(newer.port)), timeout=0.2, max_flows=2, version=2)
        assert await bench.client().ask(b"b") == b"new b"
        assert await first.ask(b"c") == b"old c"
        third = bench.client()
        third.send(b"d")
        await until_async(lambda: bench.entry.counters.full == 1)
        await until_async(lambda: len(bench.entry) == 0)
        bench.world.runtime = runtime_of(None, version=3)
        third.send(b"e")
        await until_async(lambda: bench.entry.counters.unserved == 1)
        bench.world.runtime = Runtime(4, Config(), {}, {})
        third.send(b"f")
        await until_async(lambda: bench.entry.counters.unserved == 2)


# --- the end ---


def flows_in_memory() -> int:
    return sum(isinstance(thing, UdpFlow) for thing in gc.get_objects())


@on_both_loops
async def test_ended_flows_are_freed_without_the_garbage_collector() -> None:
    async with bench_of(server_at(DEAD_PORT), Origin(), timeout=0.1) as bench:
        clients = [bench.client() for _ in range(20)]
        gc.collect()
        gc.disable()
        try:
            for client in clients:
                assert await client.ask(b"a") == b"a"
            assert flows_in_memory() == 20
            await until_async(lambda: len(bench.entry) == 0)
            assert flows_in_memory() == 0
        finally:
            gc.enable()


@on_both_loops
async def test_draining_without_flows_ends_at_once() -> None:
    async with bench_of(Origin()) as bench:
        assert len(bench.live) == 1
        bench.live.drain()
        assert await bench.live.wait_empty(1.0)


@on_both_loops
async def test_draining_serves_the_flows_there_are_and_nobody_new() -> None:
    async with bench_of(Origin(), timeout=0.4) as bench:
        client = bench.client()
        await client.ask(b"a")
        bench.live.drain()
        bench.live.drain()
        bench.client().send(b"late")
        await until_async(lambda: bench.entry.counters.draining == 1)
        assert await client.ask(b"b") == b"b"
        assert len(bench.live) == 1
        assert await bench.live.wait_empty(3.0)
        assert len(bench.entry) == 0


@on_both_loops
async def test_aborting_closes_everything() -> None:
    shadow = Origin()
    async with bench_of(Origin(), mirrors=(mirror_to(server_at(shadow.port)),)) as bench:
        bench.closing.callback(shadow.close)
        for _ in range(5):
            await bench.client().ask(b"a")
        bench.live.abort()
        assert len(bench.live) == 0
        assert len(bench.entry) == 0
        assert bench.sock.fileno() < 0, "the port is free for a successor"
        bench.entry.abort()
        bench.entry.drain()


@on_both_loops
async def test_who_leaves_the_clients_to_another_still_answers() -> None:
    """A successor has the same socket: it gets what clients say, and the answers to what was asked before get out."""
    origin = Origin(lambda _: None)
    async with bench_of(origin) as bench:
        with bench.entry.sock.dup() as successor:
            client = bench.client()
            client.send(b"before")
            await until_async(lambda: origin.datagrams == [b"before"])
            bench.entry.stop_reading()
            bench.entry.stop_reading()
            bench.live.drain()
            client.send(b"after")
            assert await asyncio.wait_for(bench.loop.sock_recv(successor, 100), 5) == b"after"
            origin.send(b"answer", origin.heard[0][1])
            assert await client.hear() == b"answer"
            assert origin.datagrams == [b"before"]
            assert len(bench.live) == 1, "until its flows are silent"
