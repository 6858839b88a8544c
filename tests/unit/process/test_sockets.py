"""Sockets by address: who keeps his, who gets new ones, and that nothing is left of what was refused."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from streamlb.config.model import Config
from streamlb.config.static import EntryPoint
from streamlb.errors import StartError
from streamlb.process.sockets import Sockets
from tests.support.loops import count_descriptors
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    made = Sockets()
    yield made
    made.close()


def config(**addresses: str) -> Config:
    return Config(entry_points={name: EntryPoint(address=address) for name, address in addresses.items()})


def committed(sockets: Sockets, wanted: Config, workers: int = 1) -> list[dict[str, socket.socket]]:
    plan = sockets.plan(wanted, workers)
    plan.commit()
    return plan.slots


def is_listening(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_an_address_keeps_its_sockets_whatever_its_name(sockets: Sockets) -> None:
    port, other = free_port(), free_port()
    [before] = committed(sockets, config(a=f"127.0.0.1:{port}", b="127.0.0.1:0"))
    [after] = committed(sockets, config(c=f"127.0.0.1:{port}", b="127.0.0.1:0", d=f"127.0.0.1:{other}"))
    assert after["c"] is before["a"]
    assert after["b"] is before["b"]
    [last] = committed(sockets, config(d=f"127.0.0.1:{other}"))
    assert last == {"d": after["d"]}
    assert before["a"].fileno() == before["b"].fileno() == -1
    assert not is_listening(port)


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_workers_come_and_go(sockets: Sockets, kind: str) -> None:
    wanted = config(a=f"127.0.0.1:{free_port(kind)}/{kind}")
    [first] = committed(sockets, wanted)
    more = committed(sockets, wanted, 3)
    assert more[0]["a"] is first["a"]
    assert len({slot["a"].getsockname() for slot in more}) == 1
    fewer = committed(sockets, wanted, 2)
    assert [slot["a"] for slot in fewer] == [slot["a"] for slot in more[:2]]
    assert more[2]["a"].fileno() == -1
    with pytest.raises(StartError, match="already in use"):
        Sockets().plan(wanted, 1)


def test_what_cannot_be_bound_leaves_all_as_it_was(sockets: Sockets) -> None:
    port, other = free_port(), free_port()
    [before] = committed(sockets, config(a=f"127.0.0.1:{port}"))
    count = count_descriptors()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"entry point c: 127.0.0.1:{number} is already in use"):
            sockets.plan(config(b=f"127.0.0.1:{other}", c=f"127.0.0.1:{number}"), 2)
        assert count_descriptors() == count + 1
    assert is_listening(port)
    assert not is_listening(other)
    [after] = committed(sockets, config(a=f"127.0.0.1:{port}"))
    assert after == before


def test_an_abandoned_plan_closes_what_it_has_made_and_nothing_else(sockets: Sockets) -> None:
    port, other = free_port(), free_port()
    committed(sockets, config(a=f"127.0.0.1:{port}"))
    count = count_descriptors()
    sockets.plan(config(a=f"127.0.0.1:{port}", b=f"127.0.0.1:{other}"), 2).abandon()
    assert count_descriptors() == count
    assert is_listening(port)


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_an_address_that_overlaps_one_that_goes(sockets: Sockets, kind: str) -> None:
    port = free_port("both")
    for address in (f"127.0.0.1:{port}", f":{port}", f"0.0.0.0:{port}", f"127.0.0.1:{port}"):
        committed(sockets, config(a=f"{address}/{kind}"))


def test_two_entry_points_do_not_share_an_address(sockets: Sockets) -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(StartError, match="already in use"):
        sockets.plan(config(a=address, b=address), 1)
