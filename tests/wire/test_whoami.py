"""The example server's protocols on real sockets, on both loops."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from streamlb.whoami.echo import TcpEcho, UdpEcho
from streamlb.whoami.http import HttpConversation
from streamlb.whoami.identity import Address, Identity, parse_address, show_peer
from tests.support.http import Client, parse_replies, raw_http
from tests.support.loops import no_descriptor_leak, on_both_loops

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Any

GET = b"GET / HTTP/1.1\r\nHost: a\r\nX-Odd-Case: 1\r\nX-Odd-Case: 2\r\n\r\n"


def some_identity(text: str | None = None) -> Identity:
    return Identity("v1", text, quiet=True, hostname="box")


@asynccontextmanager
async def serving(protocol: Callable[[], asyncio.Protocol]) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with no_descriptor_leak():
        yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def in_thread(work: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, work, *args)


@on_both_loops
async def test_answers_what_it_received_in_the_order_and_spelling_of_the_wire() -> None:
    def client(port: int) -> None:
        with Client(port) as connection:
            connection.sock.sendall(GET)
            first = connection.reply()
            connection.sock.sendall(GET)  # The same bytes again: the remembered answer.
            again = connection.reply()
            host, local_port = connection.sock.getsockname()
        assert first.text.splitlines() == [
            "Name: v1",
            "Hostname: box",
            f"RemoteAddr: {host}:{local_port}",
            "GET / HTTP/1.1",
            "Host: a",
            "X-Odd-Case: 1",
            "X-Odd-Case: 2",
        ]
        assert again.raw == first.raw

    async with serving(lambda: HttpConversation(some_identity())) as port:
        await in_thread(client, port)


@on_both_loops
async def test_the_text_and_nothing_else() -> None:
    async with serving(lambda: HttpConversation(some_identity("Hello | v1"))) as port:
        data = await in_thread(raw_http, port, b"GET /any HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert [reply.body for reply in parse_replies(data)] == [b"Hello | v1\n"]


@on_both_loops
async def test_pipelined_requests_are_answered_in_order_even_behind_a_slow_one() -> None:
    requests = b"".join(
        b"GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n" % (target, fields)
        for target, fields in (
            (b"/1?wait=50ms", b""),
            (b"/2", b""),
            (b"/data?size=200000", b""),
            (b"/3", b"Connection: close\r\n"),
        )
    )
    async with serving(lambda: HttpConversation(some_identity())) as port:
        replies = parse_replies(await in_thread(raw_http, port, requests))
    assert [reply.status for reply in replies] == [200] * 4
    assert [reply.body.split()[-5] for reply in (replies[0], replies[1])] == [b"GET", b"GET"]
    assert len(replies[2].body) == 200_000
    assert b"GET /3 HTTP/1.1" in replies[3].body


@on_both_loops
async def test_api_counts_and_hashes_bodies_of_both_framings() -> None:
    body = bytes(range(256)) * 500
    plain = b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    head = b"POST /api HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    chunked = head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    async with serving(lambda: HttpConversation(some_identity())) as port:
        replies = parse_replies(await in_thread(raw_http, port, plain + chunked))
    for reply in replies:
        facts = json.loads(reply.body)
        assert (facts["bodyLength"], facts["bodySha256"]) == (len(body), hashlib.sha256(body).hexdigest())
        assert facts["headers"][0] == ["Host", "a"]
    assert len(replies) == 2


@on_both_loops
async def test_health_is_set_for_the_whole_server() -> None:
    identity = some_identity()

    def client(port: int) -> list[int]:
        with Client(port) as one, Client(port) as other:
            return [
                one.request("/health").status,
                one.request("/health", method="POST", body=b"503\n").status,
                other.request("/health").status,
                other.request("/").status,
                one.request("/health", method="POST", body=b"abc").status,
                one.request("/health", method="POST", body=b"204").status,
                other.request("/health").status,
            ]

    async with serving(lambda: HttpConversation(identity)) as port:
        assert await in_thread(client, port) == [200, 200, 503, 200, 400, 200, 204]


@on_both_loops
async def test_statuses_have_their_words() -> None:
    def client(port: int) -> list[bytes]:
        lines = []
        with Client(port) as connection:
            for status in (b"200", b"404", b"503", b"299", b"500"):
                connection.request("/health", method="POST", body=status)
                lines.append(connection.request("/health").start_line)
            lines.append(connection.request("/echo", method="POST", body=b"x").start_line)
        return lines

    identity = some_identity()
    async with serving(lambda: HttpConversation(identity)) as port:
        assert await in_thread(client, port) == [
            b"HTTP/1.1 200 OK",
            b"HTTP/1.1 404 Not Found",
            b"HTTP/1.1 503 Service Unavailable",
            b"HTTP/1.1 299 ",
            b"HTTP/1.1 500 Internal Server Error",
            b"HTTP/1.1 200 OK",
        ]


@on_both_loops
async def test_echo_gives_the_body_back_while_it_comes() -> None:
    body = b"0123456789" * 300_000

    async with serving(lambda: HttpConversation(some_identity())) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(body))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(body)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        assert await reader.readexactly(len(body)) == body
        writer.close()
        await writer.wait_closed()


@on_both_loops
async def test_data_waits_for_a_slow_reader() -> None:
    made: list[HttpConversation] = []

    def conversation() -> HttpConversation:
        made.append(HttpConversation(some_identity()))
        return made[-1]

    size = 64 * 1024 * 1024
    async with serving(conversation) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /data?size=%d HTTP/1.1\r\nHost: a\r\n\r\n" % size)
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.05)
        assert made[0]._unsent > 0
        got = 0
        while got < size:
            got += len(await reader.read(1 << 20))
        assert got == size
        writer.write(GET)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 300_000, 431),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"GET /data?size=-1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 400),
    ],
)
@on_both_loops
async def test_nonsense_gets_a_status_and_raises_nothing(request_bytes: bytes, status: int) -> None:
    async with serving(lambda: HttpConversation(some_identity())) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_bytes)
        assert b" %d " % status in await reader.readline()
        writer.close()


@on_both_loops
async def test_a_client_may_leave_at_any_time() -> None:
    async with serving(lambda: HttpConversation(some_identity())) as port:
        for target in (b"/?wait=20ms", b"/data?size=99999999", b"/echo"):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab" % target)
            await asyncio.sleep(0.01)
            writer.transport.abort()


@on_both_loops
async def test_tcp_names_each_line_once_however_it_is_cut() -> None:
    async with serving(lambda: TcpEcho(some_identity())) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in (b"hel", b"lo\nwor", b"ld\n", b"\nrest"):
            writer.write(piece)
            await asyncio.sleep(0.005)
        writer.write_eof()
        assert await reader.read() == b"v1: hello\nv1: world\nv1: \nv1: rest"
        writer.close()
        await writer.wait_closed()


@on_both_loops
async def test_udp_answers_each_datagram() -> None:
    def client(address: tuple[str, int]) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.connect(address)
            for datagram in (b"hello\n", b"", b"x" * 65_507):
                sock.send(datagram)
                assert sock.recv(65_536) == (b"v1: " + datagram)[:65_507]

    loop = asyncio.get_running_loop()
    async with no_descriptor_leak():
        server, _ = await loop.create_datagram_endpoint(lambda: UdpEcho(some_identity()), local_addr=("127.0.0.1", 0))
        await in_thread(client, server.get_extra_info("sockname")[:2])
        server.close()


def test_addresses_as_a_user_writes_them() -> None:
    assert parse_address("127.0.0.1:8081") == Address("127.0.0.1", 8081, "http")
    assert parse_address(":9081/tcp") == Address(None, 9081, "tcp")
    assert parse_address("[::1]:9081/udp") == Address("::1", 9081, "udp")
    assert str(parse_address("[::1]:9081/udp")) == "udp [::1]:9081"
    assert show_peer(None) == "unknown"
    for wrong in ("8081", "a:b", "a:70000", "a:1/quic", "a:"):
        with pytest.raises(ValueError, match=f"^'{wrong}' "):
            parse_address(wrong)
