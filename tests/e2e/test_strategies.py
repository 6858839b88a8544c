"""Strategies: who gets a request is decided by load, by time, or by who asks.

The story: three servers behind one service, and each strategy sends clients where its description says.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.configs import entry_point, http_servers
from tests.support.http import After, Client, Recorder, ok
from tests.support.programs import running_streamlb, running_whoami
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.programs import Whoami

HOST = "app.test.com"


def balanced(address: str, ports: list[int], options: str) -> str:
    servers = ", ".join(f"{{url: 'http://127.0.0.1:{port}'}}" for port in ports)
    return f"""
entryPoints: {{web: {{address: "{address}"}}}}
http:
  routers: {{app: {{rule: "Host(`{HOST}`)", service: app}}}}
  services:
    app: {{loadBalancer: {{{options}, servers: [{servers}]}}}}
"""


@pytest.fixture(scope="module")
def whoamis() -> Iterator[list[Whoami]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(running_whoami(f"v{n}", text=f"v{n}", tcp=True, udp=True)) for n in range(1, 4)]


def test_p2c_keeps_clear_of_a_server_that_is_busy() -> None:
    port, address = entry_point()
    with Recorder([After.HANG]) as stuck, Recorder(ok(b"fine")) as free:
        with running_streamlb(balanced(address, [stuck.port, free.port], "strategy: p2c")):
            with contextlib.ExitStack() as stack:
                waiting = stack.enter_context(Client(port))
                while not stuck.requests:
                    waiting.sock.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                    until(lambda: len(stuck.requests) + len(free.requests) > 0)
                    if not stuck.requests:
                        waiting.reply()
                        free.requests.clear()
                client = stack.enter_context(Client(port))
                assert {client.request(host=HOST).text for _ in range(50)} == {"fine"}
            assert len(stuck.requests) == 1


def test_leasttime_prefers_the_fast_and_is_not_fooled_by_fast_failures() -> None:
    port, address = entry_point()
    broken = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
    with Recorder([0.1, ok(b"slow")]) as slow, Recorder([0.02, ok(b"fast")]) as fast, Recorder(broken) as failing:
        ports = [failing.port, slow.port, fast.port]
        with running_streamlb(balanced(address, ports, "strategy: leasttime")), Client(port) as client:
            answers = Counter(client.request(host=HOST).text for _ in range(40))
        assert answers == {"": 1, "slow": 1, "fast": 38}


def test_hrw_gives_a_client_always_the_same_server(whoamis: list[Whoami]) -> None:
    port, address = entry_point()
    ports = [each.http_port for each in whoamis]
    with running_streamlb(balanced(address, ports, "strategy: hrw")):
        seen = set()
        for _ in range(3):
            with Client(port) as client:
                seen |= {client.request(host=HOST).text for _ in range(5)}
        assert len(seen) == 1


@pytest.mark.parametrize("what", ["header: X-User", "cookie: user"])
def test_hrw_by_field_or_cookie_spreads_users_and_keeps_each(whoamis: list[Whoami], what: str) -> None:
    port, address = entry_point()
    ports = [each.http_port for each in whoamis]

    def fields(user: int) -> list[tuple[str, str]]:
        return [("X-User", f"user-{user}"), ("Cookie", f"a=b; user=user-{user}")]

    with running_streamlb(balanced(address, ports, f"strategy: hrw, hashBy: {{{what}}}")):
        with Client(port) as client:
            first = [client.request(host=HOST, headers=fields(user)).text for user in range(60)]
            again = [client.request(host=HOST, headers=fields(user)).text for user in range(60)]
        with Client(port) as client:
            assert len({client.request(host=HOST).text for _ in range(6)}) == 1
    assert first == again
    assert set(first) == {"v1\n", "v2\n", "v3\n"}


def test_hrw_moves_nobody_but_the_users_of_a_server_that_is_gone(whoamis: list[Whoami]) -> None:
    ports = [each.http_port for each in whoamis]
    answers = []
    for missing in (None, whoamis[0]):
        port, address = entry_point()
        usable = [each for each in ports if missing is None or each != missing.http_port]
        config = balanced(address, usable, "strategy: hrw, hashBy: {header: X-User}")
        with running_streamlb(config), Client(port) as client:
            answers.append([client.request(host=HOST, headers=[("X-User", f"u{n}")]).text for n in range(60)])
    for before, after in zip(*answers, strict=True):
        assert after == before or before == "v1\n"
        assert after != "v1\n"


def test_hrw_over_services_with_two_levels(whoamis: list[Whoami]) -> None:
    port, address = entry_point()
    config = f"""
entryPoints: {{web: {{address: "{address}"}}}}
http:
  routers: {{app: {{rule: "Host(`{HOST}`)", service: app}}}}
  services:
    app:
      highestRandomWeight:
        hashBy: {{header: X-Tenant}}
        healthCheck: {{}}
        services: [{{name: v1}}, {{name: v2, weight: 2}}, {{name: v3, weight: 0}}]
{http_servers(**{f"v{n}": each.http_port for n, each in enumerate(whoamis, 1)})}
"""
    with running_streamlb(config), Client(port) as client:
        answers = [client.request(host=HOST, headers=[("X-Tenant", f"t{n}")]).text for n in range(90)]
    shares = Counter(answers)
    assert set(shares) == {"v1\n", "v2\n"}
    assert 40 < shares["v2\n"] < 80


@pytest.mark.parametrize("strategy", ["wrr", "p2c", "leastconn", "hrw", "leasttime"])
def test_stickiness_goes_with_every_strategy(whoamis: list[Whoami], strategy: str) -> None:
    port, address = entry_point()
    ports = [each.http_port for each in whoamis]
    options = f"strategy: {strategy}, sticky: {{cookie: {{name: srv}}}}"
    with running_streamlb(balanced(address, ports, options)), Client(port) as client:
        first = client.request(host=HOST)
        cookie = (first.value("Set-Cookie") or b"").decode().partition(";")[0]
        assert cookie.startswith("srv=")
        again = [client.request(host=HOST, headers=[("Cookie", cookie)]) for _ in range(9)]
    assert {reply.text for reply in again} == {first.text}
    assert all(reply.value("Set-Cookie") is None for reply in again)


def test_stickiness_at_two_levels(whoamis: list[Whoami]) -> None:
    port, address = entry_point()
    v1, v2, v3 = (each.http_port for each in whoamis)
    config = f"""
entryPoints: {{web: {{address: "{address}"}}}}
http:
  routers: {{app: {{rule: "Host(`{HOST}`)", service: app}}}}
  services:
    app:
      weighted:
        services: [{{name: pair}}, {{name: single}}]
        sticky: {{cookie: {{name: lvl1}}}}
    pair:
      loadBalancer:
        servers: [{{url: "http://127.0.0.1:{v1}"}}, {{url: "http://127.0.0.1:{v2}"}}]
        sticky: {{cookie: {{name: lvl2}}}}
    single:
      loadBalancer: {{servers: [{{url: "http://127.0.0.1:{v3}"}}]}}
"""
    with running_streamlb(config), Client(port) as client:
        replies = [client.request(host=HOST) for _ in range(4)]
        assert [reply.text for reply in replies] == ["v1\n", "v3\n", "v2\n", "v3\n"]
        set_cookies = [[value.decode().partition(";")[0] for value in reply.values("Set-Cookie")] for reply in replies]
        assert [[cookie.partition("=")[0] for cookie in each] for each in set_cookies] == [
            ["lvl1", "lvl2"],
            ["lvl1"],
            ["lvl1", "lvl2"],
            ["lvl1"],
        ]
        for reply, cookies in zip(replies, set_cookies, strict=True):
            fields = [("Cookie", "; ".join(cookies))]
            assert {client.request(host=HOST, headers=fields).text for _ in range(3)} == {reply.text}


def test_strategies_for_tcp(whoamis: list[Whoami]) -> None:
    entries = {strategy: entry_point() for strategy in ("p2c", "leastconn", "hrw", "leasttime")}
    servers = ", ".join(f"{{address: '127.0.0.1:{each.tcp_port}'}}" for each in whoamis)
    config = "entryPoints:\n"
    config += "".join(f"  {name}: {{address: '{address}'}}\n" for name, (_, address) in entries.items())
    config += "tcp:\n  routers:\n"
    config += "".join(
        f"    {name}: {{rule: 'HostSNI(`*`)', entryPoints: [{name}], service: {name}}}\n" for name in entries
    )
    config += "  services:\n"
    config += "".join(f"    {name}: {{loadBalancer: {{strategy: {name}, servers: [{servers}]}}}}\n" for name in entries)

    def ask(port: int, stack: contextlib.ExitStack) -> str:
        sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
        sock.sendall(b"x\n")
        return sock.recv(100).decode()

    with running_streamlb(config):
        with contextlib.ExitStack() as stack:
            assert len({ask(entries["hrw"][0], stack) for _ in range(9)}) == 1
        for name, most in (("leastconn", 4), ("p2c", 6), ("leasttime", 10)):
            with contextlib.ExitStack() as stack:
                shares = Counter(ask(entries[name][0], stack) for _ in range(12))
            assert len(shares) == 3, name
            assert max(shares.values()) <= most, name


def test_hrw_for_udp(whoamis: list[Whoami]) -> None:
    port, address = entry_point("/udp")
    servers = ", ".join(f"{{address: '127.0.0.1:{each.udp_port}'}}" for each in whoamis)
    config = f"""
entryPoints: {{dns: {{address: "{address}"}}}}
udp:
  routers: {{app: {{service: app}}}}
  services: {{app: {{loadBalancer: {{strategy: hrw, servers: [{servers}]}}}}}}
"""
    answers = set()
    with running_streamlb(config):
        for _ in range(6):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(5)
                sock.sendto(b"x", ("127.0.0.1", port))
                answers.add(sock.recv(100))
    assert len(answers) == 1


def test_many_at_once_are_spread_by_p2c() -> None:
    port, address = entry_point()
    answers: list[str] = []
    with Recorder([0.05, ok(b"a")]) as a, Recorder([0.05, ok(b"b")]) as b:
        with running_streamlb(balanced(address, [a.port, b.port], "strategy: p2c")):

            def ask() -> None:
                with Client(port) as client:
                    answers.extend(client.request(host=HOST).text for _ in range(5))

            threads = [threading.Thread(target=ask) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    shares = Counter(answers)
    assert sum(shares.values()) == 40
    assert min(shares["a"], shares["b"]) >= 14
