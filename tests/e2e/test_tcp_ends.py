"""How TCP connections end, and servers that are hard to reach.

The story: answers that are slow but come, aborts that stay aborts, full queues, servers that want to see a certificate.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import struct
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import authority, local_pair
from tests.support.configs import entry_point
from tests.support.peers import connect, everything, running_s_server
from tests.support.programs import resident, running_streamlb, running_whoami
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def tcp(address: str, *servers: str, service: str = "", router: str = "", more: str = "") -> str:
    """One router to one load balancer: further options of either, further parts of `tcp`."""
    listed = ", ".join(f"{{{server}}}" for server in servers)
    return f"""
entryPoints: {{db: {{address: "{address}"}}}}
tcp:
  routers: {{app: {{rule: "HostSNI(`*`)", service: app{router}}}}}
  services: {{app: {{loadBalancer: {{servers: [{listed}]{service}}}}}}}
{more}
"""


def at(port: int, host: str = "127.0.0.1") -> str:
    return f'address: "{host}:{port}"'


def echo(sock: socket.socket) -> None:
    while data := sock.recv(65536):
        sock.sendall(data)


secure_or_not = pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])


@contextlib.contextmanager
def serving(work: Callable[[socket.socket], object]) -> Iterator[int]:
    """A server that plays each connection in a thread; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def play(sock: socket.socket) -> None:
            with sock, contextlib.suppress(OSError):
                work(sock)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=play, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_a_slow_answer_to_a_client_that_has_ended_comes_whole() -> None:
    """Words in time keep the connection, however long the whole takes."""
    port, address = entry_point("/tcp")

    def slowly(sock: socket.socket) -> None:
        everything(sock)
        for _ in range(6):
            threading.Event().wait(0.3)
            sock.sendall(b"word ")

    more = "  serversTransports: {t: {terminationDelay: 1s}}"
    with (
        serving(slowly) as server,
        running_streamlb(tcp(address, at(server), service=", serversTransport: t", more=more)),
    ):
        with connect(port) as sock:
            sock.shutdown(socket.SHUT_WR)
            assert everything(sock) == b"word " * 6


def test_servers_that_insist_on_tls() -> None:
    """The server's certificate is verified, and shown one of ours where it asks."""
    port, address = entry_point("/tcp")
    ours = authority("clients").certificate("streamlb")
    more = f"""  serversTransports:
    internal:
      tls: {{rootCAs: [{authority().pair.certificate}], serverName: localhost,
            certificates: [{{certFile: {ours.certificate}, keyFile: {ours.key}}}]}}"""
    asking = ["-rev", "-Verify", "1", "-CAfile", authority("clients").pair.certificate, "-verify_return_error"]
    with running_s_server(local_pair(), *asking) as (_, server):
        text = tcp(address, at(server) + ", tls: true", service=", serversTransport: internal", more=more)
        with running_streamlb(text), connect(port) as sock:
            sock.sendall(b"abc\n")
            assert sock.recv(100) == b"cba\n"


def test_a_server_that_never_accepts() -> None:
    """Its queue is full, so that dials get no answer; `dialTimeout` later the next server is tried."""
    port, address = entry_point("/tcp")
    with socket.socket() as full, running_whoami("v1", http=False, tcp=True) as v1:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        more = "  serversTransports: {t: {dialTimeout: 300ms}}"
        servers = [at(full.getsockname()[1]), at(v1.tcp_port)]
        with running_streamlb(tcp(address, *servers, service=", serversTransport: t", more=more)):
            for _ in range(2):
                with connect(port) as sock:
                    sock.sendall(b"hello\n")
                    assert sock.recv(100) == b"v1: hello\n"
        for filler in fillers:
            filler.close()


def test_resets_travel_as_resets() -> None:
    port, address = entry_point("/tcp")
    outcomes: list[str] = []

    def listen(sock: socket.socket) -> None:
        try:
            outcomes.append("end" if sock.recv(100) == b"bye" and sock.recv(100) == b"" else "?")
        except ConnectionResetError:
            outcomes.append("reset")

    def abort(sock: socket.socket) -> None:
        sock.recv(100)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with serving(listen) as server, serving(abort) as aborting:
        with running_streamlb(tcp(address, at(server))):
            for linger in (None, struct.pack("ii", 1, 0)):
                with connect(port) as sock:
                    sock.sendall(b"bye")
                    if linger is not None:
                        threading.Event().wait(0.2)
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            until(lambda: len(outcomes) == 2, 5, "both are over")
        assert sorted(outcomes) == ["end", "reset"]
        with running_streamlb(tcp(address, at(aborting))), connect(port) as sock:
            sock.sendall(b"hello")
            with pytest.raises(ConnectionResetError):
                sock.recv(100)


@contextlib.contextmanager
def proxied(work: Callable[[socket.socket], object], *, secure: bool) -> Iterator[tuple[socket.socket, int]]:
    """A client's connection to such a server, over TLS if wanted, and the worker between them."""
    port, address = entry_point("/tcp")
    with serving(work) as server:
        pair = f"{{certFile: {local_pair().certificate}, keyFile: {local_pair().key}}}"
        text = tcp(address, at(server), router=", tls: {}" if secure else "", more=f"tls: {{certificates: [{pair}]}}")
        with running_streamlb(text) as proxy:
            sock = connect(port)
            if secure:
                context = ssl.create_default_context(cafile=authority().pair.certificate)
                sock = context.wrap_socket(sock, server_hostname="localhost")
            with sock:
                yield sock, proxy.workers()[0]


@secure_or_not
def test_a_byte_at_a_time(*, secure: bool) -> None:
    """Thousands of writes of one byte arrive in order, and so do their answers."""
    with proxied(echo, secure=secure) as (sock, _):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        said = bytes(range(256)) * 8
        heard = bytearray()

        def listen() -> None:
            while len(heard) < len(said):
                heard.extend(sock.recv(100))

        listener = threading.Thread(target=listen)
        listener.start()
        for byte in said:
            sock.sendall(bytes([byte]))
        listener.join(20)
        assert bytes(heard) == said


@secure_or_not
def test_who_does_not_read_is_waited_for_without_hoarding(*, secure: bool) -> None:
    """The server wants to send 64 MiB, the client's window is shut for a second; all of it comes then."""
    block = bytes(range(256)) * 4096

    def pour(sock: socket.socket) -> None:
        for _ in range(64):
            sock.sendall(block)

    with proxied(pour, secure=secure) as (sock, worker):
        before = resident(worker)
        threading.Event().wait(1)
        assert resident(worker) - before < 8 * 2**20
        digest, received = hashlib.sha256(), 0
        while data := sock.recv(1 << 20):
            digest.update(data)
            received += len(data)
    assert (received, digest.digest()) == (64 * 2**20, hashlib.sha256(block * 64).digest())


@secure_or_not
def test_both_ends_say_goodbye_at_once(*, secure: bool) -> None:
    """Neither waits for the other's end, and both hear it."""
    ends: list[bytes] = []
    together = threading.Barrier(2)

    def leave(sock: socket.socket) -> None:
        assert sock.recv(100) == b"hello"
        sock.sendall(b"from the server")
        together.wait(5)
        sock.shutdown(socket.SHUT_WR)
        ends.append(everything(sock))

    with proxied(leave, secure=secure) as (sock, _):
        sock.sendall(b"hello")
        assert sock.recv(100) == b"from the server"
        together.wait(5)
        if isinstance(sock, ssl.SSLSocket):
            with contextlib.suppress(OSError):
                sock.unwrap()
        else:
            sock.shutdown(socket.SHUT_WR)
            assert everything(sock) == b""
        until(lambda: ends == [b""], 5, "the server hears it")
