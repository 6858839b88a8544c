"""Tunnels past the transports: bulk, little words, ends and resets."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.support.loops import on_both_loops
from tests.support.splicing import MIB, SWITCH, UPGRADE, head_of, noise, stage


@on_both_loops
async def test_a_tunnel_both_ways_then_little_words_then_a_half_close(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 24 * MIB
    async with stage(monkeypatch) as here:
        client, server = await here.asked(UPGRADE)
        await server.send(SWITCH)
        await head_of(client)
        _, _, up, down = await asyncio.gather(
            client.send(noise(size)), server.send(noise(size)), server.read(size), client.read(size)
        )
        assert up == down == noise(size)
        assert here.spliced > size
        assert here.bypasses == 2
        for number in range(100):
            word = b"%03d" % number
            await client.send(word)
            assert await server.read(3) == word
            await server.send(word)
            assert await client.read(3) == word
        assert here.bypasses == 0
        await asyncio.gather(client.send(noise(size)), server.read(size))
        assert here.bypasses == 1
        client.end()
        assert await server.recv() == b""
        await asyncio.gather(server.send(noise(size)), client.read(size))
        server.end()
        assert await client.recv() == b""
        await here.over()


@pytest.mark.parametrize("who", ["client", "server"])
@on_both_loops
async def test_a_reset_in_a_spliced_tunnel(monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    async with stage(monkeypatch) as here:
        client, server = await here.asked(UPGRADE)
        await server.send(SWITCH)
        await head_of(client)
        size = 4 * MIB
        await asyncio.gather(client.send(noise(size)), server.send(noise(size)), server.read(size), client.read(size))
        assert here.bypasses == 2
        if who == "client":
            client.reset()
            with contextlib.suppress(ConnectionResetError):
                assert await server.recv() == b""
        else:
            server.reset()
            assert await client.was_reset()
        await here.over()


@on_both_loops
async def test_what_a_leaving_client_said_in_a_tunnel_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 16 * MIB
    async with stage(monkeypatch) as here:
        client, server = await here.asked(UPGRADE)
        await server.send(SWITCH)
        await head_of(client)

        async def say() -> None:
            await client.send(noise(size))
            client.close()

        _, heard = await asyncio.gather(say(), server.read_all())
        assert heard == noise(size)
        server.close()
        await here.over()
