"""Name servers behind `mode: datagram`, asked by dig.

The story: every question goes to the next name server, its answer to whoever asked; a dead one is not noticed.
"""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.configs import entry_point
from tests.support.dns import name_server
from tests.support.ports import free_port
from tests.support.programs import need, running_streamlb
from tests.support.until import until


def name_servers(address: str, *ports: int, options: str = "mode: datagram", more: str = "") -> str:
    servers = ", ".join(f"{{address: '127.0.0.1:{port}'}}" for port in ports)
    return f"""
entryPoints: {{dns: {{address: "{address}", udp: {{{options}}}}}}}
udp:
  routers: {{dns: {{service: dns}}}}
  services: {{dns: {{loadBalancer: {{servers: [{servers}]{more}}}}}}}
"""


def dig(port: int, *names: str, source: str = "127.0.0.1") -> list[str]:
    """The answers to these names, asked one after the other; `source` may end with `#port`, else each has its own."""
    questions = [word for name in names for word in ("+noall", "+answer", "+tries=1", "+time=5", name)]
    command = [need("dig", "dnsutils"), "-p", str(port), "@127.0.0.1", "-b", source, *questions]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return [line.split()[-1] for line in done.stdout.splitlines() if line and not line.startswith(";")]


def test_questions_are_spread_even_if_they_come_from_one_socket() -> None:
    port, address = entry_point("/udp")
    with name_server("192.0.2.1") as one, name_server("192.0.2.2") as two:
        with running_streamlb(name_servers(address, one.port, two.port)):
            answers = dig(port, "a.test", "b.test", "c.test", "d.test")
            assert answers == ["192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.2"]
            source = f"127.0.0.1#{free_port('udp')}"
            assert dig(port, "e.test", source=source) == ["192.0.2.1"]
            assert dig(port, "f.test", source=source) == ["192.0.2.2"]
        assert one.asked == ["a.test", "c.test", "e.test"]
        assert two.asked == ["b.test", "d.test", "f.test"]


@pytest.mark.parametrize("mode", ["datagram", "flow"])
def test_many_ask_at_the_same_time(mode: str) -> None:
    port, address = entry_point("/udp")
    with name_server("192.0.2.1") as one, name_server("192.0.2.2") as two:
        with running_streamlb(name_servers(address, one.port, two.port, options=f"mode: {mode}")):
            with ThreadPoolExecutor(4) as pool:
                runs = list(pool.map(lambda n: dig(port, *(f"n{n}-{i}.test" for i in range(25))), range(4)))
        assert all(len(answers) == 25 for answers in runs)
        assert sorted(one.asked + two.asked) == sorted(f"n{n}-{i}.test" for n in range(4) for i in range(25))
        if mode == "datagram":
            assert len(one.asked) == len(two.asked) == 50
        else:
            # A port that came again belonged to a flow, which has its server.
            assert min(len(one.asked), len(two.asked)) > 30


def test_weights_and_a_fallback_hold_for_each_datagram() -> None:
    port, address = entry_point("/udp")
    with name_server("192.0.2.1") as one, name_server("192.0.2.2") as two:
        config = f"""
entryPoints: {{dns: {{address: "{address}", udp: {{mode: datagram}}}}}}
udp:
  routers: {{dns: {{service: all}}}}
  services:
    all: {{failover: {{service: dead, fallback: both}}}}
    dead: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{free_port("udp")}"}}]}}}}
    both: {{weighted: {{services: [{{name: one, weight: 3}}, {{name: two, weight: 1}}]}}}}
    one: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{one.port}"}}]}}}}
    two: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{two.port}"}}]}}}}
"""
        with running_streamlb(config):
            assert len(dig(port, *(f"n{number}.test" for number in range(24)))) == 24
        assert (len(one.asked), len(two.asked)) == (18, 6)


def test_a_dead_name_server_costs_no_question() -> None:
    port, address = entry_point("/udp")
    with name_server("192.0.2.2") as alive:
        with running_streamlb(name_servers(address, free_port("udp"), alive.port)):
            assert dig(port, "a.test", "b.test", "c.test", "d.test") == ["192.0.2.2"] * 4


def test_a_name_server_that_is_checked_and_comes_back() -> None:
    port, address = entry_point("/udp")
    late = free_port("udp")
    check = r', healthCheck: {interval: 100ms, timeout: 100ms, send: "\x12\x34\x01\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01"}'
    with name_server("192.0.2.2") as alive:
        with running_streamlb(name_servers(address, late, alive.port, more=check)) as proxy:
            proxy.wait_for("is down")
            assert dig(port, "a.test", "b.test") == ["192.0.2.2"] * 2
            with name_server("192.0.2.1", port=late):
                proxy.wait_for("is up")
                answers: set[str] = set()
                until(lambda: answers.update(dig(port, "c.test")) or len(answers) == 2)


def test_a_question_without_an_answer_ends_by_the_timeout() -> None:
    port, address = entry_point("/udp")
    config = name_servers(address, free_port("udp"), options="mode: datagram, timeout: 200ms")
    with running_streamlb(config) as proxy:
        command = [need("dig", "dnsutils"), "-p", str(port), "@127.0.0.1", "+tries=1", "+time=1", "a.test"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 9, done.stdout
        assert "nothing listens for UDP at server 127.0.0.1" in proxy.log()
