"""UDP entry points under random traffic: clients come and go, servers die and come back, names, limits, modes change.

What must hold at every moment: nobody hears another one's answer, what is counted is there, nothing is left over.
Replay one run with `SEED=<number>`.
"""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING

import pytest

from streamlb.net import datagram
from streamlb.proxy import udp_upstream
from streamlb.session import flows
from tests.support.datagrams import Client, Origin
from tests.support.loops import on_both_loops
from tests.support.ports import free_port
from tests.support.udp import Bench, Names, Turns, bench_of, mirror_to, runtime_of, server_at
from tests.support.until import until_async

if TYPE_CHECKING:
    import socket

    from streamlb.balance.selection import Server

SEEDS = [int(os.environ["SEED"])] if "SEED" in os.environ else list(range(5))
STEPS = 400


class Traffic:
    """Random steps against one bench with a service of three servers, one of them known by name, and a mirror."""

    def __init__(self, bench: Bench, names: Names, seed: int, servers: list[Server]) -> None:
        self.bench = bench
        self.names = names
        self.random = random.Random(seed)
        self.servers = servers
        self.shadow = mirror_to(servers[-1])
        self.origins: dict[Server, Origin] = {}
        self.clients: list[Client] = []
        self.heard = 0
        self.version = 1

    async def run(self) -> None:
        for server in self.servers:
            self.revive(server)
        self.reload()
        for _ in range(STEPS):
            action = self.random.choices(
                [self.ask, self.come, self.go, self.kill, self.revive, self.push, self.reload, self.resolve, self.down],
                weights=[50, 15, 4, 2, 4, 6, 4, 3, 1],
            )[0]
            action()
            for _ in range(self.random.randrange(4)):
                await asyncio.sleep(0)
            self.listen()
            self.check()

    # --- steps ---

    def come(self) -> None:
        source = self.random.choice(["127.0.0.1", "127.0.0.2", "127.0.0.3"])
        self.clients.append(Client(("127.0.0.1", self.bench.port), source=source))

    def go(self) -> None:
        if self.clients:
            self.clients.pop(self.random.randrange(len(self.clients))).close()

    def ask(self) -> None:
        if self.clients:
            client = self.random.choice(self.clients)
            size = self.random.choice([0, 0, 10, 5000])
            client.send(b"%d " % client.sock.getsockname()[1] + client.sock.getsockname()[0].encode() + b" " * size)

    def kill(self, server: Server | None = None) -> None:
        origin = self.origins.pop(server or self.random.choice(self.servers), None)
        if origin is not None:
            origin.close()

    def revive(self, server: Server | None = None) -> None:
        server = server or self.random.choice(self.servers)
        if server not in self.origins:
            self.origins[server] = Origin(lambda data: data if self.random.random() < 0.8 else None, port=server.port)

    def push(self) -> None:
        """A server says something again to somebody it once heard: late, or twice."""
        if self.origins:
            origin = self.random.choice(list(self.origins.values()))
            if origin.heard:
                data, peer = self.random.choice(origin.heard[-50:])
                if peer in self.flow_sockets():
                    origin.send(data, peer)

    def flow_sockets(self) -> set[object]:
        """Only to flows there are: the kernel may have given the port of one that ended to somebody else's."""
        return {
            flow.sock.getsockname() for flow in self.bench.entry._table.flows.values() if flow.sock and not flow.is_once
        }

    def reload(self) -> None:
        self.version += 1
        mirrors = self.random.choice([(), (self.shadow,)])
        self.bench.world.runtime = runtime_of(
            Turns(*self.servers, mirrors=mirrors),
            timeout=self.random.choice([0.05, 60.0]),
            max_flows=self.random.choice([2, 10, 1000]),
            max_flows_per_client=self.random.choice([0, 2, 100]),
            mode=self.random.choice(["flow", "flow", "datagram"]),
            version=self.version,
        )

    def resolve(self) -> None:
        if self.names.asked:
            self.names.answer(*self.random.choice([(), ("127.0.0.1",)]))

    def down(self) -> None:
        server = self.random.choice(self.servers)
        server.state.up = not server.state.up
        self.bench.entry.leave_down()

    # --- what must hold ---

    def listen(self) -> None:
        for client in self.clients:
            while True:
                try:
                    data = client.sock.recv(65535)
                except BlockingIOError:
                    break
                host, port = client.sock.getsockname()
                assert data.split()[:2] == [b"%d" % port, host.encode()], "somebody else's answer"
                self.heard += 1

    def check(self) -> None:
        entry = self.bench.entry
        everybody = list(entry._table.flows.values())
        assert self.bench.watched == sum(flow.sock is not None for flow in everybody)
        for server in self.servers:
            copies = sum(mirror.server is server for mirror in entry._mirrors._open)
            assert server.state.active == sum(flow.server is server for flow in everybody) + copies
        for flow in everybody:
            assert (flow.server is None) == (flow.destination is None or (flow.sock is None and flow.held is None))
            assert flow.sock is None or flow.held is None


class Ports:
    """Opens the flows' sockets, none with a port that another had: late answers may come there, by all rights."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._used: set[int] = set()
        self._connect = datagram.connect
        monkeypatch.setattr(udp_upstream, "connect", self.connect)

    def connect(self, place: datagram.Place) -> socket.SocketType:
        sock = self._connect(place)
        port = sock.getsockname()[1]
        if port not in self._used:
            self._used.add(port)
            return sock
        try:
            return self.connect(place)
        finally:
            sock.close()


@pytest.mark.parametrize("seed", SEEDS)
@on_both_loops
async def test_random_traffic(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "SPARED", 0.0)
    names = Names(monkeypatch)
    Ports(monkeypatch)
    servers = [server_at(free_port("udp"), host) for host in ("127.0.0.1", "127.0.0.1", "named.test")]
    async with bench_of(*servers) as bench:
        traffic = Traffic(bench, names, seed, servers)
        try:
            await traffic.run()
            assert traffic.heard > 5, "most was lost: the soak tests less than it says"
            while names.asked:
                names.answer()
            bench.live.drain()
            for flow in list(bench.entry._table.flows.values()):
                flow.last_seen_at = -1e9
            bench.entry._table.set_limits(0.01, 10, 10)
            bench.entry._stop_timer()
            bench.entry._set_timer(bench.loop.time())
            await until_async(lambda: len(bench.live) == 0)
        finally:
            for client in traffic.clients:
                client.close()
            for origin in traffic.origins.values():
                origin.close()
        assert bench.entry._upstream._room._size == 0
        assert len(bench.entry._mirrors) == 0
        assert all(server.state.active == 0 for server in servers)
