"""UDP with programs that users know: iperf3 for volume, nc for a word."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.e2e.test_udp import balanced
from tests.support.configs import entry_point
from tests.support.ports import free_port
from tests.support.programs import need, running, running_streamlb, running_whoami

SECONDS = 1


@pytest.mark.parametrize(
    ("length", "reverse"),
    [(64, []), (1400, []), (1400, ["--reverse"]), (9000, ["--reverse"])],
    ids=["small", "up", "down", "large"],
)
def test_iperf3(length: int, reverse: list[str]) -> None:
    iperf3 = need("iperf3")
    port, server = free_port("both"), free_port("both")
    config = f"""
entryPoints:
  control: {{address: "127.0.0.1:{port}"}}
  data: {{address: "127.0.0.1:{port}/udp"}}
tcp:
  routers: {{iperf: {{rule: "HostSNI(`*`)", service: iperf}}}}
  services: {{iperf: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{server}"}}]}}}}}}
udp:
  routers: {{iperf: {{service: iperf}}}}
  services: {{iperf: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{server}"}}]}}}}}}
"""
    with running([iperf3, "-s", "-B", "127.0.0.1", "-p", str(server), "--forceflush"], name="iperf3") as program:
        program.wait_for("listening")
        with running_streamlb(config):
            limits = ["-u", "-b", "10M", "-l", str(length), "-t", str(SECONDS), *reverse]
            command = [iperf3, "-c", "127.0.0.1", "-p", str(port), "--json", *limits]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            report: dict[str, Any] = json.loads(done.stdout)
            assert done.returncode == 0, report.get("error")
    total = report["end"]["sum"]
    assert total["packets"] > 100
    # Buffers overflow on a busy machine, and UDP has no other way to say so.
    assert total["lost_percent"] < 20


def test_nc_says_a_word_and_hears_one() -> None:
    nc = need("nc", "netcat-openbsd")
    port, address = entry_point("/udp")
    with running_whoami("v1", http=False, udp=True) as v1, running_streamlb(balanced(address, v1.udp_port)):
        command = [nc, "-u", "-W", "1", "-w", "5", "127.0.0.1", str(port)]
        done = subprocess.run(command, input=b"hello", capture_output=True, timeout=20, check=True)
        assert done.stdout == b"v1: hello"
