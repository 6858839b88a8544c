"""UDP under pressure: floods, greedy clients, full servers, workers that die.

The story: whoever is being served goes on being served, and what is dropped is said.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sys
from pathlib import Path

from tests.e2e.test_udp import ask, balanced, client, collector, sockets_of
from tests.support.configs import entry_point
from tests.support.programs import Proxy, running, running_streamlb, running_whoami
from tests.support.until import until

FLOOD = """
import socket, sys
port, count = int(sys.argv[1]), int(sys.argv[2])
for number in range(count):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind((f"127.1.{number // 200 % 250 + 1}.{number % 200 + 1}", 0))
        stranger.sendto(b"flood", ("127.0.0.1", port))
print("done")
"""
"""A datagram each from so many sources, as fast as it goes."""


def memory_of(pid: int) -> int:
    """Bytes of memory in use."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def test_a_flood_of_new_sources_starves_nobody_and_takes_no_memory_beyond_the_bound() -> None:
    port, address = entry_point("/udp")
    bound = 2000
    with running_whoami("v1", http=False, udp=True) as v1:
        config = balanced(address, v1.udp_port, options=f", udp: {{maxFlows: {bound}, timeout: 60s}}")
        with running_streamlb(config) as proxy, client(port) as sock:
            [worker] = proxy.workers()
            assert [ask(sock, b"a"), ask(sock, b"b")] == [b"v1: a", b"v1: b"]
            before = memory_of(worker)
            sock.settimeout(1.0)
            sent = lost = 0
            with running([sys.executable, "-c", FLOOD, str(port), "50000"], name="flood") as flood:
                while flood.process.poll() is None:
                    sent += 1
                    lost += not served(sock, b"c%d" % sent)
                assert "done" in flood.log()
            print(f"{lost} of {sent} lost during the flood")
            assert sent > 20
            assert lost <= max(2, sent * 0.05)
            assert len(sockets_of(worker)) <= bound + 1
            assert memory_of(worker) - before < 16 * 1024 * 1024
            until(lambda: "UDP" in proxy.log())
            # A newcomer finds its place while the table is full of strangers: their first second is soon over.
            with client(port) as new:
                new.settimeout(0.3)
                assert until(lambda: served(new, b"d"))
            assert served(sock, b"e")


def served(sock: socket.socket, data: bytes) -> bool:
    """Whether an answer to `data` comes in time; late ones to what was asked before may come first."""
    with contextlib.suppress(TimeoutError):
        sock.send(data)
        while not sock.recv(100).endswith(b": " + data):
            pass
        return True
    return False


def test_a_client_with_too_many_flows_hurts_itself_only() -> None:
    port, address = entry_point("/udp")
    with collector() as (server, got):
        config = balanced(address, server, options=", udp: {maxFlowsPerClient: 3}")
        with running_streamlb(config) as proxy, contextlib.ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(client(port)).send(b"greedy")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind(("127.0.0.7", 0))
                other.sendto(b"other", ("127.0.0.1", port))
                until(lambda: b"other" in got)
            assert got == [b"greedy"] * 3 + [b"other"]
            proxy.wait_for(
                "a client has 3 flows, as many as one may have (udp.maxFlowsPerClient), for example 127.0.0.1"
            )


def test_full_servers_get_no_more_flows() -> None:
    port, address = entry_point("/udp")
    with running_whoami("v1", http=False, udp=True) as v1, running_whoami("v2", http=False, udp=True) as v2:
        config = balanced(address, v1.udp_port, v2.udp_port, options=", udp: {timeout: 1s}")
        config = config.replace("'}", "', maxConnections: 1}")
        with running_streamlb(config) as proxy, client(port) as one, client(port) as two, client(port) as three:
            assert ask(one, b"a") == b"v1: a"
            assert ask(two, b"b") == b"v2: b"
            three.send(b"c")
            proxy.wait_for("UDP datagrams dropped: the servers have as many flows as they may")
            assert ask(one, b"d") == b"v1: d"
            # Their flows end by the timeout; then there is room.
            three.settimeout(0.3)
            assert until(lambda: served(three, b"e"), 15.0)


def test_hashed_clients_keep_their_servers_whatever_dies() -> None:
    port, address = entry_point("/udp")
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running_whoami(f"v{n}", http=False, udp=True)) for n in range(3)]
        config = balanced(address, *(server.udp_port for server in servers)).replace(
            "loadBalancer: {", "loadBalancer: {strategy: hrw, "
        )
        config = f"workers: 2\n{config}"
        clients = []
        for number in range(8):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.settimeout(5)
            sock.bind((f"127.0.0.{number + 10}", 0))
            clients.append(sock)

        def asked() -> list[bytes]:
            answers = []
            for sock in clients:
                sock.connect(("127.0.0.1", port))
                answers.append(ask(sock, b"who"))
            return answers

        with running_streamlb(config) as proxy:
            before = asked()
            assert len(set(before)) > 1
            for victim in proxy.workers():
                kill_and_await_successor(proxy, victim)
                assert asked() == before
        with running_streamlb(config):
            assert asked() == before, "a new streamlb agrees with the old one"


def kill_and_await_successor(proxy: Proxy, victim: int) -> None:
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in proxy.workers() and len(proxy.workers()) == 2)
