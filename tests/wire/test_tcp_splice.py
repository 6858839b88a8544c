"""Splicing where the machine is short of pipes, or refuses them: the bytes arrive all the same."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from typing import TYPE_CHECKING, Any

import pytest

import streamlb.net.splice as splice_module
from streamlb.net.splice import PIPE_SIZES, Pipe, PipePool, make_pipe
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.tcp import origins, proxying
from tests.support.until import until_async
from tests.wire.test_tcp import MIB, noise

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 12 * MIB


def failing(number: int, after: int = 0, real: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """A system call that fails with `number` once `after` calls have been passed to the real one."""
    calls = [0]

    def call(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if real is not None and calls[0] <= after:
            return real(*args, **kwargs)
        raise OSError(number, os.strerror(number))

    return call


async def deliver_both_ways() -> int:
    """Move SIZE bytes each way through a proxy; how many pipes were seen lent."""
    up, down = noise(SIZE, b"up")[:SIZE], noise(SIZE, b"down")[:SIZE]
    lent = 0
    async with no_descriptor_leak():
        with origins() as origin:
            async with proxying(origin.server()) as proxy:
                client = await proxy.connect()
                upstream = await origin.accept()
                moving = asyncio.gather(client.send(up), upstream.send(down), upstream.read(SIZE), client.read(SIZE))
                while not moving.done():
                    lent = max(lent, proxy.pipes.lent)
                    await asyncio.sleep(0)
                _, _, got_up, got_down = await moving
                assert got_up == up
                assert got_down == down
                client.end()
                assert await upstream.recv() == b""
                upstream.end()
                assert await client.recv() == b""
                await asyncio.sleep(0)
            assert proxy.pipes.lent == 0
    return lent


@on_both_loops
async def test_pipes_are_used_where_nothing_forbids_it() -> None:
    assert await deliver_both_ways() == 2


@on_both_loops
async def test_without_descriptors_for_a_pipe_bytes_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice_module.os, "pipe2", failing(errno.EMFILE))
    assert await deliver_both_ways() == 0


@on_both_loops
async def test_where_large_pipes_are_refused_smaller_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    real = fcntl.fcntl

    def only_small(descriptor: int, command: int, size: int) -> int:
        if size > 128 * 1024:
            raise OSError(errno.EPERM, "over the limit")
        return real(descriptor, command, size)

    monkeypatch.setattr(splice_module.fcntl, "fcntl", only_small)
    assert await deliver_both_ways() == 2


@on_both_loops
async def test_where_only_tiny_pipes_are_granted_bytes_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice_module.fcntl, "fcntl", failing(errno.EPERM))
    assert await deliver_both_ways() == 0


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EPERM])
@on_both_loops
async def test_where_splice_is_refused_bytes_are_copied(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(splice_module.os, "splice", failing(number))
    await deliver_both_ways()


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5, 17])
@on_both_loops
async def test_where_splice_is_refused_half_way_nothing_is_lost(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    monkeypatch.setattr(splice_module.os, "splice", failing(errno.EINVAL, after, os.splice))
    await deliver_both_ways()


@on_both_loops
async def test_a_pipe_with_bytes_of_a_cut_conversation_is_not_lent_again() -> None:
    with origins() as origin:
        async with proxying(origin.server()) as proxy:
            for _ in range(3):
                await proxy.connect()
                upstream = await origin.accept()
                conversation: Any = next(iter(proxy.live._conversations))
                # The client reads nothing: bytes stay in the pipe.
                sending = asyncio.gather(upstream.send(b"secret" * 4 * MIB), return_exceptions=True)
                pump = conversation._pumps._down
                await until_async(lambda pump=pump: pump._pipe is not None and pump._pipe.held > 0)
                conversation.abort()
                await sending
                client = await proxy.connect()
                upstream = await origin.accept()
                answer = bytes(8 * MIB)
                _, got = await asyncio.gather(upstream.send(answer), client.read(len(answer)))
                assert got == answer
                assert proxy.pipes.lent == 1
                client.close()
                upstream.close()
                await until_async(lambda: not proxy.live)


def test_the_pool_lends_a_bounded_number_and_reuses_what_is_empty() -> None:
    pool = PipePool(max_pipes=2)
    first, second = pool.take(), pool.take()
    assert first is not None
    assert second is not None
    assert pool.take() is None
    pool.give_back(first)
    assert pool.take() is first
    os.write(first._write_end, b"leftover")
    first.held = 8
    pool.give_back(first)
    assert is_closed(first)
    third = pool.take()
    assert third not in (None, first)
    pool.give_back(second)
    pool.close()
    assert is_closed(second)
    assert third is not None
    third.close()


def test_idle_pipes_are_bounded() -> None:
    pool = PipePool()
    pipes = [pipe for pipe in (pool.take() for _ in range(40)) if pipe is not None]
    for pipe in pipes:
        pool.give_back(pipe)
    assert sum(not is_closed(pipe) for pipe in pipes) == splice_module.MAX_IDLE_PIPES
    pool.close()


def test_a_pipe_is_as_large_as_granted() -> None:
    pipe = make_pipe()
    assert pipe is not None
    assert pipe.size == PIPE_SIZES[0]
    pipe.close()


def is_closed(pipe: Pipe) -> bool:
    try:
        os.fstat(pipe._read_end)
    except OSError:
        return True
    return False
