"""The channel between the control process and a worker, on a real pair of sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlb.config.model import Config, LoadBalancer, Router, Server, Service, Sticky
from streamlb.config.static import EntryPoint
from streamlb.process.channel import (
    MAX_FRAME,
    Channel,
    Configure,
    Drain,
    Drained,
    Ejected,
    Failed,
    Health,
    Listen,
    Ready,
)
from tests.support.loops import no_descriptor_leak, on_both_loops, run
from tests.support.until import until_async

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlb.process.channel import Message


def full_config(routers: int = 1) -> Config:
    config = Config(entry_points={"web": EntryPoint(address=":80")}, workers="auto")
    for number in range(routers):
        config.http.routers[f"r{number}"] = Router(service="s", rule=f"Host(`{number}.test.com`)")
    servers = [Server(url="http://a:1", weight=0)]
    config.http.services["s"] = Service(load_balancer=LoadBalancer(servers=servers, sticky=Sticky()))
    return config


class End:
    """One end that keeps what it hears."""

    def __init__(self, sock: socket.socket) -> None:
        self.channel = Channel(sock)
        self.messages: list[tuple[Message, list[int]]] = []
        self.ended = 0
        self.channel.start(asyncio.get_running_loop(), self._on_message, self._on_end)

    def _on_message(self, message: Message, descriptors: list[int]) -> None:
        self.messages.append((message, descriptors))

    def _on_end(self) -> None:
        self.ended += 1


@contextlib.contextmanager
def ends() -> Iterator[tuple[End, End]]:
    one, other = map(End, socket.socketpair())
    try:
        yield one, other
    finally:
        one.channel.close()
        other.channel.close()


@on_both_loops
async def test_messages_arrive_whole_and_in_order_with_their_descriptors() -> None:
    async with no_descriptor_leak():
        with ends() as (control, worker):
            listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(100)]
            for number, listener in enumerate(listeners):
                control.channel.send(Listen(f"e{number}"), [listener.fileno()])
            server = ("http", "app", "http://a")
            orders = [Configure(full_config(), 1, 2, 3, down=[server]), Health(server, True), Drain()]
            for order in orders:
                control.channel.send(order)
            await until_async(lambda: len(worker.messages) == 103)
            for number, (message, descriptors) in enumerate(worker.messages[:100]):
                assert message == Listen(f"e{number}")
                [descriptor] = descriptors
                assert not os.get_inheritable(descriptor)
                with socket.socket(fileno=descriptor) as sock:
                    assert sock.getsockname() == listeners[number].getsockname()
            assert [message for message, _ in worker.messages[100:]] == orders
            answers = [Ready(3), Failed(3, "why"), Ejected(server), Drained(4)]
            for answer in answers:
                worker.channel.send(answer)
            await until_async(lambda: len(control.messages) == 4)
            assert [message for message, _ in control.messages] == answers
            for listener in listeners:
                listener.close()


@on_both_loops
async def test_a_large_configuration_waits_for_nobody() -> None:
    configure = Configure(full_config(20_000), 0, 1, 1)
    with ends() as (control, worker):
        control.channel.send(configure)  # More than the kernel takes at once: the rest goes when there is room.
        control.channel.send(Drain())
        await until_async(lambda: len(worker.messages) == 2)
        assert [message for message, _ in worker.messages] == [configure, Drain()]


@on_both_loops
async def test_the_last_word_gets_through_behind_much_else() -> None:
    with ends() as (control, worker):
        reading = asyncio.get_running_loop().run_in_executor
        worker.channel.send(Failed(1, "x" * 50_000))
        await reading(None, worker.channel.finish, 5.0)
        await until_async(lambda: control.ended == 1)
        assert control.messages == [(Failed(1, "x" * 50_000), [])]


@on_both_loops
async def test_the_end_of_the_other_side_is_told_once() -> None:
    with ends() as (control, worker):
        control.channel.send(Ready(1))
        control.channel.close()
        control.channel.close()
        control.channel.send(Ready(2))
        await until_async(lambda: worker.ended == 1)
        assert worker.messages == [(Ready(1), [])]
        assert worker.channel.closed
        assert control.ended == 0


@pytest.mark.parametrize(
    "nonsense",
    [(MAX_FRAME + 1).to_bytes(4, "big"), b"\x00\x00\x00\x01\xff", b"\x00\x00\x00\x02\x93\x01", b"\x00\x00\x00\x00"],
)
@on_both_loops
async def test_nonsense_is_the_end(nonsense: bytes) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        end = End(ours)
        theirs.send(nonsense)
        await until_async(lambda: end.ended == 1)
        assert end.messages == []


@settings(max_examples=25)
@given(cuts=st.lists(st.integers(1, 40), max_size=30), reasons=st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_frames_may_come_in_any_pieces(cuts: list[int], reasons: list[str]) -> None:
    async def check() -> None:
        sender, receiver = socket.socketpair()
        tapped, tap = socket.socketpair()
        with receiver, tap:
            source = End(sender)
            for reason in reasons:
                source.channel.send(Failed(1, reason))
            stream = receiver.recv(1 << 20)
            end = End(tapped)
            position = 0
            for cut in cuts:
                tap.send(stream[position : position + cut] or b"")
                position += cut
                await asyncio.sleep(0)
            if position < len(stream):
                tap.send(stream[position:])
            await until_async(lambda: len(end.messages) == len(reasons))
            assert [message for message, _ in end.messages] == [Failed(1, reason) for reason in reasons]
            source.channel.close()
            end.channel.close()

    run("asyncio", check())


@on_both_loops
async def test_a_descriptor_closed_too_early_ends_both_sides() -> None:
    with ends() as (control, worker):
        listener = socket.create_server(("127.0.0.1", 0))
        number = listener.fileno()
        listener.close()
        control.channel.send(Listen("web"), [number])
        await until_async(lambda: control.ended == worker.ended == 1)
        assert worker.messages == []
