"""Accepting under stress: bursts, shortages, bugs, and stopping."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import resource
import socket
from typing import TYPE_CHECKING, Any

import pytest

import streamlb.net.listener as listener_module
from streamlb.net.address import Address, bind
from streamlb.net.listener import MAX_ACCEPTS_PER_WAKE, SHORTAGE_PAUSE, Acceptor
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.until import until_async

if TYPE_CHECKING:
    from collections.abc import Callable


class Door:
    """An acceptor that keeps what it accepts, and the clients that come to it."""

    def __init__(self, on_accept: Callable[[socket.socket, Any], object] | None = None) -> None:
        self.sock = bind(Address("127.0.0.1", 0))
        self.where = self.sock.getsockname()
        self.on_accept = on_accept or (lambda sock, peer: self.accepted.append(sock))
        self.accepted: list[socket.socket] = []
        self.clients: list[socket.socket] = []
        self.acceptor: Acceptor | None = None

    def open(self, has_room: Callable[[], bool] | None = None) -> Acceptor:
        self.acceptor = Acceptor(asyncio.get_running_loop(), self.sock, self.on_accept, has_room)
        return self.acceptor

    def knock(self, count: int = 1) -> None:
        self.clients += [socket.create_connection(self.where) for _ in range(count)]

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        if self.acceptor is not None:
            self.acceptor.stop()
        for sock in (self.sock, *self.accepted, *self.clients):
            sock.close()


@on_both_loops
async def test_a_burst_is_accepted_whole_and_non_blocking() -> None:
    async with no_descriptor_leak():
        with Door() as door:
            door.open()
            door.knock(MAX_ACCEPTS_PER_WAKE * 2 + 3)
            await until_async(lambda: len(door.accepted) == len(door.clients))
            assert not any(sock.getblocking() for sock in door.accepted)
            assert {sock.getpeername() for sock in door.accepted} == {sock.getsockname() for sock in door.clients}
            assert not any(os.get_inheritable(sock.fileno()) for sock in door.accepted)


@on_both_loops
async def test_without_descriptors_it_waits_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    calls = 0
    with Door() as door:
        door.knock(5)
        gc.collect()  # Nobody else's descriptors may become free meanwhile.
        spare = os.dup(0)
        os.close(spare)
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
        try:
            acceptor = door.open()
            real = acceptor._accept

            def counted() -> Any:
                nonlocal calls
                calls += 1
                return real()

            acceptor._accept = counted
            # The loop goes round many times meanwhile; a spinning acceptor would try each time.
            loop = asyncio.get_running_loop()
            began_at = loop.time()
            await asyncio.sleep(0.35)
            assert not door.accepted
            assert 1 <= calls <= 2 + (loop.time() - began_at) / SHORTAGE_PAUSE
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await until_async(lambda: len(door.accepted) == 5)
        door.knock()
        await until_async(lambda: len(door.accepted) == 6)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["cannot accept connections for now: Too many open files; trying again"]


@on_both_loops
async def test_a_connection_that_failed_before_it_was_accepted_is_passed_over() -> None:
    with Door() as door:
        acceptor = door.open()
        real = acceptor._accept
        failures = [errno.ECONNABORTED, errno.EPROTO, errno.EPERM]

        def failing() -> Any:
            if failures:
                raise OSError(failures.pop(), "gone")
            return real()

        acceptor._accept = failing
        door.knock(2)
        await until_async(lambda: len(door.accepted) == 2)


@on_both_loops
async def test_a_bug_behind_it_costs_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with no_descriptor_leak():
        with Door() as door:

            def buggy(sock: socket.socket, peer: Any) -> None:
                if not door.accepted:
                    door.accepted.append(sock)
                    raise RuntimeError("a bug")
                door.accepted.append(sock)

            door.on_accept = buggy
            door.open()
            door.knock(2)
            await until_async(lambda: len(door.accepted) == 2)
            assert door.clients[0].recv(1) == b""
            door.accepted[1].send(b"x")
            assert door.clients[1].recv(1) == b"x"
    assert "a bug" in caplog.text


@on_both_loops
async def test_stopped_it_leaves_the_queue_to_a_successor() -> None:
    with Door() as door:
        acceptor = door.open()
        acceptor.stop(close=False)
        acceptor.stop(close=False)
        door.knock()
        await asyncio.sleep(0)
        assert not door.accepted
        door.open()
        await until_async(lambda: door.accepted)


@on_both_loops
async def test_stopped_it_refuses_and_may_be_stopped_by_what_it_accepted() -> None:
    with Door() as door:

        def last(sock: socket.socket, peer: Any) -> None:
            door.accepted.append(sock)
            assert door.acceptor is not None
            door.acceptor.stop()

        door.on_accept = last
        door.knock(3)
        door.open()
        await until_async(lambda: door.accepted)
        assert len(door.accepted) == 1
        with pytest.raises(ConnectionRefusedError):
            door.knock()


@on_both_loops
async def test_stopped_during_a_pause_it_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "SHORTAGE_PAUSE", 0.02)
    with Door() as door:
        acceptor = door.open()

        def failing() -> Any:
            raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))

        acceptor._accept = failing
        door.knock()
        await until_async(lambda: acceptor._pause is not None)
        acceptor.stop()
        await asyncio.sleep(0.05)
        assert not door.accepted


@on_both_loops
async def test_without_room_clients_wait_until_there_is_some() -> None:
    async with no_descriptor_leak():
        with Door() as door:
            limit = 3
            acceptor = door.open(lambda: len(door.accepted) < limit)
            door.knock(8)
            await until_async(lambda: len(door.accepted) == 3)
            acceptor.resume()  # In vain.
            await asyncio.sleep(0)
            limit = 5
            acceptor.resume()
            acceptor.resume()
            await until_async(lambda: len(door.accepted) == 5)
            await asyncio.sleep(0)
            assert len(door.accepted) == 5


@on_both_loops
async def test_an_acceptor_without_room_can_be_stopped() -> None:
    async with no_descriptor_leak():
        with Door() as door:
            acceptor = door.open(lambda: False)
            door.knock()
            await until_async(lambda: acceptor._is_full)
            acceptor.stop()
            acceptor.resume()
