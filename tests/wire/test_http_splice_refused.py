"""Large bodies where splicing is refused, or would be wrong: they are copied, and nobody notices."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

import streamlb.net.splice as splice_module
from streamlb.config.static import ServersTransport
from streamlb.net.poller import Poller
from streamlb.proxy.pump import workshop
from tests.support.certificates import authority, secure_recording
from tests.support.engine import mirrored, off_loop, secure
from tests.support.http import Client, ok, recording
from tests.support.loops import on_both_loops
from tests.support.splicing import MIB, Stage, answer, answered, head_of, noise, post, stage
from tests.support.tcp import Origin
from tests.support.until import until_async

if TYPE_CHECKING:
    from collections.abc import Callable


async def deliver(here: Stage) -> None:
    size = 6 * MIB
    client, server = await here.asked(post(size))
    _, received = await asyncio.gather(client.send(noise(size)), server.read(size))
    assert received == noise(size)
    _, received = await asyncio.gather(server.send(answer(size) + noise(size)), answered(client, size))
    assert received == noise(size)
    assert here.engine.idle == 1


@on_both_loops
async def test_no_pipes_no_splicing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice_module, "make_pipe", lambda: None)
    async with stage(monkeypatch) as here:
        await deliver(here)
        assert not here.moved


@pytest.mark.parametrize("limit", [0, 1])
@on_both_loops
async def test_as_many_pipes_as_we_allow(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(splice_module, "MAX_PIPES", limit)
    async with stage(monkeypatch) as here:
        workshop(asyncio.get_running_loop()).pipes.max_pipes = limit
        await asyncio.gather(deliver(here), return_exceptions=False)
        assert (here.spliced > 0) is (limit > 0)


def failing(number: int, after: int) -> Callable[..., int]:
    """A splice(2) that is refused after some calls."""
    calls = iter(range(1 << 30))
    real = os.splice

    def call(*args: Any, **options: Any) -> int:
        if next(calls) < after:
            return real(*args, **options)
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("after", [0, 1, 4, 5], ids=str)
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EPERM], ids=["EINVAL", "EPERM"])
@on_both_loops
async def test_a_splice_that_is_refused(monkeypatch: pytest.MonkeyPatch, number: int, after: int) -> None:
    monkeypatch.setattr(os, "splice", failing(number, after))
    async with stage(monkeypatch) as here:
        await deliver(here)


@on_both_loops
async def test_no_descriptors_no_splicing(monkeypatch: pytest.MonkeyPatch) -> None:
    def dup(_descriptor: int) -> int:
        raise OSError(errno.EMFILE, "no more")

    monkeypatch.setattr(os, "dup", dup)
    async with stage(monkeypatch) as here:
        await deliver(here)
        assert not here.moved


@on_both_loops
async def test_a_kernel_that_watches_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    add, calls = Poller.add, iter(range(1 << 30))

    def refuse(poller: Poller, fd: int, events: int, on_ready: Callable[[int], object]) -> None:
        if next(calls) % 2:
            raise OSError(errno.ENOSPC, "no more")
        add(poller, fd, events, on_ready)

    monkeypatch.setattr(Poller, "add", refuse)
    async with stage(monkeypatch) as here:
        await deliver(here)


@on_both_loops
async def test_a_mirrored_request_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 2 * MIB
    with recording() as mirror:
        main = Origin()
        async with stage(monkeypatch, services=mirrored(main.port, mirror.port)) as here:
            client = await here.connect()
            await client.send(post(size))
            server = await main.accept()
            await head_of(server)
            await asyncio.gather(client.send(noise(size)), server.read(size))
            await until_async(lambda: mirror.requests)
            assert mirror.requests[0].body == noise(size)
            assert not here.moved
            main.close()


@on_both_loops
async def test_under_tls_bodies_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    body = noise(3 * MIB)

    def visit(port: int) -> bytes:
        with Client(port) as client:
            return client.request(method="POST", body=body).body

    with secure_recording(None, lambda request: ok(request.body)) as origin:
        transport = ServersTransport(root_cas=[authority("one").pair.text])
        async with stage(monkeypatch, services={"app": secure(origin.port)}, transport=transport) as here:
            assert await off_loop(visit, here.engine.port) == body
            assert not here.moved
