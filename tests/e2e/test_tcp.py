"""TCP: balanced connections, half-close, servers that speak first, bulk, real Redis.

The story: what a user's databases, mail servers and netcats may take for granted.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.configs import entry_point
from tests.support.ports import free_port
from tests.support.programs import need, running, running_streamlb, running_whoami
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20


def balanced(address: str, *ports: int, services: str = "", service: str = "app") -> str:
    servers = ", ".join(f"{{address: '127.0.0.1:{port}'}}" for port in ports)
    return f"""
entryPoints: {{db: {{address: "{address}"}}}}
tcp:
  routers: {{app: {{rule: "HostSNI(`*`)", service: {service}}}}}
  services:
    app: {{loadBalancer: {{servers: [{servers}]}}}}
{services}
"""


def serving(work: Callable[[socket.socket], None]) -> tuple[socket.socket, int]:
    """A listener whose connections are each given to `work` in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=lambda sock=sock: (work(sock), sock.close()), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener, listener.getsockname()[1]


@pytest.fixture
def server() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    listeners: list[socket.socket] = []

    def start(work: Callable[[socket.socket], None]) -> int:
        listener, port = serving(work)
        listeners.append(listener)
        return port

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 10)


def everything(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(MIB), b""))


def test_each_connection_is_given_to_the_next_server() -> None:
    port, address = entry_point("/tcp")
    with running_whoami("v1", http=False, tcp=True) as v1, running_whoami("v2", http=False, tcp=True) as v2:
        with running_streamlb(balanced(address, v1.tcp_port, v2.tcp_port)):
            answers = []
            for _ in range(4):
                with connect(port) as sock:
                    for _ in range(2):
                        sock.sendall(b"hello\n")
                        answers.append(sock.recv(100))
    assert answers == [b"v1: hello\n"] * 2 + [b"v2: hello\n"] * 2 + [b"v1: hello\n"] * 2 + [b"v2: hello\n"] * 2


def test_netcat_gets_its_answer() -> None:
    nc = need("nc", "netcat-openbsd")
    port, address = entry_point("/tcp")
    with running_whoami("v1", http=False, tcp=True) as v1, running_streamlb(balanced(address, v1.tcp_port)):
        command = ["sh", "-c", f"echo hello | {nc} -N 127.0.0.1 {port}"]
        with running(command, name="nc") as client:
            assert client.wait(10) == 0
            assert client.log() == "v1: hello\n"


def test_a_client_that_shuts_its_side_still_gets_the_whole_answer(server: Callable[..., int]) -> None:
    answer = b"a" * (8 * MIB)

    def digest_then_answer(sock: socket.socket) -> None:
        asked = everything(sock)
        sock.sendall(hashlib.sha256(asked).digest() + answer)

    port, address = entry_point("/tcp")
    with running_streamlb(balanced(address, server(digest_then_answer))), connect(port) as sock:
        question = b"q" * MIB
        sock.sendall(question)
        sock.shutdown(socket.SHUT_WR)
        assert everything(sock) == hashlib.sha256(question).digest() + answer


def test_a_server_that_speaks_first_is_heard(server: Callable[..., int]) -> None:
    def banner(sock: socket.socket) -> None:
        sock.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        everything(sock)

    port, address = entry_point("/tcp")
    with running_streamlb(balanced(address, server(banner))), connect(port) as sock:
        assert sock.recv(100) == b"SSH-2.0-OpenSSH_9.2p1\r\n"


def test_redis_works_through_the_proxy() -> None:
    redis = need("redis-server")
    redis_port = free_port()
    port, address = entry_point("/tcp")
    command = [redis, "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with running(command) as program:
        program.wait_for("Ready to accept connections")
        with running_streamlb(balanced(address, redis_port)), connect(port) as sock:
            sock.sendall(b"*1\r\n$4\r\nPING\r\n")
            assert sock.recv(100) == b"+PONG\r\n"
            value = b"v" * (3 * MIB)
            sock.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%b\r\n" % (len(value), value))
            assert sock.recv(100) == b"+OK\r\n"
            sock.sendall(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n")
            expected = b"$%d\r\n%b\r\n" % (len(value), value)
            got = b""
            while len(got) < len(expected):
                got += sock.recv(MIB)
            assert got == expected


def test_bulk_goes_both_ways_at_once_unchanged(server: Callable[..., int]) -> None:
    size = 128 * MIB

    def echo(sock: socket.socket) -> None:
        while piece := sock.recv(MIB):
            sock.sendall(piece)

    port, address = entry_point("/tcp")
    with running_streamlb(balanced(address, server(echo))), connect(port) as sock:
        block = bytes(range(256)) * (MIB // 256)
        sent, got, received = hashlib.sha256(), hashlib.sha256(), 0

        def send() -> None:
            for number in range(size // MIB):
                piece = number.to_bytes(8, "big") + block[8:]
                sent.update(piece)
                sock.sendall(piece)
            sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        while piece := sock.recv(MIB):
            got.update(piece)
            received += len(piece)
        sender.join()
    assert (received, got.digest()) == (size, sent.digest())


def test_a_refused_server_is_replaced_by_the_next() -> None:
    port, address = entry_point("/tcp")
    with running_whoami("v2", http=False, tcp=True) as v2:
        with running_streamlb(balanced(address, free_port(), v2.tcp_port)) as proxy:
            for _ in range(4):
                with connect(port) as sock:
                    sock.sendall(b"hello\n")
                    assert sock.recv(100) == b"v2: hello\n"
            proxy.wait_for("connection refused")


def test_no_server_left_closes_the_connection() -> None:
    port, address = entry_point("/tcp")
    with running_streamlb(balanced(address, free_port())), connect(port) as sock:
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(100) == b""


def test_mirrors_get_the_clients_bytes_and_are_not_heard(server: Callable[..., int]) -> None:
    seen: list[bytes] = []

    def listen_and_shout(sock: socket.socket) -> None:
        sock.sendall(b"from the mirror\n")
        seen.append(everything(sock))

    mirror = server(listen_and_shout)
    services = f"""
    copy: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{mirror}"}}]}}}}
    both: {{mirroring: {{service: app, mirrors: [{{name: copy, percent: 50}}]}}}}
"""
    port, address = entry_point("/tcp")
    with running_whoami("v1", http=False, tcp=True) as v1:
        with running_streamlb(balanced(address, v1.tcp_port, services=services, service="both")):
            for number in range(4):
                with connect(port) as sock:
                    sock.sendall(b"hello %d\n" % number)
                    assert sock.recv(100) == b"v1: hello %d\n" % number
            until(lambda: len(seen) == 2)
    assert sorted(seen) == [b"hello 0\n", b"hello 2\n"]


def test_routes_by_client_address(server: Callable[..., int]) -> None:
    port, address = entry_point("/tcp")
    with running_whoami("v1", http=False, tcp=True) as v1, running_whoami("v2", http=False, tcp=True) as v2:
        config = f"""
entryPoints: {{db: {{address: "{address}"}}}}
tcp:
  routers:
    everybody: {{rule: "HostSNI(`*`)", service: v1}}
    office: {{rule: "HostSNI(`*`) && ClientIP(`127.0.0.2`)", service: v2}}
  services:
    v1: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{v1.tcp_port}"}}]}}}}
    v2: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{v2.tcp_port}"}}]}}}}
"""
        with running_streamlb(config):
            for source, name in (("127.0.0.1", b"v1"), ("127.0.0.2", b"v2")):
                with socket.create_connection(("127.0.0.1", port), 10, (source, 0)) as sock:
                    sock.sendall(b"hello\n")
                    assert sock.recv(100) == name + b": hello\n"
