"""Mirrored TCP: the mirror hears what the client says, and nothing it does is ever noticed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from typing import TYPE_CHECKING, Any

import pytest

import streamlb.proxy.tcp_mirror as mirror_module
from streamlb.balance.selection import Server
from streamlb.config.tls import ClientTls
from streamlb.runtime.reach import Reach
from tests.support.certificates import authority, local_pair, secure_recording
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.tcp import HOST, Choice, Origin, Peer, origins, proxying, refusing_port
from tests.support.until import until_async
from tests.wire.test_tcp import MIB, noise

if TYPE_CHECKING:
    from tests.support.tcp import Proxy


async def converse(proxy: Proxy, main: Origin, size: int = 4 * MIB) -> None:
    """A conversation that must go as if there were no mirror."""
    client = await proxy.connect()
    upstream = await main.accept()
    for number in range(20):
        await client.send(b"question %d" % number)
        assert await upstream.recv() == b"question %d" % number
        await upstream.send(b"answer %d" % number)
        assert await client.recv() == b"answer %d" % number
    up, down = noise(size, b"up")[:size], noise(size, b"down")[:size]
    _, _, got_up, got_down = await asyncio.gather(
        client.send(up), upstream.send(down), upstream.read(size), client.read(size)
    )
    assert got_up == up
    assert got_down == down
    client.end()
    assert await upstream.recv() == b""
    upstream.end()
    assert await client.recv() == b""


@on_both_loops
async def test_the_mirror_hears_everything_and_its_answers_go_nowhere() -> None:
    data = noise(3 * MIB, b"up")[: 3 * MIB]
    async with no_descriptor_leak():
        with origins(2) as (main, shadow):
            mirror = shadow.server()
            async with proxying(Choice(main.server(), mirrors={"shadow": mirror})) as proxy:
                client = await proxy.connect()
                upstream, copy = await main.accept(), await shadow.accept()
                await copy.send(b"I was never asked")
                await client.send(b"hello")
                assert await upstream.read(5) == b"hello"
                assert await copy.read(5) == b"hello"
                await copy.send(b"garbage" * 100_000)
                _, _, got, copied = await asyncio.gather(
                    upstream.send(b"answer"), client.send(data), upstream.read(len(data)), copy.read(len(data))
                )
                assert got == data
                assert copied == data
                client.end()
                assert await upstream.recv() == b""
                assert await copy.recv() == b""
                upstream.end()
                assert await client.read_all() == b"answer"
                assert mirror.state.active == 1
                copy.close()
                await until_async(lambda: proxy.entry.mirrors.sent == 1)
                assert (mirror.state.active, mirror.state.total, mirror.state.failures) == (0, 1, 0)
                assert proxy.entry.mirrors.dropped == 0
                assert proxy.entry.mirrors.pending == 0


@on_both_loops
async def test_a_mirror_that_refuses_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with origins() as main:
        absent = Server("absent", HOST, refusing_port())
        async with no_descriptor_leak(), proxying(Choice(main.server(), mirrors={"absent": absent})) as proxy:
            for _ in range(5):
                await converse(proxy, main, MIB)
            await until_async(lambda: proxy.entry.mirrors.dropped == 5)
            assert absent.state.failures == 5
            for peer in (*main.peers, *proxy.clients):
                peer.close()
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert messages == ["mirror absent: 1 connection(s) not copied: connection refused"]


@on_both_loops
async def test_a_mirror_without_a_server_changes_nothing() -> None:
    with origins() as main:
        choice = Choice(main.server(), mirrors={"nobody": Choice()})  # type: ignore[dict-item]
        async with proxying(choice) as proxy:
            await converse(proxy, main)
            assert proxy.entry.mirrors.dropped == 1


@on_both_loops
async def test_a_mirror_that_resets_changes_nothing() -> None:
    with origins(2) as (main, shadow):
        async with proxying(Choice(main.server(), mirrors={"shadow": shadow.server()})) as proxy:
            conversing = asyncio.gather(converse(proxy, main))
            copy = await shadow.accept()
            await copy.recv()
            copy.reset()
            await conversing
            assert proxy.entry.mirrors.dropped == 1
            assert not proxy.entry.mirrors.copies


@on_both_loops
async def test_a_mirror_that_only_listens_hears_everything() -> None:
    with origins(2) as (main, shadow):
        async with proxying(Choice(main.server(), mirrors={"shadow": shadow.server()})) as proxy:
            client = await proxy.connect()
            upstream, copy = await main.accept(), await shadow.accept()
            copy.end()
            await client.send(b"hello")
            assert await upstream.recv() == b"hello"
            assert await copy.recv() == b"hello"
            client.close()
            upstream.close()
            assert await copy.recv() == b""
            await until_async(lambda: proxy.entry.mirrors.sent == 1)
            assert not proxy.entry.mirrors.copies


@on_both_loops
async def test_a_mirror_that_closes_at_once_changes_nothing() -> None:
    with origins(2) as (main, shadow):
        async with proxying(Choice(main.server(), mirrors={"shadow": shadow.server()})) as proxy:
            conversing = asyncio.gather(converse(proxy, main))
            (await shadow.accept()).close()
            await conversing
            await until_async(lambda: not proxy.entry.mirrors.copies)
            assert proxy.entry.mirrors.pending == 0


@on_both_loops
async def test_a_mirror_that_reads_nothing_is_cut_loose_at_its_limit(caplog: pytest.LogCaptureFixture) -> None:
    with origins(2) as (main, shadow):
        async with proxying(Choice(main.server(), mirrors={"shadow": shadow.server()})) as proxy:
            client = await proxy.connect()
            upstream = await main.accept()
            await shadow.accept()
            most = 0
            chunk = noise(MIB, b"x")[:MIB]
            for _ in range(24):
                _, got = await asyncio.gather(client.send(chunk), upstream.read(MIB))
                assert got == chunk
                most = max(most, proxy.entry.mirrors.pending)
            assert 0 < most <= mirror_module.MAX_COPY_PENDING
            assert proxy.entry.mirrors.dropped == 1
            assert proxy.entry.mirrors.pending == 0
            assert not proxy.entry.mirrors.copies
    assert "mirror shadow: 1 connection(s) not copied: the mirror is too slow" in caplog.text


@on_both_loops
async def test_a_mirror_that_never_answers_the_dial_is_given_up() -> None:
    full = Origin(backlog=0)
    fillers = full.fill()
    with origins() as main:
        choice = Choice(main.server(), mirrors={"full": full.server()})
        async with no_descriptor_leak(), proxying(choice, dial_timeout=0.3) as proxy:
            await converse(proxy, main)
            await until_async(lambda: proxy.entry.mirrors.dropped == 1)
            assert not proxy.entry.mirrors.copies
            for peer in (*main.peers, *proxy.clients):
                peer.close()
    for filler in fillers:
        filler.close()
    full.close()


@on_both_loops
async def test_the_rest_is_delivered_after_the_client_has_gone() -> None:
    data = noise(8 * MIB, b"rest")[: 8 * MIB]
    with origins(2) as (main, shadow):
        async with proxying(Choice(main.server(), mirrors={"shadow": shadow.server()})) as proxy:
            proxy.pipes.max_pipes = 0
            client = await proxy.connect()
            upstream, copy = await main.accept(), await shadow.accept()
            # The mirror falls behind, within its limit, and catches up after the end.
            size = MIB // 2
            sent = 0
            while not proxy.entry.mirrors.pending:
                await asyncio.gather(client.send(data[sent : sent + size]), upstream.read(size))
                sent += size
            client.close()
            assert await upstream.recv() == b""
            upstream.close()
            await until_async(lambda: not proxy.live)
            assert await copy.read_all() == data[:sent]
            copy.close()
            await until_async(lambda: proxy.entry.mirrors.sent == 1)


@on_both_loops
async def test_what_is_pending_goes_first() -> None:
    with origins(2) as (main, shadow):
        async with proxying(Choice(main.server(), mirrors={"shadow": shadow.server()})) as proxy:
            client = await proxy.connect()
            upstream, copy = await main.accept(), await shadow.accept()
            data = noise(8 * MIB, b"order")
            sent = 0
            while not proxy.entry.mirrors.pending:
                await asyncio.gather(client.send(data[sent : sent + 65536]), upstream.read(65536))
                sent += 65536
            heard = bytearray()
            # There is room again, and the next chunk comes before the loop has told the mirror so.
            with contextlib.suppress(BlockingIOError):
                while piece := copy.sock.recv(MIB):
                    heard += piece
            next(iter(proxy.entry.mirrors.copies)).feed(memoryview(b"the last"))
            assert bytes(heard) + await copy.read(sent + 8 - len(heard)) == data[:sent] + b"the last"


@pytest.mark.parametrize("takes", [False, True])
@on_both_loops
async def test_a_mirror_that_never_ends_is_left_after_a_while(takes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_module, "LINGER", 0.1)
    with origins(2) as (main, shadow):
        async with proxying(Choice(main.server(), mirrors={"shadow": shadow.server()})) as proxy:
            client = await proxy.connect()
            upstream, copy = await main.accept(), await shadow.accept()
            if takes:
                await client.send(b"x")
                assert await copy.recv() == b"x"
            else:
                while not proxy.entry.mirrors.pending:
                    await asyncio.gather(client.send(bytes(65536)), upstream.read(65536))
            client.close()
            upstream.close()
            await until_async(lambda: not proxy.entry.mirrors.copies)
            assert (proxy.entry.mirrors.sent, proxy.entry.mirrors.dropped) == ((1, 0) if takes else (0, 1))
            assert proxy.entry.mirrors.pending == 0


@on_both_loops
async def test_a_cut_conversation_cuts_its_copy() -> None:
    with origins(2) as (main, shadow):
        async with proxying(Choice(main.server(), mirrors={"shadow": shadow.server()})) as proxy:
            client = await proxy.connect()
            upstream, copy = await main.accept(), await shadow.accept()
            await client.send(b"half a")
            assert await copy.recv() == b"half a"
            await upstream.recv()
            client.reset()
            assert await copy.was_reset()
            assert not proxy.entry.mirrors.copies


@on_both_loops
async def test_copies_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_module, "MAX_MIRRORS", 3)
    with origins(2) as (main, shadow):
        mirror = shadow.server()
        async with proxying(Choice(main.server(), mirrors={"shadow": mirror})) as proxy:
            for _ in range(5):
                client = await proxy.connect()
                upstream = await main.accept()
                await client.send(b"x")
                assert await upstream.recv() == b"x"
            assert (len(proxy.entry.mirrors.copies), proxy.entry.mirrors.dropped) == (3, 2)
            assert mirror.state.active == 3


@on_both_loops
async def test_a_bug_in_a_mirror_is_logged_and_not_the_clients(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Any, chunk: memoryview) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(mirror_module.TcpMirror, "feed", broken)
    with origins(2) as (main, shadow):
        async with proxying(Choice(main.server(), mirrors={"shadow": shadow.server()})) as proxy:
            await converse(proxy, main, MIB)
    assert "a bug" in caplog.text


@on_both_loops
async def test_two_mirrors_and_one_of_them_slow() -> None:
    data = noise(16 * MIB, b"two")[: 16 * MIB]
    with origins(3) as (main, good, slow):
        mirrors = {"good": good.server(), "slow": slow.server()}
        async with proxying(Choice(main.server(), mirrors=mirrors)) as proxy:
            client = await proxy.connect()
            upstream, copy = await main.accept(), await good.accept()
            await slow.accept()

            async def read(peer: Peer) -> bytes:
                return await peer.read(len(data))

            # Paced, so that the good mirror can follow.
            for start in range(0, len(data), MIB // 2):
                piece = data[start : start + MIB // 2]
                _, got, copied = await asyncio.gather(
                    client.send(piece), upstream.read(len(piece)), copy.read(len(piece))
                )
                assert got == piece
                assert copied == piece
            assert {mirror.name for mirror in proxy.entry.mirrors.copies} == {"good"}


# --- mirrors that want TLS ---------------------------------------------------------------------------------------


def securely(origin_port: int) -> Server:
    tls = ClientTls(root_cas=[authority().pair.text])
    return Server("shadow", HOST, origin_port, service="app", tls_name="localhost", limits=Reach(dial=5.0, tls=tls))


@on_both_loops
async def test_a_mirror_that_wants_tls_hears_everything() -> None:
    data = noise(5 * MIB, b"tls")[: 5 * MIB]
    heard: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"I was never asked" * 1000)
        await asyncio.sleep(0.2)  # Something piles up meanwhile.
        heard.append(await reader.read())
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(local_pair().certificate, local_pair().key)
    shadow = await asyncio.start_server(take, HOST, 0, ssl=context)
    with origins() as main:
        mirror = securely(shadow.sockets[0].getsockname()[1])
        async with proxying(Choice(main.server(), mirrors={"shadow": mirror})) as proxy:
            client = await proxy.connect()
            upstream = await main.accept()
            for at in range(0, len(data), MIB // 2):
                piece = data[at : at + MIB // 2]
                await asyncio.gather(client.send(piece), upstream.read(len(piece)))
                await asyncio.sleep(0.05)
            client.end()
            assert await upstream.recv() == b""
            upstream.end()
            await until_async(lambda: bool(heard))
            assert heard == [data]
            await until_async(lambda: not proxy.entry.mirrors.copies)
            assert (proxy.entry.mirrors.sent, proxy.entry.mirrors.dropped) == (1, 0)
    shadow.close()


@on_both_loops
async def test_a_mirror_that_shows_a_wrong_certificate_is_nobody_s_trouble() -> None:
    with origins() as main, secure_recording(authority().certificate("other.example.com")) as shadow:
        service = Choice(main.server(), mirrors={"shadow": securely(shadow.port)})
        async with proxying(service) as proxy:
            await converse(proxy, main, MIB)
            await until_async(lambda: proxy.entry.mirrors.dropped == 1)
