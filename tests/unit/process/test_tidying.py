"""Work in slices; a former world is taken apart, and what is still in somebody's hands works on."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from streamlb.balance.failover import Failover
from streamlb.balance.selection import Selection, Server
from streamlb.balance.tree import Balancer, Mirror
from streamlb.process.tidying import SLICE, Tidying, dismantled, sliced
from streamlb.runtime.build import build
from streamlb.runtime.registry import Registry
from tests.unit.config.asking import config_of

if TYPE_CHECKING:
    from collections.abc import Generator

TEXT = """
entryPoints: {web: {address: ":80"}}
http:
  routers: {all: {rule: "PathPrefix(`/`)", service: both}}
  services:
    both: {weighted: {services: [{name: app}, {name: spare}]}}
    copied: {mirroring: {service: app, mirrors: [{name: spare, percent: 10}]}}
    safe: {failover: {service: app, fallback: spare}}
    app: {loadBalancer: {servers: [{url: "http://10.0.0.1"}, {url: "http://10.0.0.2", maxConnections: 1}]}}
    spare: {loadBalancer: {servers: [{url: "http://10.0.0.3"}]}}
"""


class Watch(asyncio.AbstractEventLoop):
    """A clock of the test's own."""

    now = 0.0

    def time(self) -> float:
        return self.now


@pytest.mark.asyncio
async def test_others_have_their_turns_between_the_slices() -> None:
    clock, turns = Watch(), 0

    def work() -> Generator[None, None, int]:
        for _ in range(20):
            clock.now += SLICE / 2
            yield
        return turns

    def tick() -> None:
        nonlocal turns
        turns += 1
        asyncio.get_running_loop().call_soon(tick)

    asyncio.get_running_loop().call_soon(tick)
    assert 9 <= await sliced(work(), clock) <= 11


def test_a_former_world_is_freed_without_the_collector() -> None:
    registry = Registry()
    gc.collect()
    others = count()
    former = build(config_of(TEXT), registry)
    held = former.services["http", "both"]
    gc.collect()
    gc.disable()
    try:
        build(config_of(TEXT), registry)
        alive = count() - others
        for _ in dismantled(former):
            pass
        # Who still has a node of it can go on picking.
        assert held.pick(Selection()) is not None
        del former, held
        assert count() - others == alive // 2
    finally:
        gc.enable()


def count() -> int:
    """The nodes of all worlds."""
    return sum(isinstance(each, Server | Balancer | Mirror | Failover) for each in gc.get_objects())


def test_the_collector_is_back_after_a_change() -> None:
    tidying = Tidying()
    try:
        for _ in range(3):
            tidying.before_change()
            assert not gc.isenabled()
            tidying.after_change()
            assert gc.isenabled()
    finally:
        gc.unfreeze()
        gc.set_threshold(700, 10, 10)
