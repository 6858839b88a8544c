"""Seeded traffic against the flow table: clients come, talk, fall silent; the clock leaps; limits change.

Replay one run with `SEED=<number> scripts/test tests/sim/test_flows.py`.
"""

from __future__ import annotations

import os
import random

import pytest

from streamlb.session.flows import MIN_TICK, SPARED, TICKS_PER_TIMEOUT, Flow, FlowTable, Stage

SEEDS = [int(os.environ["SEED"])] if "SEED" in os.environ else list(range(20))
STEPS = 2000
CLIENTS = 60
HOSTS = 7
"""Clients behind one another's address: client n counts for host n % HOSTS."""


class Traffic:
    """A table, a clock, and a plain model of which clients must and must not be known."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = self.random.choice([0.0, 17.3, 1e6])
        self.timeout = 3.0
        self.table: FlowTable[Flow] = FlowTable(self.timeout, 40, 8)
        self.seen: dict[int, float] = {}
        self.highest: dict[int, float] = {}  # What `seen` has been at most: the clock may step back.
        self.spoken: dict[int, list[str]] = {}  # "client" and "server", in the order they spoke.
        self.refused = self.evicted = 0

    def step(self) -> None:
        action = self.random.choices(
            [self.datagram, self.answer, self.refusal, self.timer, self.leap, self.reload],
            weights=[60, 20, 5, 12, 2, 1],
        )[0]
        action()
        self.check()

    def datagram(self) -> None:
        self.now += self.random.expovariate(20)
        client = self.random.randrange(CLIENTS)
        flow = self.table.flows.get(client)
        if flow is not None:
            flow.last_seen_at = self.seen[client] = self.now
            self.highest[client] = max(self.highest[client], self.now)
            self.spoken[client].append("client")
            if flow.stage is Stage.SERVED:
                self.table.proved(flow)
        elif self.table.has_room(client % HOSTS) or self.make_room(client % HOSTS):
            self.table.admit(Flow(client, client % HOSTS), self.now)
            self.seen[client] = self.highest[client] = self.now
            self.spoken[client] = ["client"]
        else:
            self.refused += 1

    def make_room(self, host: int) -> bool:
        flow = self.table.yielding(host, self.now)
        if flow is None:
            return False
        assert isinstance(flow.key, int)
        assert flow.stage is not Stage.PROVEN
        crowded = self.table.is_crowded(host)
        assert flow.client == host if crowded else len(self.table) == self.table.max_flows
        assert flow.opened_at + SPARED <= self.now or (crowded and flow.stage is Stage.SERVED)
        self.table.remove(flow)
        self.forget(flow.key)
        self.evicted += 1
        return True

    def answer(self) -> None:
        if self.seen:
            client = self.random.choice(sorted(self.seen))
            flow = self.table.flows[client]
            flow.last_seen_at = self.seen[client] = self.now
            self.highest[client] = max(self.highest[client], self.now)
            self.spoken[client].append("server")
            if flow.stage is Stage.FRESH:
                self.table.answered(flow)

    def refusal(self) -> None:
        if self.seen:
            client = self.random.choice(sorted(self.seen))
            self.table.remove(self.table.flows[client])
            self.forget(client)

    def forget(self, client: int) -> None:
        del self.seen[client]
        del self.spoken[client]

    def timer(self) -> None:
        self.now += self.random.random()
        max_visits = self.random.choice([1, 5, 1000])
        before = self.table.next_at
        ended = self.table.expire(self.now, max_visits)
        assert len(ended) <= max_visits
        for flow in ended:
            assert isinstance(flow.key, int)
            assert self.seen[flow.key] + self.timeout <= self.now
            self.forget(flow.key)
        if max_visits == 1000:
            for client in self.seen:
                latest = self.highest[client] + self.timeout + self.tick
                assert latest >= self.now - 1e-6, f"client {client} should have ended at {latest}"
            assert self.table.next_at is None or self.table.next_at > self.now
        if before is not None and before > self.now:
            assert not ended

    def leap(self) -> None:
        self.now = max(0.0, self.now + self.random.choice([-1.0, 10.0, 1e5]))
        self.timer()

    def reload(self) -> None:
        self.timeout = self.random.choice([0.0, 0.2, 3.0, 30.0])
        self.table.set_limits(self.timeout, self.random.choice([1, 40, CLIENTS]), self.random.choice([1, 8, CLIENTS]))

    @property
    def tick(self) -> float:
        return max(self.timeout / TICKS_PER_TIMEOUT, MIN_TICK)

    def check(self) -> None:
        assert set(self.table.flows) == set(self.seen)
        filed = [flow for tick in self.table._ticks.values() for flow in tick]
        assert len(filed) == len(self.table)
        assert set(filed) == set(self.table.flows.values())
        assert all(self.table._ticks.values()), "an empty tick would wake the timer for nothing"
        assert (self.table.next_at is None) == (not self.seen)
        self.check_stages()

    def check_stages(self) -> None:
        for client, flow in self.table.flows.items():
            assert isinstance(client, int)
            spoken = self.spoken[client]
            answered = "server" in spoken
            proven = answered and "client" in spoken[spoken.index("server") :]
            assert flow.stage is (Stage.PROVEN if proven else Stage.SERVED if answered else Stage.FRESH)
        every = [self.table._lines, *self.table._clients.values()]
        for lines, flows in zip(every, [list(self.table.flows.values()), *self.by_host()], strict=True):
            assert lines.count == len(flows)
            assert set(lines.fresh) == {flow for flow in flows if flow.stage is Stage.FRESH}
            assert set(lines.served) == {flow for flow in flows if flow.stage is Stage.SERVED}

    def by_host(self) -> list[list[Flow]]:
        """The flows of each client the table knows of, in its order; every flow is among them."""
        groups = [[f for f in self.table.flows.values() if f.client == host] for host in self.table._clients]
        assert all(groups), "a client without flows is kept"
        assert sum(map(len, groups)) == len(self.table)
        return groups


@pytest.mark.parametrize("seed", SEEDS)
def test_random_traffic(seed: int) -> None:
    traffic = Traffic(seed)
    for step in range(STEPS):
        try:
            traffic.step()
        except AssertionError as error:
            raise AssertionError(f"SEED={seed}, step {step}, now {traffic.now}: {error}") from error
    assert min(traffic.refused, traffic.evicted) > 0, (
        "the traffic never met the limit: the simulation tests less than it says"
    )
