"""The measuring instrument itself: constant load counts what it gets and says what it does not get."""

from __future__ import annotations

from tests.support.http import After, recording
from tests.support.load import constant_datagrams, constant_load
from tests.support.ports import free_port
from tests.support.programs import running_whoami


def test_every_answer_is_counted() -> None:
    with recording() as origin, constant_load(origin.port) as load:
        load.await_more(100)
    assert load.failed == 0, load
    assert load.answered == len(origin.requests)
    assert load.connections == origin.connections
    assert load.bodies == {"ok\n": load.answered}


def test_what_fails_is_counted_and_said() -> None:
    broken = [b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", [After.RESET], [After.CLOSE]]
    with recording(None, *broken) as origin, constant_load(origin.port) as load:
        load.await_more(100)
    assert load.failed == len(broken), load
    assert sum("502" in failure for failure in load.failures) == 1


def test_nobody_there_is_a_failure() -> None:
    with constant_load(free_port(), kept=0) as load:
        load.await_more(5)
    assert load.answered == 0
    assert "Refused" in load.failures[0]


def test_datagrams() -> None:
    with running_whoami(http=False, udp=True) as server, constant_datagrams(server.udp_port) as load:
        load.await_more(50)
    assert load.failed == 0, load
    with constant_datagrams(free_port("udp"), timeout=0.2) as load:
        load.await_more(3)
    assert load.answered == 0
