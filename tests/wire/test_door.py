"""The door: whose a connection is, found out byte by byte, with every fault on the way."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

import pytest

from streamlb.config.tls import AcceptedProxyProtocol, RouterTls
from streamlb.net.poller import poller_of
from streamlb.proxy import door as door_module
from tests.support.door import config, opened
from tests.support.http import ok, recording
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.tcp import Origin, Peer, origins
from tests.support.until import until_async
from tests.unit.wire.test_opening import client_hello

THROUGH = RouterTls(passthrough=True)
PROXY = AcceptedProxyProtocol(insecure=True)
HEADER = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n"
GET = b"GET /x HTTP/1.1\r\nHost: a.com\r\nConnection: close\r\n\r\n"
SSL_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x2f"


async def said(peer: Peer) -> bytes:
    """All that comes, whatever ends it."""
    out = b""
    try:
        while piece := await asyncio.wait_for(peer.recv(), 5):
            out += piece
    except ConnectionResetError:
        pass
    return out


async def greets(origin: Origin, words: bytes) -> bytes:
    """The next connection of a server gets through to it, and an answer back."""
    server = await asyncio.wait_for(origin.accept(), 5)
    heard = await server.read(len(words)) if words else b""
    await server.send(b"hello")
    return heard


# --- passthrough -------------------------------------------------------------------------------------------------


@on_both_loops
async def test_a_handshake_goes_to_whom_it_names() -> None:
    poller_of(asyncio.get_running_loop())
    async with no_descriptor_leak():
        with origins(2) as (db, rest):
            rules: Any = {"db": ("HostSNI(`db.com`)", db.port, THROUGH), "rest": ("HostSNI(`*`)", rest.port, THROUGH)}
            async with opened(config({}, rules)) as door:
                for name, origin in (("db.com", db), ("DB.com", db), ("other.com", rest), (None, rest)):
                    hello = client_hello(name)
                    peer = await door.connect(hello)
                    assert await greets(origin, hello) == hello
                    assert await peer.read(5) == b"hello"


@on_both_loops
async def test_a_handshake_in_single_bytes() -> None:
    hello = client_hello("db.com")
    with origins() as db:
        rules: Any = {"db": ("HostSNI(`db.com`)", db.port, THROUGH)}
        async with opened(config({}, rules)) as door:
            peer = await door.connect()
            for place in range(len(hello)):
                await peer.send(hello[place : place + 1])
                if place % 16 == 0:
                    await asyncio.sleep(0)
            assert await greets(db, hello) == hello


@on_both_loops
async def test_a_partial_handshake_keeps_nobody_busy() -> None:
    with origins() as db:
        rules: Any = {"db": ("HostSNI(`db.com`)", db.port, THROUGH)}
        async with opened(config({}, rules)) as door:
            looks = []
            original = door_module.Newcomer.look

            def look(self: Any, events: int = 0) -> None:
                looks.append(events)
                original(self, events)

            with mock.patch.object(door_module.Newcomer, "look", look):
                await door.connect(client_hello("db.com")[:100])
                await asyncio.sleep(0.2)
            assert 1 <= len(looks) <= 3


@on_both_loops
async def test_nobody_wants_it() -> None:
    with origins() as db:
        rules: Any = {"db": ("HostSNI(`db.com`)", db.port, THROUGH)}
        async with opened(config({}, rules)) as door:
            peer = await door.connect(client_hello("other.com"))
            assert await asyncio.wait_for(peer.read_all(), 5) == b"\x15\x03\x01\x00\x02\x02\x70"


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (b"\x16\x03\x01\x00\x00", b"\x15\x03\x01\x00\x02\x02\x0a"),  # an empty record
        (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", b"\x15\x03\x01\x00\x02\x02\x0a"),  # a ServerHello
        (b"\x16\x03\x01\x40\x01\x01\xff\xff\xff", b"\x15\x03\x01\x00\x02\x02\x16"),  # too long
        (b"\x80\x2e\x01\x03\x01", b"\x15\x03\x01\x00\x02\x02\x46"),  # SSL 2
        (b"anything else", b""),
    ],
)
@on_both_loops
async def test_what_is_no_handshake(words: bytes, answer: bytes) -> None:
    async with opened(config({}, {"db": ("HostSNI(`*`)", 1, THROUGH)})) as door:
        assert await said(await door.connect(words)) == answer
        await until_async(lambda: not door.live)


@on_both_loops
async def test_half_a_handshake_and_then_nothing() -> None:
    poller_of(asyncio.get_running_loop())
    async with no_descriptor_leak(), opened(config({}, {"db": ("HostSNI(`*`)", 1, THROUGH)}, patience=0.2)) as door:
        mute, half = await door.connect(), await door.connect(client_hello()[:50])
        assert await said(mute) == b""
        assert await said(half) == b""
        leaving = await door.connect(client_hello()[:50])
        await until_async(lambda: door.live == 1)
        leaving.end()
        assert await said(leaving) == b""
        gone = await door.connect(client_hello()[:50])
        await until_async(lambda: door.live == 1)
        gone.reset()
        await until_async(lambda: not door.live)


@on_both_loops
async def test_the_oldest_make_room() -> None:
    made = config({}, {"db": ("HostSNI(`*`)", 1, THROUGH)})
    with mock.patch.object(door_module, "MAX_NEWCOMERS", 3):
        async with opened(made) as door:
            first, *others = [await door.connect() for _ in range(4)]
            assert await said(first) == b""
            assert door.live == len(others)


@on_both_loops
async def test_a_drain_does_not_wait_long_for_who_has_not_begun() -> None:
    async with opened(config({}, {"db": ("HostSNI(`*`)", 1, THROUGH)})) as door:
        peer = await door.connect(client_hello()[:50])
        await until_async(lambda: door.live == 1)
        assert await asyncio.wait_for(door.serving.drain(), 5) == 0
        assert await said(peer) == b""


# --- in the clear, beside TLS ------------------------------------------------------------------------------------


@on_both_loops
async def test_a_server_that_speaks_first() -> None:
    """Where TLS is spoken too, its clients are waited for a while."""
    with origins(2) as (mail, db):
        rules: Any = {"mail": ("HostSNI(`*`)", mail.port), "db": ("HostSNI(`db.com`)", db.port, THROUGH)}
        async with opened(config({}, rules)) as door:
            silent = await door.connect()
            await greets(mail, b"")
            assert await silent.read(5) == b"hello"
            hello = client_hello("db.com")
            await door.connect(hello)
            assert await greets(db, hello) == hello
            await door.connect(b"EHLO")
            assert await greets(mail, b"EHLO") == b"EHLO"


@on_both_loops
async def test_without_tls_nobody_waits() -> None:
    with origins() as mail:
        async with opened(config({}, {"mail": ("HostSNI(`*`)", mail.port)})) as door:
            with mock.patch("streamlb.proxy.newcomer.SILENCE", 60.0):
                silent = await door.connect()
                await greets(mail, b"")
                assert await silent.read(5) == b"hello"


@on_both_loops
async def test_http_beside_tls() -> None:
    with recording(ok(b"web")) as web, origins() as db:
        made = config({"web": ("PathPrefix(`/`)", web.port)}, {"db": ("HostSNI(`db.com`)", db.port, THROUGH)})
        async with opened(made) as door:
            assert (await said(await door.connect(GET))).endswith(b"\r\n\r\nweb")
            slow = await door.connect(GET[:1])
            await asyncio.sleep(0.3)
            await slow.send(GET[1:])
            assert (await said(slow)).endswith(b"\r\n\r\nweb")


@on_both_loops
async def test_http_spoken_to_https() -> None:
    async with opened(config({"web": ("PathPrefix(`/`)", 1, RouterTls())})) as door:
        answer = await said(await door.connect(GET))
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.endswith(b"this port speaks HTTPS\n")


# --- PostgreSQL --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [1, 3, 8])
@on_both_loops
async def test_a_request_for_encryption_is_answered(pieces: int) -> None:
    async with opened(config({}, {"db": ("HostSNI(`db.com`)", 1, THROUGH)})) as door:
        peer = await door.connect()
        for place in range(0, 8, 8 // pieces):
            await peer.send(SSL_REQUEST[place : place + 8 // pieces])
            await asyncio.sleep(0.01)
        assert await peer.read(1) == b"S"
        await peer.send(client_hello("other.com"))
        assert await said(peer) == b"\x15\x03\x01\x00\x02\x02\x70"


@on_both_loops
async def test_another_encryption_is_declined_first() -> None:
    async with opened(config({}, {"db": ("HostSNI(`db.com`)", 1, THROUGH)})) as door:
        peer = await door.connect(SSL_REQUEST[:-1] + b"\x30")
        assert await peer.read(1) == b"N"
        await peer.send(SSL_REQUEST)
        assert await peer.read(1) == b"S"
        again = await door.connect((SSL_REQUEST[:-1] + b"\x30") * 5)
        assert await said(again) == b"NN"


@on_both_loops
async def test_what_was_asked_for_must_follow() -> None:
    with origins() as plain:
        made = config({}, {"db": ("HostSNI(`db.com`)", 1, THROUGH), "plain": ("HostSNI(`*`)", plain.port)})
        async with opened(made) as door:
            assert await said(await door.connect(SSL_REQUEST + b"something else")) == b"S"
            part = await door.connect(SSL_REQUEST[:5])
            await greets(plain, SSL_REQUEST[:5])
            assert await part.read(5) == b"hello"


@on_both_loops
async def test_a_server_is_asked_as_we_were() -> None:
    with origins() as db:
        async with opened(config({}, {"db": ("HostSNI(`db.com`)", db.port, THROUGH)})) as door:
            peer = await door.connect(SSL_REQUEST)
            assert await peer.read(1) == b"S"
            hello = client_hello("db.com")
            await peer.send(hello)
            server = await db.accept()
            assert await server.read(8) == SSL_REQUEST
            await server.send(b"S")
            assert await server.read(len(hello)) == hello
            await server.send(b"\x16\x03\x03 hello of the server")
            assert (await peer.recv()).endswith(b"hello of the server")


@on_both_loops
async def test_a_server_that_declines_ends_it() -> None:
    with origins() as db:
        async with opened(config({}, {"db": ("HostSNI(`db.com`)", db.port, THROUGH)})) as door:
            peer = await door.connect(SSL_REQUEST)
            assert await peer.read(1) == b"S"
            await peer.send(client_hello("db.com"))
            server = await db.accept()
            assert await server.read(8) == SSL_REQUEST
            await server.send(b"N")
            assert await peer.was_reset()


# --- the PROXY protocol ------------------------------------------------------------------------------------------


@on_both_loops
async def test_http_behind_a_proxy() -> None:
    with recording(ok(b"web")) as web:
        made = config({"web": ("ClientIP(`192.0.2.7`)", web.port)}, proxy_protocol=PROXY)
        poller_of(asyncio.get_running_loop())
        async with no_descriptor_leak(), opened(made) as door:
            assert (await said(await door.connect(HEADER + GET))).endswith(b"web")
            slow = await door.connect()
            for byte in HEADER + GET:
                await slow.send(bytes((byte,)))
            assert (await said(slow)).endswith(b"web")
            assert b" 404 " in await said(await door.connect(GET))
        assert [each.value("x-forwarded-for") for each in web.requests] == [b"192.0.2.7"] * 2
        assert [each.value("x-real-ip") for each in web.requests] == [b"192.0.2.7"] * 2


@on_both_loops
async def test_tcp_behind_a_proxy() -> None:
    with origins(2) as (known, stranger):
        rules: Any = {"known": ("ClientIP(`192.0.2.0/24`)", known.port), "stranger": ("HostSNI(`*`)", stranger.port)}
        async with opened(config({}, rules, proxy_protocol=PROXY)) as door:
            await door.connect(HEADER + b"hello")
            assert await greets(known, b"hello") == b"hello"
            await door.connect(HEADER)
            await greets(known, b"")
            await door.connect(b"hello")
            assert await greets(stranger, b"hello") == b"hello"
            await door.connect(b"PROXY UNKNOWN\r\nhello")
            assert await greets(stranger, b"hello") == b"hello"
            await door.connect()
            await greets(stranger, b"")


@on_both_loops
async def test_tls_behind_a_proxy() -> None:
    hello = client_hello("db.com")
    with origins() as db:
        rules: Any = {"db": ("HostSNI(`db.com`) && ClientIP(`192.0.2.7`)", db.port, THROUGH)}
        async with opened(config({}, rules, proxy_protocol=PROXY)) as door:
            await door.connect(HEADER + hello)
            assert await greets(db, hello) == hello
            assert await said(await door.connect(hello)) == b"\x15\x03\x01\x00\x02\x02\x70"


@on_both_loops
async def test_whose_word_is_not_taken() -> None:
    stranger = AcceptedProxyProtocol(trusted_ips=["10.0.0.0/8"])
    with recording(ok(b"web")) as web:
        async with opened(config({"web": ("PathPrefix(`/`)", web.port)}, proxy_protocol=stranger)) as door:
            assert (await said(await door.connect(HEADER + GET))).endswith(b"web")
        assert web.requests[0].value("x-forwarded-for") == b"127.0.0.1"


@pytest.mark.parametrize(
    "words",
    [
        b"PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n" + GET,
        b"PROXY " + b"x" * 200,
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0" + GET,
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff" + GET,
    ],
)
@on_both_loops
async def test_a_header_that_is_none(words: bytes) -> None:
    async with opened(config({"web": ("PathPrefix(`/`)", 1)}, proxy_protocol=PROXY)) as door:
        assert await said(await door.connect(words)) == b""
        await until_async(lambda: not door.live)


@on_both_loops
async def test_a_header_that_never_ends() -> None:
    made = config({"web": ("PathPrefix(`/`)", 1)}, proxy_protocol=PROXY, patience=0.2)
    async with opened(made) as door:
        assert await said(await door.connect(b"PROXY TCP4 192")) == b""
        assert await said(await door.connect()) == b""
        leaving = await door.connect(b"PROXY TCP4 192")
        leaving.end()
        assert await said(leaving) == b""
