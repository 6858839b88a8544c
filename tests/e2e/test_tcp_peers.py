"""TCP with programs that users know: Redis, iperf3, PostgreSQL, and servers that want TLS.

The story: what an operator puts behind an entry point on the first day, and what he may rely on.
"""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from typing import Any

import pytest

from tests.support.configs import entry_point
from tests.support.peers import (
    connect,
    everything,
    psql,
    redis_cli,
    running_postgres,
    running_redis,
)
from tests.support.ports import free_port
from tests.support.programs import need, running, running_streamlb, running_whoami


def balanced(address: str, *servers: int | str, service: str = "app", more: str = "", options: str = "") -> str:
    """One TCP router to `service`, by default the load balancer of these servers."""
    listed = ", ".join(
        f'{{address: "127.0.0.1:{server}"}}' if isinstance(server, int) else f"{{{server}}}" for server in servers
    )
    return f"""
entryPoints: {{db: {{address: "{address}"}}}}
tcp:
  routers: {{app: {{rule: "HostSNI(`*`)", service: {service}}}}}
  services:
    app: {{loadBalancer: {{servers: [{listed}]{options}}}}}
{more}
"""


def test_redis_says_what_it_is_asked_and_what_it_is_not() -> None:
    """A subscriber is spoken to; a pipeline of thousands is answered in order."""
    port, address = entry_point("/tcp")
    with running_redis() as redis, running_streamlb(balanced(address, redis)):
        assert redis_cli(port, "set", "k", "v") == "OK\n"
        assert redis_cli(port, "get", "k") == "v\n"
        subscribed = [need("redis-cli", "redis-tools"), "-p", str(port), "subscribe", "news"]
        with running(subscribed, name="subscriber") as subscriber:
            subscriber.wait_for("subscribe")
            assert redis_cli(port, "publish", "news", "it rains") == "1\n"
            subscriber.wait_for("it rains")
        commands = b"".join(b"*3\r\n$3\r\nSET\r\n$5\r\nk%04d\r\n$5\r\nv%04d\r\n" % (i, i) for i in range(5000))
        assert "errors: 0, replies: 5000" in redis_cli(port, "--pipe", stdin=commands)
        assert redis_cli(port, "get", "k4999") == "v4999\n"
        assert redis_cli(port, "dbsize") == "5001\n"


@pytest.mark.parametrize("mirrored", [False, True], ids=["alone", "mirrored"])
@pytest.mark.parametrize("direction", [[], ["--reverse"], ["--bidir"]], ids=["up", "down", "both"])
def test_iperf3_moves_its_bytes(direction: list[str], *, mirrored: bool) -> None:
    port, address = entry_point("/tcp")
    server = free_port()
    with running_iperf3(server), running_whoami("copy", http=False, tcp=True) as copy:
        more = f"""
    copy: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{copy.tcp_port}"}}]}}}}
    both: {{mirroring: {{service: app, mirrors: [{{name: copy, percent: 100}}]}}}}
"""
        config = balanced(address, server, service="both", more=more) if mirrored else balanced(address, server)
        with running_streamlb(config):
            end = iperf3(port, "-n", "100M", *direction)["end"]
    # It stops reading when the client has sent its share, so that what is on its way then is not counted.
    received = [total["bytes"] for name, total in end.items() if name.startswith("sum_received")]
    assert len(received) == 1 + ("--bidir" in direction)
    assert min(received) > 2**23


def running_iperf3(port: int) -> Any:
    return running([need("iperf3"), "-s", "-B", "127.0.0.1", "-p", str(port), "--forceflush"], name="iperf3")


def iperf3(port: int, *options: str) -> dict[str, Any]:
    command = [need("iperf3"), "-c", "127.0.0.1", "-p", str(port), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    report: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0, report.get("error")
    return report


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_a_mirror_that_reads_nothing_holds_up_nobody() -> None:
    """The mirror accepts and never reads; the client's 64 MiB go through at the pace of its server."""
    import socket

    port, address = entry_point("/tcp")
    taken = bytearray()

    def take(listener: socket.socket) -> None:
        sock, _ = listener.accept()
        with sock:
            taken.extend(everything(sock))
            sock.sendall(b"thanks")

    with listening() as main, listening() as lazy:
        more = f"""
    copy: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{lazy.getsockname()[1]}"}}]}}}}
    both: {{mirroring: {{service: app, mirrors: [{{name: copy, percent: 100}}]}}}}
"""
        with running_streamlb(balanced(address, main.getsockname()[1], service="both", more=more)):
            server = threading.Thread(target=take, args=(main,), daemon=True)
            server.start()
            block = bytes(range(256)) * 4096
            with connect(port) as sock:
                for _ in range(64):
                    sock.sendall(block)
                sock.shutdown(socket.SHUT_WR)
                assert everything(sock) == b"thanks"
            server.join(10)
    assert taken == block * 64


def test_postgres_in_the_clear() -> None:
    port, address = entry_point("/tcp")
    with running_postgres() as postgres, running_streamlb(balanced(address, postgres)):
        done = psql(port, "select sum(i) from generate_series(1, 100000) as t(i)", "sslmode=disable")
        assert done.stdout == "5000050000\n", done.stderr
        # A client that would rather have TLS hears the server's own no.
        assert psql(port, "select 1", "sslmode=prefer").stdout == "1\n"
