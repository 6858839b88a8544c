"""UDP: a flow per client, answers from the entry point's address, idle flows that end.

The story: what a user's DNS, syslog and game servers may take for granted.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.configs import entry_point
from tests.support.ports import free_port
from tests.support.programs import running_streamlb, running_whoami
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator


def balanced(address: str, *ports: int, options: str = "", services: str = "", service: str = "app") -> str:
    servers = ", ".join(f"{{address: '127.0.0.1:{port}'}}" for port in ports)
    return f"""
entryPoints: {{dns: {{address: "{address}"{options}}}}}
udp:
  routers: {{app: {{service: {service}}}}}
  services:
    app: {{loadBalancer: {{servers: [{servers}]}}}}
{services}
"""


@contextlib.contextmanager
def client(port: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(("127.0.0.1", port))
        yield sock


def ask(sock: socket.socket, data: bytes) -> bytes:
    sock.send(data)
    return sock.recv(65535)


@contextlib.contextmanager
def collector() -> Iterator[tuple[int, list[bytes]]]:
    """A UDP server that keeps what it gets and says nothing."""
    got: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def receive() -> None:
            while (data := sock.recv(65535)) != b"stop":
                got.append(data)

        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        yield sock.getsockname()[1], got
        sock.sendto(b"stop", sock.getsockname())
        thread.join(5)


def test_a_client_stays_with_its_server_and_clients_are_spread() -> None:
    port, address = entry_point("/udp")
    with running_whoami("v1", http=False, udp=True) as v1, running_whoami("v2", http=False, udp=True) as v2:
        with running_streamlb(balanced(address, v1.udp_port, v2.udp_port)):
            answers = []
            for _ in range(4):
                with client(port) as sock:
                    answers.append([ask(sock, b"hello") for _ in range(3)])
    assert answers == [[b"v1: hello"] * 3, [b"v2: hello"] * 3] * 2


def test_an_idle_flow_ends_and_the_next_datagram_picks_anew() -> None:
    port, address = entry_point("/udp")
    with running_whoami("v1", http=False, udp=True) as v1, running_whoami("v2", http=False, udp=True) as v2:
        config = balanced(address, v1.udp_port, v2.udp_port, options=", udp: {timeout: 300ms}")
        with running_streamlb(config) as proxy, client(port) as sock:
            [worker] = proxy.workers()
            assert ask(sock, b"hello") == b"v1: hello"
            assert ask(sock, b"hello") == b"v1: hello"
            until(lambda: len(sockets_of(worker)) == 1)
            assert ask(sock, b"hello") == b"v2: hello"


def sockets_of(pid: int) -> list[str]:
    """The UDP sockets a process holds, by inode."""
    inodes = {line.split()[9] for line in Path("/proc/net/udp").read_text().splitlines()[1:]}
    held = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/{pid}/fd/{number}")
            if target.startswith("socket:[") and target[8:-1] in inodes:
                held.append(target)
    return held


def test_empty_and_largest_datagrams_pass() -> None:
    port, address = entry_point("/udp")
    with collector() as (mirror, got), running_streamlb(balanced(address, mirror)), client(port) as sock:
        sizes = [0, 1, 1472, 9000, 65507]
        for size in sizes:
            sock.send(b"x" * size)
        until(lambda: len(got) == len(sizes))
        assert sorted(map(len, got)) == sizes


def test_a_dead_server_is_left_for_the_other() -> None:
    port, address = entry_point("/udp")
    with running_whoami("v2", http=False, udp=True) as v2:
        with running_streamlb(balanced(address, free_port("udp"), v2.udp_port)), client(port) as sock:
            sock.settimeout(0.3)

            def answered() -> bytes:
                with contextlib.suppress(TimeoutError):
                    return ask(sock, b"hello")
                return b""

            assert until(answered) == b"v2: hello"


def test_mirrors_get_copies() -> None:
    port, address = entry_point("/udp")
    with running_whoami("v1", http=False, udp=True) as v1, collector() as (mirror, got):
        services = f"""
    copy: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{mirror}"}}]}}}}
    both: {{mirroring: {{service: app, mirrors: [{{name: copy, percent: 100}}]}}}}
"""
        config = balanced(address, v1.udp_port, services=services, service="both")
        with running_streamlb(config), client(port) as sock:
            for number in range(3):
                assert ask(sock, b"hello %d" % number) == b"v1: hello %d" % number
            until(lambda: len(got) == 3)
    assert got == [b"hello 0", b"hello 1", b"hello 2"]


def test_flows_are_bounded() -> None:
    port, address = entry_point("/udp")
    with running_whoami("v1", http=False, udp=True) as v1:
        config = balanced(address, v1.udp_port, options=", udp: {maxFlows: 2}")
        with running_streamlb(config) as proxy, client(port) as one, client(port) as two, client(port) as three:
            assert ask(one, b"1") == b"v1: 1"
            assert ask(two, b"2") == b"v1: 2"
            three.send(b"3")
            assert ask(one, b"1") == b"v1: 1"
            three.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                raise AssertionError(f"a flow over the bound was served: {three.recv(100)!r}")
            assert proxy.process.poll() is None
