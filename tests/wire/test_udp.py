"""UDP entry points over real sockets: flows, servers that are not there, mirrors, limits, the end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import socket
from typing import TYPE_CHECKING, Any

import pytest

from streamlb.balance.selection import MirrorOrder, Selection, Server
from streamlb.config.model import Config
from streamlb.config.static import EntryPoint, UdpOptions
from streamlb.net import datagram
from streamlb.net.resolve import Resolver
from streamlb.proxy import udp_upstream
from streamlb.proxy.live import Live
from streamlb.proxy.udp import UdpEntry
from streamlb.proxy.udp_flow import UdpFlow
from streamlb.runtime.snapshot import EntryPointTable, Runtime, World
from tests.support.datagrams import Client, Origin
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.until import until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from streamlb.balance.selection import Node
    from streamlb.net.resolve import Found

LONG = 60.0
DEAD_PORT = 9
"""Nothing listens there (discard)."""


class Turns:
    """A node that picks its servers in turn, skips what is to be avoided, and notes its mirrors."""

    name = "turns"
    up = True

    def __init__(self, *servers: Server, mirrors: tuple[MirrorOrder, ...] = ()) -> None:
        self.servers = list(servers)
        self.mirrors = mirrors
        self.picks = 0

    def pick(self, want: Selection) -> Server | None:
        for _ in self.servers:
            server = self.servers[self.picks % len(self.servers)]
            self.picks += 1
            if server not in want.avoid:
                if not want.avoid:
                    want.mirrors.extend(self.mirrors)
                return server
        return None


def server_at(port: int, host: str = "127.0.0.1") -> Server:
    return Server(f"{host}:{port}", host, port)


def runtime_of(service: Node | None, *, timeout: float = LONG, max_flows: int = 100, version: int = 1) -> Runtime:
    options = EntryPoint(address=":0/udp", udp=UdpOptions(timeout=timeout, max_flows=max_flows))
    return Runtime(version, Config(), {"dns": EntryPointTable("dns", options, udp=service)}, {})


class Bench:
    """One entry point in front of `service`, and what to talk to it with; all closed at the end."""

    def __init__(self, service: Node | None, host: str = "127.0.0.1", **options: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.world = World(runtime_of(service, **options))
        self.live = Live()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.sock.bind((host, 0))
        self.port: int = self.sock.getsockname()[1]
        self.entry = UdpEntry(self.world, "dns", self.loop, self.live, self.sock)
        self.closing = contextlib.ExitStack()

    def client(self, host: str = "127.0.0.1", **options: Any) -> Client:
        client = Client((host, self.port), **options)
        self.closing.callback(client.close)
        return client

    def origin(self, *args: Any, **options: Any) -> Origin:
        origin = Origin(*args, **options)
        self.closing.callback(origin.close)
        return origin

    def close(self) -> None:
        self.entry.abort()
        self.sock.close()
        self.closing.close()
        assert len(self.live) == 0


@contextlib.asynccontextmanager
async def bench_of(
    *servers: Server | Origin, mirrors: tuple[MirrorOrder, ...] = (), **options: Any
) -> AsyncIterator[Bench]:
    """A bench in front of the servers in turn; origins are closed with it."""
    async with no_descriptor_leak():
        nodes = [server_at(s.port, s.host) if isinstance(s, Origin) else s for s in servers]
        bench = Bench(Turns(*nodes, mirrors=mirrors) if nodes else None, **options)
        for server in servers:
            if isinstance(server, Origin):
                bench.closing.callback(server.close)
        try:
            yield bench
        finally:
            bench.close()
        assert all(node.state.active == 0 for node in nodes)


def tagged(tag: bytes) -> Callable[[bytes], bytes]:
    return lambda data: tag + data


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


class Names:
    """Stands in for the resolver: answers when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, Callable[[Found], object]]] = []
        monkeypatch.setattr(Resolver, "resolve", lambda _, host, on_done: self.asked.append((host, on_done)))

    def answer(self, *hosts: str) -> None:
        _, on_done = self.asked.pop(0)
        families = [(socket.AF_INET6 if ":" in host else socket.AF_INET, host) for host in hosts]
        asyncio.get_running_loop().call_soon(on_done, families)


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
        await until_async(lambda: bench.entry.counters.busy == 12)
        for flows in range(2, 32):
            bench.client().send(bytes(60_000))
            await until_async(lambda: len(bench.entry) == flows)  # noqa: B023
        assert bench.entry.counters.busy == 12 + 30 - 17
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


# --- mirrors ---


def mirror_to(*servers: Server) -> MirrorOrder:
    return MirrorOrder("shadow", Turns(*servers), True, -1)


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
            "entry point dns: UDP datagrams of new clients dropped: the limit of 1 flows is reached",
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


# --- shortages and floods ---


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


@on_both_loops
async def test_a_flood_of_strangers_stays_within_the_limit() -> None:
    strangers, batch = 50_000, 100
    async with bench_of(Origin(lambda data: data or None), max_flows=300) as bench:
        client = bench.client()
        assert await client.ask(b"before") == b"before"
        counters = bench.entry.counters
        for start in range(0, strangers, batch):
            for i in range(start, start + batch):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                    # Many addresses: one alone has not ports enough.
                    stranger.bind((f"127.0.{1 + i % 200}.{1 + i // 200}", 0))
                    stranger.sendto(b"", ("127.0.0.1", bench.port))
            while counters.full + counters.flows < start + batch + 1:  # noqa: ASYNC110
                # The kernel's queue would overflow and lose what is to be counted.
                await asyncio.sleep(0)
            if start % 5000 == 0:
                assert await client.ask(b"during") == b"during"
            assert len(bench.entry) <= 300
        assert counters.full == strangers - 299
        assert len(bench.entry) == 300
        assert len(bench.entry._by_descriptor) == 300
        assert await client.ask(b"after") == b"after"


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
