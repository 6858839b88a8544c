"""Servers that speak TLS: who is trusted, what is kept, what is told when it fails."""

from __future__ import annotations

import logging
import socket
import ssl
import struct
from typing import Any

import pytest

from streamlb.config.static import ForwardingTimeouts, ServersTransport
from streamlb.config.tls import Certificate
from tests.support.certificates import authority, local_pair, secure_recording
from tests.support.engine import beside, http_engine, off_loop, secure
from tests.support.http import After, Client, http_get, ok, raw_http, recording
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.until import until_async

LAST_GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
LAST_POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
MIB = 1 << 20


def trusting(name: str = "one", *, dial: float = 5.0, head: float = 5.0, read: float = 0.0, **options: Any) -> Any:
    """A transport that trusts the test's authority."""
    timeouts = ForwardingTimeouts(dial_timeout=dial, response_header_timeout=head, read_timeout=read)
    return ServersTransport(root_cas=[authority(name).pair.text], forwarding_timeouts=timeouts, **options)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    return [line.partition(": server ")[2].partition(": ")[2] for line in lines]


# --- as it should be -----------------------------------------------------------------------------------------------


@on_both_loops
async def test_a_server_whose_certificate_is_right_is_asked_and_its_connection_kept() -> None:
    with secure_recording() as origin:
        services = {"app": secure(origin.port)}
        async with no_descriptor_leak(), http_engine(services=services, transport=trusting()) as engine:

            def ask() -> list[bytes]:
                with Client(engine.port) as client:
                    return [client.request().body for _ in range(5)]

            for _ in range(3):
                assert await off_loop(ask) == [b"ok\n"] * 5
            assert engine.idle == 1
        assert origin.connections == 1
        assert len(origin.requests) == 15
        assert origin.handshakes == [("TLSv1.3", "http/1.1")]
        assert origin.names == ["localhost"]
        assert origin.failures == []


@on_both_loops
async def test_an_address_has_no_name_to_ask_for_but_one_to_verify() -> None:
    with secure_recording() as origin:
        services = {"app": secure(origin.port, host="127.0.0.1")}
        async with http_engine(services=services, transport=trusting()) as engine:
            assert (await off_loop(http_get, engine.port)).status == 200
        assert origin.names == [None]


@on_both_loops
async def test_the_name_of_the_certificate_may_be_another_than_the_url_s() -> None:
    with secure_recording(authority().certificate("app.internal")) as origin:
        services = {"app": secure(origin.port)}
        async with http_engine(services=services, transport=trusting(server_name="app.internal")) as engine:
            assert (await off_loop(http_get, engine.port)).status == 200
        assert origin.names == ["app.internal"]


@on_both_loops
async def test_each_service_has_its_own_transport() -> None:
    with secure_recording(authority("two").certificate("localhost")) as origin:
        services = {"app": secure(origin.port, servers_transport="two")}
        transports = {"one": trusting("one"), "two": trusting("two")}
        async with http_engine(services=services, transports=transports) as engine:
            assert (await off_loop(http_get, engine.port)).status == 200


@on_both_loops
async def test_large_bodies_pass_both_ways_and_a_slow_server_holds_the_client_back() -> None:
    answer = ok(b"a" * (8 * MIB))
    with secure_recording(None, [0.2, answer]) as origin:
        services = {"app": secure(origin.port)}
        async with http_engine(services=services, transport=trusting()) as engine:

            def ask() -> bytes:
                with Client(engine.port) as client:
                    return client.request(method="POST", body=b"b" * (8 * MIB)).body

            assert await off_loop(ask) == b"a" * (8 * MIB)
        assert origin.requests[0].body == b"b" * (8 * MIB)


@on_both_loops
async def test_a_server_may_want_to_see_a_certificate() -> None:
    shown = authority("clients").certificate("client")
    certificate = Certificate(cert_file=shown.text, key_file=shown.key.read_text())
    with secure_recording(clients=authority("clients")) as origin:
        services = {"app": secure(origin.port)}
        async with http_engine(services=services, transport=trusting(certificates=[certificate])) as engine:
            assert (await off_loop(http_get, engine.port)).status == 200
        assert len(origin.requests) == 1


@on_both_loops
async def test_a_self_signed_certificate_can_be_named_as_its_own_authority() -> None:
    own = authority().self_signed("localhost")
    with secure_recording(own) as origin:
        transport = ServersTransport(root_cas=[own.text])
        async with http_engine(services={"app": secure(origin.port)}, transport=transport) as engine:
            assert (await off_loop(http_get, engine.port)).status == 200


@on_both_loops
async def test_a_web_socket_passes() -> None:
    head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello"
    upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    with secure_recording(None, [head, 0.1, b" and bye", After.CLOSE]) as origin:
        async with http_engine(services={"app": secure(origin.port)}, transport=trusting()) as engine:
            received = await off_loop(raw_http, engine.port, upgrade)
            assert received.endswith(b"\r\n\r\nhello and bye")


@on_both_loops
async def test_a_tunnel_s_client_may_shut_its_side_though_tls_cannot() -> None:
    head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    with secure_recording(None, [head, 0.3, b"late", After.CLOSE]) as origin:
        async with http_engine(services={"app": secure(origin.port)}, transport=trusting()) as engine:

            def ask() -> bytes:
                with socket.create_connection(("127.0.0.1", engine.port), 5) as sock:
                    sock.sendall(upgrade)
                    received = sock.recv(1000)
                    sock.shutdown(socket.SHUT_WR)
                    while piece := sock.recv(1000):
                        received += piece
                    return received

            assert (await off_loop(ask)).endswith(b"\r\n\r\nlate")


# --- who is not trusted --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (lambda: authority().self_signed("localhost"), "certificate verify failed: self-signed certificate"),
        (
            lambda: authority("two").certificate("localhost"),
            "certificate verify failed: unable to get local issuer certificate",
        ),
        (
            lambda: authority().certificate("localhost", days=-1),
            "certificate verify failed: certificate has expired",
        ),
        (
            lambda: authority().certificate("other.test"),
            "certificate verify failed: Hostname mismatch, certificate is not valid for 'localhost'",
        ),
    ],
    ids=["self-signed", "stranger", "expired", "name"],
)
@on_both_loops
async def test_a_wrong_certificate(certificate: Any, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    with secure_recording(certificate()) as origin:
        async with no_descriptor_leak():
            async with http_engine(services={"app": secure(origin.port)}, transport=trusting()) as engine:
                reply = await off_loop(http_get, engine.port)
                assert (reply.status, reply.body) == (502, b"Bad Gateway")
        assert origin.requests == []
    assert warnings(caplog) == [reason]


@on_both_loops
async def test_any_certificate_will_do_where_nobody_wants_to_know() -> None:
    with secure_recording(authority().self_signed("other.test")) as origin:
        transport = ServersTransport(insecure_skip_verify=True)
        async with http_engine(services={"app": secure(origin.port)}, transport=transport) as engine:
            assert (await off_loop(http_get, engine.port)).status == 200


@pytest.mark.parametrize("request_bytes", [LAST_GET, LAST_POST], ids=["GET", "POST"])
@on_both_loops
async def test_a_server_that_is_not_trusted_is_passed_over(request_bytes: bytes) -> None:
    with secure_recording(authority().self_signed("localhost")) as wrong, secure_recording() as right:
        services = {"app": secure(wrong.port, right.port)}
        async with no_descriptor_leak(), http_engine(services=services, transport=trusting()) as engine:
            for _ in range(6):
                assert (await off_loop(raw_http, engine.port, request_bytes)).startswith(b"HTTP/1.1 200 ")
        assert wrong.requests == []
        assert len(right.requests) == 6


@on_both_loops
async def test_a_certificate_that_is_missed_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with secure_recording(clients=authority("clients")) as origin:
        async with http_engine(services={"app": secure(origin.port)}, transport=trusting()) as engine:
            assert (await off_loop(http_get, engine.port)).status == 502
    assert warnings(caplog) == ["TLS: tlsv13 alert certificate required"]


@on_both_loops
async def test_versions_that_do_not_meet(caplog: pytest.LogCaptureFixture) -> None:
    with secure_recording(maximum=ssl.TLSVersion.TLSv1_2) as origin:
        services = {"app": secure(origin.port)}
        async with http_engine(services=services, transport=trusting(min_version="VersionTLS13")) as engine:
            assert (await off_loop(http_get, engine.port)).status == 502
        async with http_engine(services=services, transport=trusting(max_version="VersionTLS12")) as engine:
            assert (await off_loop(http_get, engine.port)).status == 200
        assert [version for version, _ in origin.handshakes] == ["TLSv1.2"]
    assert warnings(caplog) == ["TLS: tlsv1 alert protocol version"]


# --- servers that fail -----------------------------------------------------------------------------------------------


@on_both_loops
async def test_a_server_that_does_not_speak_tls(caplog: pytest.LogCaptureFixture) -> None:
    def talk(listener: socket.socket) -> None:
        sock, _ = listener.accept()
        with sock:
            sock.recv(10_000)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        talking = beside(talk, listener)
        services = {"app": secure(listener.getsockname()[1])}
        async with http_engine(services=services, transport=trusting()) as engine:
            assert (await off_loop(http_get, engine.port)).status == 502
        await talking
    assert warnings(caplog) == ["the server does not speak TLS"]


@on_both_loops
async def test_tls_spoken_to_a_server_as_if_it_were_plain() -> None:
    with secure_recording() as origin:
        async with http_engine(origin.port) as engine:
            assert (await off_loop(http_get, engine.port)).status == 502


@on_both_loops
async def test_a_handshake_that_stalls_costs_504_and_the_next_server_is_tried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute, secure_recording() as origin:
        stuck = mute.getsockname()[1]
        async with no_descriptor_leak():
            services = {"app": secure(stuck)}
            async with http_engine(services=services, transport=trusting(dial=0.3)) as engine:
                assert (await off_loop(http_get, engine.port)).status == 504
            services = {"app": secure(stuck, origin.port)}
            async with http_engine(services=services, transport=trusting(dial=0.3)) as engine:
                assert (await off_loop(http_get, engine.port)).status == 200
    assert "the TLS handshake took too long" in warnings(caplog)


@on_both_loops
async def test_a_client_that_resets_during_the_handshake_ends_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.settimeout(5)
        services = {"app": secure(mute.getsockname()[1])}
        async with no_descriptor_leak(), http_engine(services=services, transport=trusting(dial=30)) as engine:
            client = socket.create_connection(("127.0.0.1", engine.port), 5)
            client.sendall(LAST_GET)
            server, _ = await off_loop(mute.accept)
            with server:
                server.settimeout(5)
                assert await off_loop(server.recv, 10_000)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                assert await off_loop(server.recv, 10_000) == b""
            await until_async(lambda: engine.active == 0)


@pytest.mark.parametrize("polite", [True, False], ids=["goodbye", "cut"])
@on_both_loops
async def test_an_idle_connection_that_ended_is_not_used_again(polite: bool) -> None:
    with secure_recording(None, [ok(), 0.1, After.CLOSE]) as origin:
        origin.polite = polite
        async with http_engine(services={"app": secure(origin.port)}, transport=trusting()) as engine:
            assert (await off_loop(http_get, engine.port)).status == 200
            await until_async(lambda: engine.idle == 0)
            assert (await off_loop(http_get, engine.port)).status == 200
        assert origin.connections == 2


@pytest.mark.parametrize("polite", [True, False], ids=["goodbye", "cut"])
@on_both_loops
async def test_an_answer_that_ends_with_its_connection_needs_a_goodbye_to_be_complete(polite: bool) -> None:
    with secure_recording(None, [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf", After.CLOSE]) as origin:
        origin.polite = polite
        async with http_engine(services={"app": secure(origin.port)}, transport=trusting()) as engine:
            received = await off_loop(raw_http, engine.port, LAST_GET)
            assert b"half" in received
            assert received.endswith(b"0\r\n\r\n") is polite


@on_both_loops
async def test_connections_beyond_the_limit_are_closed_with_a_goodbye() -> None:
    with secure_recording() as origin:
        transport = trusting(max_idle_conns_per_host=0)
        async with no_descriptor_leak():
            async with http_engine(services={"app": secure(origin.port)}, transport=transport) as engine:
                for _ in range(3):
                    assert (await off_loop(http_get, engine.port)).status == 200
                await until_async(lambda: not engine.watched)
        assert origin.connections == 3


# --- readTimeout -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
@on_both_loops
async def test_an_answer_that_stalls_is_cut(tls: bool, caplog: pytest.LogCaptureFixture) -> None:
    stalling = [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", After.HANG]
    with secure_recording(None, stalling) if tls else recording(stalling) as origin:
        services = {"app": secure(origin.port)} if tls else None
        ports = () if tls else (origin.port,)
        async with http_engine(*ports, services=services, transport=trusting(read=0.3)) as engine:
            received = await off_loop(raw_http, engine.port, LAST_GET)
            assert received.endswith(b"half")
            await until_async(lambda: engine.active == 0)
    assert warnings(caplog) == ["no more of the answer in time"]


@on_both_loops
async def test_an_answer_that_moves_may_take_as_long_as_it_likes() -> None:
    pieces: list[Any] = [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"]
    for _ in range(10):
        pieces += [0.15, b"x"]
    with recording(pieces) as origin:
        async with http_engine(origin.port, transport=trusting(read=0.5)) as engine:
            received = await off_loop(raw_http, engine.port, LAST_GET)
            assert received.endswith(b"x" * 10)


def test_the_certificates_of_this_file_are_made_once() -> None:
    assert local_pair() is local_pair()
