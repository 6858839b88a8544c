"""Seeded traffic against the flow table: clients come, talk, fall silent; the clock leaps; limits change.

Replay one run with `SEED=<number> scripts/test tests/sim/test_flows.py`.
"""

from __future__ import annotations

import os
import random

import pytest

from streamlb.session.flows import MIN_TICK, TICKS_PER_TIMEOUT, Flow, FlowTable

SEEDS = [int(os.environ["SEED"])] if "SEED" in os.environ else list(range(20))
STEPS = 2000
CLIENTS = 60


class Traffic:
    """A table, a clock, and a plain model of which clients must and must not be known."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = self.random.choice([0.0, 17.3, 1e6])
        self.timeout = 3.0
        self.table: FlowTable[Flow] = FlowTable(self.timeout, 40)
        self.seen: dict[int, float] = {}
        self.highest: dict[int, float] = {}  # What `seen` has been at most: the clock may step back.
        self.refused = 0

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
        elif self.table.has_room:
            self.table.admit(Flow(client), self.now)
            self.seen[client] = self.highest[client] = self.now
        else:
            self.refused += 1

    def answer(self) -> None:
        if self.seen:
            client = self.random.choice(sorted(self.seen))
            self.table.flows[client].last_seen_at = self.seen[client] = self.now
            self.highest[client] = max(self.highest[client], self.now)

    def refusal(self) -> None:
        if self.seen:
            client = self.random.choice(sorted(self.seen))
            self.table.remove(self.table.flows[client])
            del self.seen[client]

    def timer(self) -> None:
        self.now += self.random.random()
        max_visits = self.random.choice([1, 5, 1000])
        before = self.table.next_at
        ended = self.table.expire(self.now, max_visits)
        assert len(ended) <= max_visits
        for flow in ended:
            assert isinstance(flow.key, int)
            assert self.seen.pop(flow.key) + self.timeout <= self.now
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
        self.table.set_limits(self.timeout, self.random.choice([1, 40, CLIENTS]))

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


@pytest.mark.parametrize("seed", SEEDS)
def test_random_traffic(seed: int) -> None:
    traffic = Traffic(seed)
    for step in range(STEPS):
        try:
            traffic.step()
        except AssertionError as error:
            raise AssertionError(f"SEED={seed}, step {step}, now {traffic.now}: {error}") from error
    assert traffic.refused > 0, "the traffic never met the limit: the simulation tests less than it says"
