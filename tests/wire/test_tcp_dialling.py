"""TCP servers that want more than a connection: TLS, PostgreSQL's question, both, after a PROXY header."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest

from streamlb.balance.selection import Server
from streamlb.config.tls import Certificate, ClientTls
from streamlb.net.secure import SecureSocket
from streamlb.net.tasks import spawn
from streamlb.proxy.tcp_dialling import reach
from streamlb.runtime.reach import Reach
from streamlb.wire.opening import SSL_REQUEST
from streamlb.wire.proxy_protocol import SHORTEST_V1
from tests.support.certificates import authority, local_pair
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.tcp import HOST, Choice, Origin, origins, proxying, refusing_port
from tests.support.until import until_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamlb.errors import UpstreamError

Outcome = tuple[Any, "UpstreamError | None"]


def trusting(**options: Any) -> ClientTls:
    return ClientTls(root_cas=[authority().pair.text], **options)


def server_at(port: int, name: str = "localhost", **options: Any) -> Server:
    return Server("s", HOST, port, service="app", tls_name=name, limits=Reach(dial=options.pop("dial", 5.0), **options))


async def reached(server: Server, *, asks_postgres: bool = False) -> Outcome:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Outcome] = loop.create_future()
    reach(loop, server, lambda: (None, None), lambda *outcome: done.set_result(outcome), asks_postgres=asks_postgres)
    assert not done.done()
    return await done


def served(context: ssl.SSLContext, before: Callable[[socket.socket], None] = lambda sock: None) -> Any:
    return functools.partial(_served, context, before)()


@contextlib.contextmanager
def _served(context: ssl.SSLContext, before: Callable[[socket.socket], None]) -> Iterator[tuple[int, list[Any]]]:
    """A server that says good day over TLS; what it has heard, or why it has not."""
    heard: list[Any] = []
    listener = socket.create_server((HOST, 0))
    listener.settimeout(10)

    def run() -> None:
        try:
            sock, _ = listener.accept()
            sock.settimeout(10)
            with sock:
                before(sock)
                with context.wrap_socket(sock, server_side=True) as secure:
                    heard.append(secure.getpeercert())
                    secure.sendall(b"good day")
                    heard.append(secure.recv(100))
                    with contextlib.suppress(OSError):
                        secure.unwrap()
        except OSError as error:
            heard.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield listener.getsockname()[1], heard
    finally:
        thread.join(10)
        listener.close()


def context_for(*, asks: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair = local_pair()
    context.load_cert_chain(pair.certificate, pair.key)
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority().pair.certificate)
    return context


async def greeting(secure: SecureSocket) -> bytes:
    view = memoryview(bytearray(100))
    loop = asyncio.get_running_loop()
    for _ in range(200):
        with contextlib.suppress(BlockingIOError):
            return bytes(view[: secure.recv_into(view)])
        await asyncio.sleep(0.01)
    raise AssertionError(loop)


@on_both_loops
async def test_a_server_that_speaks_first_over_tls() -> None:
    async with no_descriptor_leak():
        with served(context_for()) as (port, heard):
            secure, error = await reached(server_at(port, tls=trusting()))
            assert error is None
            assert isinstance(secure, SecureSocket)
            assert await greeting(secure) == b"good day"
            secure.send(b"thank you")
            secure.close()
            await asyncio.to_thread(lambda: None)
        assert heard[-1] == b"thank you"


@on_both_loops
async def test_we_show_who_we_are() -> None:
    mine = authority().certificate("proxy.example.com")
    shown = [Certificate(cert_file=mine.text, key_file=mine.key.read_text())]
    with served(context_for(asks=True)) as (port, heard):
        secure, error = await reached(server_at(port, tls=trusting(certificates=shown)))
        assert error is None
        assert await greeting(secure) == b"good day"
        secure.send(b"x")
        secure.close()
    assert ("DNS", "proxy.example.com") in heard[0]["subjectAltName"]


@on_both_loops
@pytest.mark.parametrize(
    ("name", "tls", "reason"),
    [
        ("localhost", ClientTls(), "certificate verify failed"),
        ("other.example.com", trusting(), "certificate verify failed: Hostname mismatch"),
        ("localhost", trusting(server_name="other.example.com"), "certificate verify failed: Hostname mismatch"),
        ("other.example.com", trusting(server_name="localhost"), ""),
        ("127.0.0.1", trusting(), ""),
        ("whatever", ClientTls(insecure_skip_verify=True), ""),
    ],
)
async def test_whose_certificate_is_right(name: str, tls: ClientTls, reason: str) -> None:
    async with no_descriptor_leak():
        with served(context_for()) as (port, _):
            secure, error = await reached(server_at(port, name, tls=tls))
            if reason:
                assert error is not None
                assert error.reason.startswith(reason)
            else:
                assert error is None
                secure.close()


@on_both_loops
async def test_a_header_comes_before_the_handshake() -> None:
    said = []
    with served(context_for(), lambda sock: said.append(sock.recv(len(SHORTEST_V1)))) as (port, _):
        secure, error = await reached(server_at(port, tls=trusting(), proxy_version=1))
        assert error is None
        secure.close()
    assert said == [SHORTEST_V1]


@on_both_loops
async def test_a_server_that_does_not_speak_tls() -> None:
    async with no_descriptor_leak():
        with origins() as origin:
            asking = spawn(reached(server_at(origin.port, tls=trusting())), "reach")
            peer = await origin.accept()
            await peer.send(b"220 mail.example.com ESMTP\r\n")
            _, error = await asking
            assert error is not None
            assert error.reason == "the server does not speak TLS"


@on_both_loops
@pytest.mark.parametrize("asks_postgres", [False, True])
async def test_a_server_that_says_nothing(asks_postgres: bool) -> None:
    async with no_descriptor_leak():
        with origins() as origin:
            server = server_at(origin.port, dial=0.2, tls=trusting())
            _, error = await reached(server, asks_postgres=asks_postgres)
            assert error is not None
            assert error.reason in ("the TLS handshake took too long", "PostgreSQL's answer took too long")


@on_both_loops
async def test_a_server_that_cannot_be_reached() -> None:
    _, error = await reached(server_at(refusing_port(), tls=trusting()))
    assert error is not None
    assert error.reason == "connection refused"


# --- PostgreSQL ---


def as_postgres(sock: socket.socket) -> None:
    assert sock.recv(100) == SSL_REQUEST
    sock.sendall(b"S")


@on_both_loops
async def test_postgres_is_asked_before_our_handshake() -> None:
    with served(context_for(), as_postgres) as (port, _):
        secure, error = await reached(server_at(port, tls=trusting()), asks_postgres=True)
        assert error is None
        assert await greeting(secure) == b"good day"
        secure.close()


@on_both_loops
async def test_postgres_is_asked_before_the_client_s_handshake() -> None:
    async with no_descriptor_leak():
        with origins() as origin:
            asking = spawn(reached(server_at(origin.port, ""), asks_postgres=True), "reach")
            peer = await origin.accept()
            assert await peer.recv() == SSL_REQUEST
            await peer.send(b"Smore")
            sock, error = await asking
            assert error is None
            assert sock.recv(100) == b"more"
            sock.close()


async def refuse(origin: Origin, answer: bytes | None) -> None:
    peer = await origin.accept()
    await peer.recv()
    if answer is None:
        peer.reset()
        return
    if answer:
        await peer.send(answer)
    peer.end()


@on_both_loops
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"N", "the server does not speak TLS in PostgreSQL's way"),
        (b"ESFATAL", "the server does not speak TLS in PostgreSQL's way"),
        (b"", "the server does not speak TLS in PostgreSQL's way"),
        (None, "connection reset"),
    ],
)
async def test_postgres_without_tls(answer: bytes | None, reason: str) -> None:
    async with no_descriptor_leak():
        with origins() as origin:
            asking = spawn(reached(server_at(origin.port, ""), asks_postgres=True), "reach")
            await refuse(origin, answer)
            _, error = await asking
            assert error is not None
            assert error.reason == reason


@on_both_loops
@pytest.mark.parametrize("asks_postgres", [False, True])
async def test_who_loses_interest_hears_nothing(asks_postgres: bool) -> None:
    loop = asyncio.get_running_loop()
    async with no_descriptor_leak():
        with origins() as origin:
            heard: list[Any] = []
            server = server_at(origin.port, tls=trusting())
            attempt = reach(
                loop, server, lambda: (None, None), lambda *told: heard.append(told), asks_postgres=asks_postgres
            )
            peer = await origin.accept()
            assert await peer.recv()
            attempt.cancel()
            assert await peer.was_reset() in (True, False)
            assert not heard


# --- in a conversation ---


@on_both_loops
async def test_a_server_that_cannot_shake_hands_is_passed_over() -> None:
    async with no_descriptor_leak():
        with origins() as plain, served(context_for()) as (port, _):
            wrong = server_at(port, "other.example.com", tls=trusting())
            async with proxying(Choice(wrong, plain.server())) as proxy:
                client = await proxy.connect()
                await client.send(b"hello")
                upstream = await plain.accept()
                assert await upstream.recv() == b"hello"
                assert (wrong.state.failures, wrong.state.active) == (1, 0)


@on_both_loops
async def test_a_client_that_leaves_during_the_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlb.proxy.tcp_conversation.PATIENCE", 0.0)
    async with no_descriptor_leak():
        with origins() as origin:
            server = server_at(origin.port, tls=trusting())
            async with proxying(server) as proxy:
                client = await proxy.connect()
                upstream = await origin.accept()
                assert (await upstream.recv())[0] == 0x16
                client.reset()
                await until_async(lambda: not proxy.live)
                assert server.state.active == 0
                assert await upstream.was_reset() in (True, False)


@on_both_loops
async def test_bytes_and_ends_pass_between_a_plain_client_and_a_secure_server() -> None:
    async with no_descriptor_leak():
        with served(context_for()) as (port, heard):
            async with proxying(server_at(port, tls=trusting())) as proxy:
                client = await proxy.connect()
                assert await client.read(8) == b"good day"
                await client.send(b"thank you")
                assert await client.recv() == b""
                client.end()
                await until_async(lambda: not proxy.live)
        assert heard[-1] == b"thank you"
