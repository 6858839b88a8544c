"""TCP services as a user sets them up: TLS to servers, middlewares, silence, places, failover and health by file.

The story: a database behind the proxy, for the office only, over TLS on the way to its servers.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import authority, local_pair
from tests.support.configs import entry_point
from tests.support.peers import connect, everything
from tests.support.ports import free_port
from tests.support.programs import running_streamlb, running_whoami
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"


def config(address: str, *ports: int, server: str = "", router: str = "", balancer: str = "", tcp: str = "") -> str:
    servers = ", ".join(f"{{address: 'localhost:{port}'{server}}}" for port in ports)
    return f"""
entryPoints: {{db: {{address: "{address}"}}}}
tcp:
  routers: {{db: {{rule: "HostSNI(`*`)", service: db{router}}}}}
  services:
    db: {{loadBalancer: {{servers: [{servers}]{balancer}}}}}
{tcp}
"""


def ask(sock: socket.socket, text: bytes = b"hello\n") -> bytes:
    sock.sendall(text)
    return sock.recv(100)


@contextlib.contextmanager
def secure_echo() -> Iterator[tuple[int, list[bool]]]:
    """A server that echoes over TLS; for each connection, whether it ended with a goodbye."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(local_pair().certificate, local_pair().key)
    endings: list[bool] = []
    listener = socket.create_server((HOST, 0))

    def echo(sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            sock.settimeout(10)
            with context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False) as secure:
                try:
                    while data := secure.recv(1 << 16):
                        secure.sendall(data)
                except OSError:
                    endings.append(False)
                    return
                endings.append(True)
                secure.unwrap().close()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1], endings
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def trusting(**options: str) -> str:
    said = "".join(f", {name}: {value}" for name, value in options.items())
    tls = f"{{rootCAs: [{authority().pair.certificate}]{said}}}"
    return f"  serversTransports: {{near: {{dialTimeout: 2s, tls: {tls}}}}}"


def test_servers_over_tls() -> None:
    port, address = entry_point()
    with secure_echo() as (server, endings):
        text = config(address, server, server=", tls: true", balancer=", serversTransport: near", tcp=trusting())
        with running_streamlb(text):
            with connect(port) as sock:
                for number in range(5):
                    assert ask(sock, b"%d" % number) == b"%d" % number
                blob = bytes(range(256)) * 8192
                threading.Thread(target=sock.sendall, args=(blob,)).start()
                received = b""
                while len(received) < len(blob):
                    received += sock.recv(1 << 16)
                assert received == blob
                sock.shutdown(socket.SHUT_WR)
                assert sock.recv(1) == b""
        assert endings == [True]


def test_a_server_with_a_wrong_certificate_is_passed_over_and_named() -> None:
    port, address = entry_point()
    with secure_echo() as (server, _):
        balancer, tcp = ", serversTransport: near", trusting(serverName="other.example.com")
        text = config(address, server, server=", tls: true", balancer=balancer, tcp=tcp)
        with running_streamlb(text) as proxy:
            with connect(port) as sock:
                assert everything(sock) == b""
            until(lambda: "certificate verify failed: Hostname mismatch" in proxy.log())


def test_health_is_asked_over_tls() -> None:
    port, address = entry_point()
    down = free_port()
    with secure_echo() as (server, _):
        balancer = ", serversTransport: near, healthCheck: {interval: 100ms, send: ping, expect: ping}"
        text = config(address, down, server, server=", tls: true", balancer=balancer, tcp=trusting())
        with running_streamlb(text) as proxy:
            until(lambda: f"localhost:{down} is down" in proxy.log())
            for _ in range(4):
                with connect(port) as sock:
                    assert ask(sock) == b"hello\n"
            assert f"localhost:{server} is down" not in proxy.log()


MIDDLEWARES = """
  middlewares:
    office: {ipAllowList: {sourceRange: [127.0.0.0/30]}}
    few: {inFlightConn: {amount: 2}}
"""


def test_only_the_office_and_not_too_many_at_once() -> None:
    port, address = entry_point()
    with running_whoami("v1", http=False, tcp=True) as v1:
        text = config(address, v1.tcp_port, router=", middlewares: [office, few]", tcp=MIDDLEWARES)
        with running_streamlb(text) as proxy:
            with connect(port, "127.0.0.9") as stranger:
                assert everything(stranger) == b""
            with connect(port, "127.0.0.2") as one, connect(port, "127.0.0.2") as two:
                assert ask(one) == ask(two) == b"v1: hello\n"
                with connect(port, "127.0.0.2") as three:
                    assert everything(three) == b""
                with connect(port, "127.0.0.1") as other:
                    assert ask(other) == b"v1: hello\n"

            def gets_in() -> bool:
                with connect(port, "127.0.0.2") as sock, contextlib.suppress(OSError):
                    return ask(sock) == b"v1: hello\n"
                return False

            until(gets_in)
            log = proxy.log()
            assert "middleware office refused 127.0.0.9: its address is not allowed" in log
            assert "middleware few refused 127.0.0.2: it has 2 connection(s) already" in log


def test_silence_is_not_for_ever() -> None:
    port, address = entry_point()
    with running_whoami("v1", http=False, tcp=True) as v1:
        with running_streamlb(config(address, v1.tcp_port, balancer=", idleTimeout: 500ms")), connect(port) as sock:
            assert ask(sock) == b"v1: hello\n"
            with pytest.raises(ConnectionResetError):
                sock.recv(1)


def test_traefik_s_termination_delay() -> None:
    """One side has ended, the other says nothing: after 300 ms of that, both are over."""
    port, address = entry_point()
    with socket.create_server((HOST, 0)) as listener:
        text = config(address, listener.getsockname()[1], balancer=", terminationDelay: 300")
        with running_streamlb(text), connect(port) as sock:
            upstream, _ = listener.accept()
            with upstream:
                sock.shutdown(socket.SHUT_WR)
                assert upstream.recv(1) == b""
                with pytest.raises(ConnectionResetError):
                    sock.recv(1)


def test_who_finds_no_place_waits_for_one() -> None:
    port, address = entry_point()
    with running_whoami("v1", http=False, tcp=True) as v1:
        text = config(
            address, v1.tcp_port, server=", maxConnections: 1", balancer=", queue: {maxSize: 1, timeout: 10s}"
        )
        with running_streamlb(text):
            with connect(port) as first, connect(port) as second:
                assert ask(first) == b"v1: hello\n"
                second.sendall(b"me too\n")
                with connect(port) as third:
                    assert everything(third) == b""
                first.close()
                assert second.recv(100) == b"v1: me too\n"


def test_long_connections_go_to_whoever_has_the_fewest() -> None:
    port, address = entry_point()
    with running_whoami("v1", http=False, tcp=True) as v1, running_whoami("v2", http=False, tcp=True) as v2:
        text = config(address, v1.tcp_port, v2.tcp_port, balancer=", strategy: leastconn")
        with running_streamlb(text), contextlib.ExitStack() as stack:
            socks = [stack.enter_context(connect(port)) for _ in range(6)]
            answers = [ask(sock) for sock in socks]
            assert sorted(answers) == [b"v1: hello\n"] * 3 + [b"v2: hello\n"] * 3
            for sock, answer in zip(socks, answers, strict=True):
                if answer.startswith(b"v1"):
                    sock.shutdown(socket.SHUT_WR)
                    everything(sock)
            assert [ask(stack.enter_context(connect(port))) for _ in range(3)] == [b"v1: hello\n"] * 3


def test_failover_mirroring_and_hashing_over_tcp() -> None:
    port, address = entry_point()
    with running_whoami("v1", http=False, tcp=True) as v1, running_whoami("v2", http=False, tcp=True) as v2:
        with running_whoami("copy", http=False, tcp=True) as copy:
            text = f"""
entryPoints: {{db: {{address: "{address}"}}}}
tcp:
  routers: {{db: {{rule: "HostSNI(`*`)", service: mirrored}}}}
  services:
    mirrored: {{mirroring: {{service: safe, mirrors: [{{name: copy, percent: 100}}]}}}}
    safe: {{failover: {{service: gone, fallback: hashed}}}}
    gone: {{loadBalancer: {{servers: [{{address: "{HOST}:{free_port()}"}}]}}}}
    hashed:
      loadBalancer:
        strategy: hrw
        servers: [{{address: "{HOST}:{v1.tcp_port}"}}, {{address: "{HOST}:{v2.tcp_port}"}}]
    copy: {{loadBalancer: {{servers: [{{address: "{HOST}:{copy.tcp_port}"}}]}}}}
"""
            with running_streamlb(text):
                by_client = {}
                for client in [f"127.0.0.{number}" for number in range(1, 13)]:
                    answers = set()
                    for _ in range(2):
                        with connect(port, client) as sock:
                            answers.add(ask(sock))
                    assert len(answers) == 1
                    by_client[client] = answers.pop()
                assert set(by_client.values()) == {b"v1: hello\n", b"v2: hello\n"}
