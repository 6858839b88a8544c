"""Dialling: a connected socket or a reason, once, later, and never both."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Any

import pytest

import streamlb.net.resolve as resolve_module
from streamlb.errors import Retry, UpstreamError
from streamlb.net.dial import Dial, dial
from streamlb.net.resolve import Resolver, resolver
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.tcp import HOST, Origin, origins, refusing_port


class Calls:
    """What a dial reported. `ended` is set by the first report."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.socks: list[socket.socket] = []
        self.errors: list[UpstreamError] = []
        self.ended = asyncio.Event()

    def dial(self, host: str, port: int, timeout: float = 5.0) -> Dial:
        started = dial(self.loop, host, port, timeout, self.on_done)
        assert not self.ended.is_set(), "reported from inside the call"
        return started

    def on_done(self, sock: socket.socket | None, error: UpstreamError | None) -> None:
        assert not self.ended.is_set(), "reported twice"
        assert (sock is None) is (error is not None)
        if sock is not None:
            self.socks.append(sock)
        if error is not None:
            self.errors.append(error)
        self.ended.set()

    async def outcome(self, host: str, port: int, timeout: float = 5.0) -> socket.socket | UpstreamError:
        self.ended.clear()
        self.dial(host, port, timeout)
        await self.ended.wait()
        return self.socks.pop() if self.socks else self.errors.pop()

    async def failure(self, host: str, port: int, timeout: float = 5.0) -> tuple[int, str, Retry]:
        error = await self.outcome(host, port, timeout)
        assert isinstance(error, UpstreamError)
        return error.status, error.reason, error.retry


@pytest.mark.parametrize("host", [HOST, "localhost"])
@on_both_loops
async def test_a_connected_socket(host: str) -> None:
    async with no_descriptor_leak():
        with origins() as origin:
            sock = await Calls().outcome(host, origin.port)
            assert isinstance(sock, socket.socket)
            with sock:
                assert sock.getblocking() is False
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
                sock.send(b"hello")
                assert await (await origin.accept()).recv() == b"hello"


@on_both_loops
async def test_a_connection_that_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As to another machine: not connected when asked again at once."""
    monkeypatch.setattr("streamlb.net.dial.LOOPBACK", ("none",))
    async with no_descriptor_leak():
        with origins() as origin:
            sock = await Calls().outcome(HOST, origin.port)
            assert isinstance(sock, socket.socket)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            sock.close()
            assert await Calls().failure(HOST, refusing_port()) == (502, "connection refused", Retry.ALWAYS)


@on_both_loops
async def test_refused() -> None:
    async with no_descriptor_leak():
        assert await Calls().failure(HOST, refusing_port()) == (502, "connection refused", Retry.ALWAYS)


@on_both_loops
async def test_no_answer_in_time() -> None:
    full = Origin(backlog=0)
    fillers = full.fill()
    async with no_descriptor_leak():
        expected = (504, "connecting took too long", Retry.ALWAYS)
        assert await Calls().failure(HOST, full.port, 0.1) == expected
    for filler in fillers:
        filler.close()
    full.close()


@on_both_loops
async def test_cancelled_it_reports_nothing_and_leaves_nothing() -> None:
    full = Origin(backlog=0)
    fillers = full.fill()
    async with no_descriptor_leak():
        with origins() as origin:
            calls = Calls()
            for host, port in ((HOST, origin.port), (HOST, refusing_port()), (HOST, full.port), ("localhost", 1)):
                attempt = calls.dial(host, port, 0.05)
                attempt.cancel()
                attempt.cancel()
            waiting = calls.dial(HOST, full.port, 0.1)
            await asyncio.sleep(0.06)
            waiting.cancel()
            await asyncio.sleep(0.1)
            assert not calls.ended.is_set()
    for filler in fillers:
        filler.close()
    full.close()


@on_both_loops
async def test_cancelled_while_its_name_is_looked_up_it_connects_to_nobody() -> None:
    async with no_descriptor_leak():
        with origins() as origin:
            calls = Calls()
            calls.dial("localhost", origin.port, 0.1).cancel()
            found = asyncio.Event()
            resolver(calls.loop).resolve("localhost", lambda _: found.set())
            await found.wait()
            await asyncio.sleep(0)
            with pytest.raises(BlockingIOError):
                origin.sock.accept()


@on_both_loops
async def test_a_name_that_does_not_resolve() -> None:
    expected = (502, "the name does not resolve", Retry.ALWAYS)
    assert await Calls().failure("nobody.invalid", 80) == expected
    assert await Calls().failure("x" * 300, 80) == expected


@on_both_loops
async def test_a_name_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = asyncio.Event()

    async def hang(self: Resolver, host: str) -> None:
        await gate.wait()
        self._waiting.pop(host)

    monkeypatch.setattr(Resolver, "_look_up", hang)
    expected = (504, "looking the name up took too long", Retry.ALWAYS)
    assert await Calls().failure("slow.example", 80, 0.05) == expected
    gate.set()
    await asyncio.sleep(0)


@on_both_loops
async def test_every_address_of_a_name_gets_its_turn_and_its_share_of_the_time() -> None:
    full = Origin(backlog=0)
    fillers = full.fill()
    with origins() as origin:
        calls = Calls()
        dead = socket.socket()
        dead.bind(("127.0.0.3", 0))
        where = [(socket.AF_INET, "127.0.0.3"), (socket.AF_INET, "127.0.0.2"), (socket.AF_INET, HOST)]
        resolver(calls.loop)._known["three.example"] = (calls.loop.time() + 60, where)
        sock = await calls.outcome("three.example", origin.port, 5.0)
        assert isinstance(sock, socket.socket)
        assert sock.getpeername() == (HOST, origin.port)
        sock.close()
        # The first address gives no answer: half of the time is left for the second.
        resolver(calls.loop)._known["two.example"] = (calls.loop.time() + 60, [(socket.AF_INET, HOST)] * 2)
        began_at = calls.loop.time()
        assert (await calls.failure("two.example", full.port, 0.2))[0] == 504
        assert 0.15 < calls.loop.time() - began_at < 1.0
        dead.close()
    for filler in fillers:
        filler.close()
    full.close()


@on_both_loops
async def test_short_of_descriptors_there_is_no_point_in_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket(*_: Any) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    calls = Calls()
    monkeypatch.setattr("streamlb.net.dial.socket.socket", no_socket)
    calls.dial(HOST, 80)
    await calls.ended.wait()
    monkeypatch.undo()
    assert (calls.errors[0].status, calls.errors[0].retry) == (503, Retry.NEVER)
    assert "Too many open files" in calls.errors[0].reason


@on_both_loops
async def test_a_socket_that_reached_itself_reached_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may choose the very port we dial as our own; nobody listens there, yet it connects."""
    port = refusing_port()
    real = socket.socket

    def from_that_port(*args: Any) -> socket.socket:
        sock = real(*args)
        sock.bind((HOST, port))
        return sock

    calls = Calls()
    monkeypatch.setattr("streamlb.net.dial.socket.socket", from_that_port)
    calls.dial(HOST, port)
    await calls.ended.wait()
    monkeypatch.undo()
    assert (calls.errors[0].status, calls.errors[0].reason) == (502, "connection refused")


# --- names -----------------------------------------------------------------------------------------------------------


class Names:
    """A loop's name service with counted lookups that end when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = asyncio.get_running_loop()
        self.resolver = Resolver()
        self.lookups: list[str] = []
        self.gate = asyncio.Event()
        self.found: list[Any] = []

        async def look_up(host: str) -> list[Any]:
            self.lookups.append(host)
            await self.gate.wait()
            if "bad" in host:
                raise socket.gaierror(-2, "Name or service not known")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]

        async def getaddrinfo(host: str, _port: int, **_: Any) -> list[Any]:
            return await look_up(host)

        class Loop:
            """The running loop with a name service of its own."""

            time = self.loop.time
            call_soon = self.loop.call_soon
            create_task = self.loop.create_task

        Loop.getaddrinfo = staticmethod(getaddrinfo)  # type: ignore[attr-defined]
        monkeypatch.setattr(resolve_module.asyncio, "get_running_loop", lambda: Loop)

    def ask(self, host: str) -> None:
        self.resolver.resolve(host, self.found.append)

    async def settle(self) -> None:
        self.gate.set()
        for _ in range(5):
            await asyncio.sleep(0)


@on_both_loops
async def test_one_lookup_serves_all_who_ask_and_those_who_come_soon_after(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)
    for _ in range(3):
        names.ask("app.example")
    await names.settle()
    names.ask("app.example")
    await names.settle()
    assert names.found == [[(socket.AF_INET, "192.0.2.1")]] * 4
    assert names.lookups == ["app.example"]


@on_both_loops
async def test_an_old_answer_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve_module, "KEEP", 0.0)
    names = Names(monkeypatch)
    names.ask("app.example")
    await names.settle()
    names.ask("app.example")
    await names.settle()
    assert names.lookups == ["app.example"] * 2


@on_both_loops
async def test_names_lookups_and_waiters_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve_module, "MAX_LOOKUPS", 2)
    monkeypatch.setattr(resolve_module, "MAX_WAITERS", 2)
    monkeypatch.setattr(resolve_module, "MAX_NAMES", 2)
    names = Names(monkeypatch)
    for host in ("a", "a", "a", "bad", "c"):
        names.ask(host)
    await asyncio.sleep(0)
    assert names.found == [[], []], "the third waiter and the third name are refused at once"
    await names.settle()
    assert names.found.count([(socket.AF_INET, "192.0.2.1")]) == 2
    assert names.found.count([]) == 3
    names.ask("d")
    await names.settle()
    assert len(names.resolver._known) == 2
