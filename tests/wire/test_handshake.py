"""TLS handshakes: whole, in pieces, with certificates of clients, resumed; and all the ways in which they fail."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import re
import socket
import ssl
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from streamlb.config.tls import ClientAuth
from streamlb.net.handshake import shake_hands
from streamlb.net.secure import SecureSocket
from streamlb.net.tasks import spawn
from streamlb.net.tls import Truncated, client_context, client_reason, handshake_error, reason_of
from tests.support.certificates import authority, local_pair
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.programs import need
from tests.support.tls import TIMEOUT, both_ends, connected, echoing, secured, serving, shaken, trusting
from tests.support.until import until_async

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
RESET = struct.pack("ii", 1, 0)


class ByHand:
    """A client that does its handshake in memory; the test carries the bytes."""

    def __init__(self, version: ssl.TLSVersion) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = trusting(version).wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.done = False

    def flight(self, received: bytes = b"") -> bytes:
        """What the client says next."""
        self.incoming.write(received)
        try:
            self.ssl.do_handshake()
            self.done = True
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()


async def attempt(secure: SecureSocket, timeout: float = TIMEOUT) -> asyncio.Future[OSError | None]:
    """A handshake of ours under way; what it ends with."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[OSError | None] = loop.create_future()
    shake_hands(loop, secure, timeout, done.set_result)
    assert not done.done(), "called from inside"
    return done


@VERSIONS
@on_both_loops
async def test_a_client_that_says_every_byte_by_itself(version: ssl.TLSVersion) -> None:
    client_side = ByHand(version)
    with connected() as (ours, client):
        secure = SecureSocket(ours, serving(), server_side=True)
        done = await attempt(secure)
        said = client_side.flight()
        while not client_side.done:
            for at in range(len(said)):
                client.send(said[at : at + 1])
                await asyncio.sleep(0.0005)
            said = client_side.flight(await asyncio.to_thread(client.recv, 65536))
        client.sendall(said)
        assert await asyncio.wait_for(done, TIMEOUT) is None
        secure.close()


@VERSIONS
@pytest.mark.parametrize("cut", ["fin", "reset"])
@on_both_loops
async def test_a_client_that_vanishes_at_any_step(version: ssl.TLSVersion, cut: str) -> None:
    async with no_descriptor_leak():
        for step in range(6):
            client_side = ByHand(version)
            with connected() as (ours, client):
                done = await attempt(SecureSocket(ours, serving(), server_side=True))
                said = client_side.flight()
                client.sendall(said[: [0, 1, 5, len(said) - 1, len(said), len(said)][step]])
                if step >= 4:
                    said = client_side.flight(await asyncio.to_thread(client.recv, 65536))
                    client.sendall(said[: (step - 4) * 3])
                await asyncio.sleep(0.01)
                if cut == "reset":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                client.close()
                error = await asyncio.wait_for(done, TIMEOUT)
                assert isinstance(error, Truncated if cut == "fin" else ConnectionResetError), step
                assert ours.fileno() == -1


@on_both_loops
async def test_a_client_that_is_mute_has_until_the_deadline() -> None:
    async with no_descriptor_leak():
        with connected() as (ours, client):
            done = await attempt(SecureSocket(ours, serving(), server_side=True), 0.1)
            error = await asyncio.wait_for(done, TIMEOUT)
            assert isinstance(error, TimeoutError)
            assert client_reason(error) == "the TLS handshake took too long"
            assert handshake_error(error).status == 504
            assert await asyncio.to_thread(client.recv, 10) == b""


@on_both_loops
async def test_one_that_was_given_up_is_closed_and_nobody_is_called() -> None:
    loop = asyncio.get_running_loop()
    async with no_descriptor_leak():
        with connected() as (ours, client):
            secure = SecureSocket(ours, serving(), server_side=True)
            handshake = shake_hands(loop, secure, 0.05, lambda error: pytest.fail("called"))
            handshake.cancel()
            handshake.cancel()
            assert await asyncio.to_thread(client.recv, 10) == b""
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "it speaks plain HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "it does not speak TLS"),
        (b"\0" * 100, "it does not speak TLS"),
        (b"\x16\x03\x01\xff\xff" + b"\1" * 70_000, "it does not speak TLS"),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xff", "TLS: length too short"),
    ],
    ids=["http", "ssh", "zeros", "long", "short"],
)
@on_both_loops
async def test_garbage_is_told_and_closed(said: bytes, reason: str) -> None:
    async with no_descriptor_leak():
        with connected() as (ours, client):
            client.sendall(said)
            done = await attempt(SecureSocket(ours, serving(), server_side=True))
            error = await asyncio.wait_for(done, TIMEOUT)
            assert error is not None
            assert client_reason(error) == reason
            assert ours.fileno() == -1


@on_both_loops
async def test_an_endless_hello_is_bounded() -> None:
    """A handshake message of 16 MiB is announced; OpenSSL takes no ClientHello beyond 128 KiB."""
    with connected() as (ours, client):
        done = await attempt(SecureSocket(ours, serving(), server_side=True))
        record = b"\x16\x03\x01\x40\x00"
        with contextlib.suppress(ConnectionError):
            for number in range(2000):
                body = b"\x01\xff\xff\xff" + bytes(16380) if not number else bytes(16384)
                await asyncio.to_thread(client.sendall, record + body)
            pytest.fail("it was listened to for 32 MB")
        assert isinstance(await asyncio.wait_for(done, TIMEOUT), ssl.SSLError)


@on_both_loops
async def test_a_client_that_reads_nothing_gets_a_long_flight_in_its_time() -> None:
    pair = authority().certificate("localhost")
    pair.certificate.write_text(pair.text + authority().pair.text * 220)
    client_side = ByHand(V13)
    with connected() as (ours, client):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        secure = SecureSocket(ours, serving(pair), server_side=True)
        done = await attempt(secure)
        client.sendall(client_side.flight())
        await until_async(lambda: secure.unsent)
        client.sendall(b"\x14\x03\x03\x00\x01\x01")  # A readable event that helps nobody while we cannot write.
        said = b""
        while not client_side.done:
            said = client_side.flight(await asyncio.to_thread(client.recv, 65536))
        client.sendall(said)
        assert await asyncio.wait_for(done, TIMEOUT) is None
        secure.close()


@on_both_loops
async def test_versions_that_have_nothing_in_common() -> None:
    with connected() as (ours, client):
        secure = SecureSocket(ours, serving(min_version="VersionTLS13"), server_side=True)
        done = await attempt(secure)
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
            await asyncio.to_thread(secured, client, trusting(V12))
        error = await asyncio.wait_for(done, TIMEOUT)
        assert error is not None
        assert client_reason(error) == "it speaks only versions of TLS that are not served"


# --- towards servers -----------------------------------------------------------------------------------------------


def towards(**changes: Any) -> ssl.SSLContext:
    trusted = (authority().pair.text,)
    return client_context(trusted, (), changes.get("is_verified", True), "VersionTLS12", "VersionTLS13")


@VERSIONS
@on_both_loops
async def test_we_may_be_the_client(version: ssl.TLSVersion) -> None:
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.minimum_version = theirs.maximum_version = version
    theirs.load_cert_chain(local_pair().certificate, local_pair().key)
    with connected() as (ours, client):
        secure = SecureSocket(ours, towards(), server_side=False, server_hostname="localhost")
        serving_thread = asyncio.to_thread(theirs.wrap_socket, client, server_side=True)

        async def speak() -> None:
            await shaken(secure)
            secure.flush()

        _, peer = await asyncio.gather(speak(), serving_thread)
        with peer:
            secure.send(b"hello")
            assert await asyncio.to_thread(peer.recv, 100) == b"hello"
            secure.close()


@on_both_loops
async def test_a_server_that_is_not_who_it_should_be() -> None:
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(local_pair().certificate, local_pair().key)
    with connected() as (ours, client):
        secure = SecureSocket(ours, towards(), server_side=False, server_hostname="other.test")
        done = await attempt(secure)
        with pytest.raises(ssl.SSLError, match="BAD_CERTIFICATE"):
            await asyncio.to_thread(theirs.wrap_socket, client, server_side=True)
        error = await asyncio.wait_for(done, TIMEOUT)
        assert "Hostname mismatch" in reason_of(error)


def test_a_name_that_tls_cannot_carry() -> None:
    with connected() as (ours, _), pytest.raises(ValueError, match="label"):
        SecureSocket(ours, towards(), server_side=False, server_hostname="a" * 64 + ".test")


# --- certificates of clients ---------------------------------------------------------------------------------------


def asking(kind: str) -> ssl.SSLContext:
    return serving(client_auth=ClientAuth(ca_files=[authority("clients").pair.text], client_auth_type=kind))  # type: ignore[arg-type]


SHOWN = {
    "good": lambda: authority("clients").certificate("client"),
    "foreign": lambda: authority("two").certificate("client"),
    "expired": lambda: authority("clients").certificate("client", days=-1),
    "none": lambda: None,
}


@pytest.mark.parametrize(
    ("kind", "shown", "reason"),
    [
        ("RequireAndVerifyClientCert", "good", ""),
        ("RequireAndVerifyClientCert", "none", "it showed no certificate"),
        ("RequireAndVerifyClientCert", "foreign", "its certificate: unable to get local issuer certificate"),
        ("RequireAndVerifyClientCert", "expired", "its certificate: certificate has expired"),
        ("VerifyClientCertIfGiven", "good", ""),
        ("VerifyClientCertIfGiven", "none", ""),
        ("VerifyClientCertIfGiven", "foreign", "its certificate: unable to get local issuer certificate"),
    ],
)
@VERSIONS
@on_both_loops
async def test_certificates_of_clients(kind: str, shown: str, reason: str, version: ssl.TLSVersion) -> None:
    with connected() as (ours, client):
        secure = SecureSocket(ours, asking(kind), server_side=True)
        done = await attempt(secure)

        def visit() -> bytes:
            try:
                with secured(client, trusting(version, SHOWN[shown]())) as peer:
                    return peer.recv(10)  # TLS 1.3: only now does a client hear that it was refused.
            except ssl.SSLError as error:
                return str(error.reason).encode()

        visiting = spawn(asyncio.to_thread(visit), "test: a client")
        error = await asyncio.wait_for(done, TIMEOUT)
        assert (client_reason(error) if error else "") == reason
        if error is None:
            assert (secure.ssl_object.getpeercert(True) is not None) is (shown == "good")
            secure.send(b"welcome")
            secure.close()
            assert await visiting == b"welcome"
        else:
            assert b"ALERT" in await visiting


# --- resumption ----------------------------------------------------------------------------------------------------


def come_back(port: int, context: ssl.SSLContext, times: int) -> Iterator[bool]:
    """Whether each of several visits could resume the session of the one before."""
    session = None
    for _ in range(times):
        sock = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        with context.wrap_socket(sock, server_hostname="localhost", session=session) as peer:
            peer.sendall(b"hello")
            assert peer.recv(100) == b"hello"  # The ticket of TLS 1.3 travels with the first answer.
            session = peer.session
            yield bool(peer.session_reused)


@VERSIONS
@on_both_loops
async def test_sessions_are_resumed(version: ssl.TLSVersion) -> None:
    async with no_descriptor_leak(), echoing(serving()) as server:
        visits = await asyncio.to_thread(lambda: list(come_back(server.port, trusting(version), 4)))
        assert visits == [False, True, True, True]
        assert server.resumed == visits


@on_both_loops
async def test_sessions_are_not_resumed_without_tickets() -> None:
    async with echoing(serving(disable_session_tickets=True)) as server:
        visits = await asyncio.to_thread(lambda: list(come_back(server.port, trusting(V13), 3)))
        assert visits == [False, False, False]


@on_both_loops
async def test_a_client_that_must_show_a_certificate_may_resume_but_not_elsewhere() -> None:
    shown = trusting(V13, SHOWN["good"]())
    async with echoing(asking("RequireAndVerifyClientCert")) as strict, echoing(serving()) as open_to_all:
        assert await asyncio.to_thread(lambda: list(come_back(strict.port, shown, 2))) == [False, True]

        def with_a_ticket_of_the_other() -> bool:
            sock = socket.create_connection(("127.0.0.1", open_to_all.port), TIMEOUT)
            plain = trusting(V13)
            with plain.wrap_socket(sock, server_hostname="localhost") as peer:
                peer.sendall(b"hello")
                peer.recv(100)
                session = peer.session
            sock = socket.create_connection(("127.0.0.1", strict.port), TIMEOUT)
            with plain.wrap_socket(sock, server_hostname="localhost", session=session) as peer:
                peer.sendall(b"hello")
                return bool(peer.recv(100))

        with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
            await asyncio.to_thread(with_a_ticket_of_the_other)


def s_client(port: int, *options: str) -> str:
    command = [need("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(b"hello\n")
        program.stdin.flush()
        told = b""
        while b"\nhello\n" not in told and (piece := program.stdout.readline()):
            told += piece
        program.stdin.write(b"Q\n")
        program.stdin.close()
        told += program.stdout.read()
    return told.decode(errors="replace")


@on_both_loops
async def test_openssl_comes_back(tmp_path: Path) -> None:
    async with echoing(serving()) as server:
        told = await asyncio.to_thread(s_client, server.port, "-reconnect", "-tls1_2")
        assert re.findall(r"^(New|Reused), TLSv1.2", told, re.MULTILINE) == ["New"] + ["Reused"] * 5
        # With TLS 1.3, -reconnect reads no ticket, whoever the server; so the session goes through a file.
        kept = str(tmp_path / "session")
        assert "New, TLSv1.3" in await asyncio.to_thread(s_client, server.port, "-sess_out", kept)
        assert "Reused, TLSv1.3" in await asyncio.to_thread(s_client, server.port, "-sess_in", kept)


def talk(port: int, *dialogue: tuple[bytes, bytes], options: tuple[str, ...] = ()) -> None:
    """Have s_client say lines, one after the other, each when the answer to the last is there.

    `K` and `R` are commands to it, if they come alone.
    """
    command = [need("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-brief", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        for said, expected in dialogue:
            program.stdin.write(said)
            program.stdin.flush()
            while expected not in (line := program.stdout.readline()):
                assert line, f"{expected!r} was never said"
        program.stdin.close()


@on_both_loops
async def test_keys_are_updated_as_often_as_the_client_likes() -> None:
    async with echoing(serving()) as server:
        updates = [(b"K\n", b"KEYUPDATE")] * 10
        await asyncio.to_thread(talk, server.port, (b"one\n", b"one"), *updates, (b"two\n", b"two"))
        await asyncio.to_thread(talk, server.port, (b"one\n", b"one"), (b"k\n", b"KEYUPDATE"), (b"two\n", b"two"))
        assert [bytes(echo.received) for echo in server.connections] == [b"one\ntwo\n"] * 2


@on_both_loops
async def test_nobody_renegotiates() -> None:
    async with echoing(serving()) as server:
        dialogue = (b"one\n", b"one"), (b"R\n", b"no renegotiation")
        await asyncio.to_thread(functools.partial(talk, server.port, *dialogue, options=("-tls1_2",)))
        await server.connections[0].end()


# --- what is left behind -------------------------------------------------------------------------------------------


@on_both_loops
async def test_nothing_is_left_to_the_collector() -> None:
    """A connection's memory is free at once, without waiting for a collection."""

    def secure_objects() -> int:
        return sum(type(each) in (SecureSocket, ssl.SSLObject) for each in gc.get_objects())

    async with echoing(serving()) as server:
        list(await asyncio.to_thread(lambda: list(come_back(server.port, trusting(), 1))))
        gc.collect()
        gc.disable()
        try:
            await asyncio.to_thread(lambda: list(come_back(server.port, trusting(), 20)))
            while server.connections:
                await server.connections.pop().end()
            await until_async(lambda: secure_objects() == 0)
        finally:
            gc.enable()


@on_both_loops
async def test_both_ends_agree() -> None:
    with connected() as (ours, client):
        secure, peer = await both_ends(ours, client, serving(protocols=("http/1.1",)))
        with peer:
            assert secure.ssl_object.cipher() == peer.cipher()
            secure.close()
