"""TLS ended at the door for TCP routers: what is inside goes to servers that know nothing of TLS; PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from typing import Any

from streamlb.config.tls import AcceptedProxyProtocol, ClientAuth, RouterTls, TlsOptions
from streamlb.net.poller import poller_of
from streamlb.net.tasks import spawn
from tests.support.certificates import authority, local_pair
from tests.support.door import HOST, config, opened
from tests.support.http import ok, recording
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.tcp import Origin, origins
from tests.support.tls import trusting
from tests.support.until import until_async
from tests.wire.test_door_https import TIMEOUT, Visitor, tls
from tests.wire.test_door_https import beside as in_a_thread

SSL_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x2f"
STARTUP = b"\0\0\0\x09\0\x03\0\0\0"


async def echo(origin: Origin) -> None:
    """Serve the next connection: say what is heard until it ends; a client that says no goodbye is a reset."""
    server = await origin.accept()
    with contextlib.suppress(ConnectionResetError):
        while heard := await server.recv():
            await server.send(heard)
        server.end()


@on_both_loops
async def test_a_server_that_knows_nothing_of_tls() -> None:
    body = bytes(range(256)) * 4096
    with origins() as db:
        made = config({}, {"db": ("HostSNI(`localhost`)", db.port, RouterTls())}, tls=tls())
        poller_of(asyncio.get_running_loop())
        async with opened(made) as door:
            echoing = spawn(echo(db), "an echo")

            def visit() -> None:
                with Visitor(door) as visitor:
                    sock = visitor.sock
                    assert sock.selected_alpn_protocol() is None
                    sender = threading.Thread(target=sock.sendall, args=(body,))
                    sender.start()
                    got = b""
                    while len(got) < len(body):
                        got += sock.recv(65536)
                    sender.join()
                    assert got == body
                    sock.unwrap()

            await in_a_thread(visit)
            await echoing
            await until_async(lambda: not door.live)


@on_both_loops
async def test_a_server_that_speaks_first() -> None:
    with origins() as mail:
        made = config({}, {"mail": ("HostSNI(`*`)", mail.port, RouterTls())}, tls=tls())
        async with opened(made) as door:

            async def greet() -> None:
                server = await mail.accept()
                await server.send(b"220 hello")

            greeting = spawn(greet(), "a greeting")

            def visit() -> bytes:
                with Visitor(door) as visitor:
                    return visitor.sock.recv(100)

            assert await in_a_thread(visit) == b"220 hello"
            await greeting


@on_both_loops
async def test_options_are_the_routers_own() -> None:
    auth = ClientAuth(ca_files=[authority().pair.text], client_auth_type="RequireAndVerifyClientCert")
    options = TlsOptions(client_auth=auth, alpn_protocols=["imap", "h2"], max_version="VersionTLS12")
    with origins() as db:
        made = config({}, {"db": ("HostSNI(`*`)", db.port, RouterTls(options="mutual"))}, tls=tls(mutual=options))
        async with opened(made) as door:
            echoing = spawn(echo(db), "an echo")

            def visit() -> None:
                with Visitor(door, shown=local_pair(), protocols=("h2",)) as visitor:
                    assert visitor.sock.selected_alpn_protocol() == "h2"
                    assert visitor.sock.version() == "TLSv1.2"
                    visitor.sock.sendall(b"hello")
                    assert visitor.sock.recv(100) == b"hello"
                try:
                    Visitor(door)
                except ssl.SSLError:
                    return
                raise AssertionError("a stranger got in")

            await in_a_thread(visit)
            await echoing


@on_both_loops
async def test_beside_https_the_narrower_rule_wins() -> None:
    with origins() as db, recording(ok(b"web")) as web:
        made = config(
            {"web": ("PathPrefix(`/`)", web.port, RouterTls())},
            {"db": ("HostSNI(`localhost`)", db.port, RouterTls()), "rest": ("HostSNI(`*`)", 1, RouterTls())},
            tls=tls(),
        )
        async with opened(made) as door:
            echoing = spawn(echo(db), "an echo")

            def visit() -> None:
                with Visitor(door) as visitor:
                    visitor.sock.sendall(b"hello")
                    assert visitor.sock.recv(100) == b"hello"
                with Visitor(door, "other.com", verify=False) as visitor:
                    assert visitor.ask("other.com") == (200, b"web")

            await in_a_thread(visit)
            await echoing


@on_both_loops
async def test_nobody_is_there() -> None:
    poller_of(asyncio.get_running_loop())
    made = config({}, {"db": ("HostSNI(`*`)", 1, RouterTls())}, tls=tls())
    async with no_descriptor_leak(), opened(made) as door:

        def visit() -> bytes:
            with Visitor(door) as visitor:
                return visitor.sock.recv(100)

        assert await in_a_thread(visit) == b""
        await until_async(lambda: not door.live)


# --- PostgreSQL --------------------------------------------------------------------------------------------------


def ask_postgres(port: int) -> ssl.SSLSocket:
    """As its clients do: ask, then shake hands."""
    raw = socket.create_connection((HOST, port), TIMEOUT)
    raw.sendall(SSL_REQUEST)
    assert raw.recv(1) == b"S"
    return trusting().wrap_socket(raw, server_hostname="localhost")


@on_both_loops
async def test_postgres_with_tls_ended_here() -> None:
    with origins() as db:
        made = config({}, {"db": ("HostSNI(`localhost`)", db.port, RouterTls())}, tls=tls())
        async with opened(made) as door:
            echoing = spawn(echo(db), "an echo")

            def visit() -> None:
                with ask_postgres(door.port) as sock:
                    sock.sendall(STARTUP)
                    assert sock.recv(100) == STARTUP

            await in_a_thread(visit)
            await echoing


@on_both_loops
async def test_postgres_passed_through() -> None:
    with origins() as db:
        made = config({}, {"db": ("HostSNI(`localhost`)", db.port, RouterTls(passthrough=True))})
        async with opened(made) as door:

            async def serve() -> bytes:
                server = await db.accept()
                assert await server.read(8) == SSL_REQUEST
                await server.send(b"S")
                return await server.read(3)

            serving = spawn(serve(), "a server")

            def visit() -> None:
                try:
                    ask_postgres(door.port)
                except OSError:
                    return

            visiting = spawn(asyncio.to_thread(visit), "a visitor")
            assert await serving == b"\x16\x03\x01"
            db.peers[0].close()
            await visiting


@on_both_loops
async def test_postgres_that_has_no_tls() -> None:
    with origins() as db:
        made = config({}, {"db": ("HostSNI(`localhost`)", db.port, RouterTls(passthrough=True))})
        async with opened(made) as door:

            async def serve() -> None:
                server = await db.accept()
                assert await server.read(8) == SSL_REQUEST
                await server.send(b"N")

            serving = spawn(serve(), "a server")

            def visit() -> bool:
                try:
                    ask_postgres(door.port)
                except OSError:
                    return True
                return False

            assert await in_a_thread(visit)
            await serving


@on_both_loops
async def test_who_the_client_is_goes_on_to_the_middle_of_it() -> None:
    """A PROXY header comes before PostgreSQL's question, and before TLS."""
    with origins() as db:
        rules: Any = {"db": ("ClientIP(`192.0.2.7`)", db.port, RouterTls())}
        made = config({}, rules, tls=tls(), proxy_protocol=AcceptedProxyProtocol(insecure=True))
        async with opened(made) as door:
            echoing = spawn(echo(db), "an echo")

            def visit() -> None:
                raw = socket.create_connection((HOST, door.port), TIMEOUT)
                raw.sendall(b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n" + SSL_REQUEST)
                assert raw.recv(1) == b"S"
                with trusting().wrap_socket(raw, server_hostname="localhost") as sock:
                    sock.sendall(STARTUP)
                    assert sock.recv(100) == STARTUP

            await in_a_thread(visit)
            await echoing
