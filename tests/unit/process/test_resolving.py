"""Names looked up again and again: news is told once, what is lost is kept."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING

import pytest

from streamlb.config.model import Config, LoadBalancer, Server, Service, TcpSection
from streamlb.process.resolving import Resolving, look_up
from tests.support.loops import on_both_loops
from tests.support.until import until_async

if TYPE_CHECKING:
    from collections.abc import Iterable


def config(*names: str) -> Config:
    servers = [Server(address=f"{name}:5432", resolve="all") for name in names]
    return Config(tcp=TcpSection(services={"db": Service(load_balancer=LoadBalancer(servers=servers))}))


def addresses(config: Config) -> list[str]:
    balancer = config.tcp.services["db"].load_balancer
    assert balancer
    return [server.address for server in balancer.servers]


class Zone:
    """A name server of the test's own: the answers of each name, one after the other, the last one for ever."""

    def __init__(self, **answers: Iterable[list[str] | Exception]) -> None:
        self.answers = {name: list(each) for name, each in answers.items()}
        self.asked = 0

    async def look_up(self, name: str) -> list[str]:
        self.asked += 1
        left = self.answers[name]
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def resolving(zone: Zone, *names: str) -> tuple[Resolving, list[list[str]]]:
    told: list[list[str]] = []
    made = Resolving(config(*names), lambda c: told.append(addresses(c)), interval=0.01, look_up=zone.look_up)
    return made, told


@on_both_loops
async def test_changes_are_told_once_whatever_the_order() -> None:
    zone = Zone(db=[["10.0.0.2", "10.0.0.1"], ["10.0.0.1", "10.0.0.2", "10.0.0.1"], ["10.0.0.2", "fd00::1"]])
    made, told = resolving(zone, "db")
    made.start()
    await until_async(lambda: zone.asked > 6)
    made.stop()
    assert told == [["10.0.0.1:5432", "10.0.0.2:5432"], ["10.0.0.2:5432", "[fd00::1]:5432"]]


@on_both_loops
async def test_what_does_not_resolve_any_more_keeps_its_addresses(caplog: pytest.LogCaptureFixture) -> None:
    gone = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    zone = Zone(db=[["10.0.0.1"], gone, gone, [], ["10.0.0.2"]], other=[gone])
    made, told = resolving(zone, "db", "other")
    with caplog.at_level(logging.INFO, logger="streamlb.process.resolving"):
        made.start()
        await until_async(lambda: len(told) == 2)
        made.stop()
    assert told == [["10.0.0.1:5432", "other:5432"], ["10.0.0.2:5432", "other:5432"]]
    assert [record.getMessage() for record in caplog.records] == [
        "db is 10.0.0.1",
        "other does not resolve (Name or service not known)",
        "db does not resolve (Name or service not known); its addresses stay",
        "db is 10.0.0.2",
    ]


@on_both_loops
async def test_without_names_nothing_is_begun() -> None:
    before = len(asyncio.all_tasks())
    made = Resolving(Config(), lambda _: None)
    made.start()
    assert len(asyncio.all_tasks()) == before
    made.stop()


@on_both_loops
async def test_the_system_is_asked() -> None:
    assert "127.0.0.1" in await look_up("localhost")
    with pytest.raises(OSError, match=r".*"):
        await look_up("nope.invalid")
