"""Health as an operator sees it: servers that go down and come back, under traffic, with one line each in the log."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.configs import entry_point
from tests.support.http import After, Client, http_get, ok, recording
from tests.support.ports import free_port
from tests.support.programs import running_streamlb, running_whoami
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.programs import Proxy, Whoami

INTERVAL = 0.1
CHECK = "healthCheck: {path: /health, interval: 100ms, timeout: 1s}"


def config(address: str, *ports: int, options: str = CHECK, workers: int = 1) -> str:
    servers = ", ".join(f"{{url: 'http://127.0.0.1:{port}'}}" for port in ports)
    return f"""
entryPoints: {{web: {{address: "{address}"}}}}
log: {{format: common}}
workers: {workers}
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: app}}}}
  services:
    app:
      loadBalancer:
        servers: [{servers}]
        {options}
"""


def set_health(server: Whoami, status: int) -> None:
    with Client(server.http_port) as client:
        assert client.request("/health", method="POST", body=str(status).encode()).status == 200


def names(port: int, count: int = 6) -> set[str]:
    """Who answers so many requests, each on a connection of its own; `503` for nobody."""
    answers = [http_get(port) for _ in range(count)]
    return {answer.text.strip() if answer.status == 200 else str(answer.status) for answer in answers}


def lines(proxy: Proxy, text: str) -> list[str]:
    return [line for line in proxy.log().splitlines() if text in line]


@contextlib.contextmanager
def traffic(port: int) -> Iterator[list[tuple[float, str]]]:
    """Requests all the time, on one kept connection; when each was sent and who answered, or which error."""
    answers: list[tuple[float, str]] = []
    over = threading.Event()

    def ask() -> None:
        with Client(port) as client:
            while not over.wait(0.002):
                sent_at = time.monotonic()
                reply = client.request("/")
                answers.append((sent_at, reply.text.strip() if reply.status == 200 else str(reply.status)))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        until(lambda: len(answers) > 10)
        yield answers
    finally:
        over.set()
        thread.join(10)


def since(answers: list[tuple[float, str]], at: float) -> set[str]:
    return {who for sent_at, who in answers if sent_at >= at}


@contextlib.contextmanager
def two_servers() -> Iterator[tuple[Whoami, Whoami]]:
    with running_whoami("v1", text="v1") as v1, running_whoami("v2", text="v2") as v2:
        yield v1, v2


# --- HTTP --------------------------------------------------------------------------------------------------------


def test_a_server_goes_down_and_comes_back_and_no_request_fails() -> None:
    port, address = entry_point()
    with two_servers() as (v1, v2), running_streamlb(config(address, v1.http_port, v2.http_port)) as proxy:
        with traffic(port) as answers:
            until(lambda: {who for _, who in answers} == {"v1", "v2"})
            set_health(v1, 503)
            started_at = time.monotonic()
            down = f"service app: server http://127.0.0.1:{v1.http_port} is down: GET /health: 503 (1 of 2 servers up)"
            proxy.wait_for(down)
            down_at = time.monotonic()
            # Two intervals, and what a busy machine takes to say so.
            assert down_at - started_at < 2 * INTERVAL + 0.4
            until(lambda: answers[-1][0] > down_at + 0.5)
            assert since(answers, down_at + 0.1) == {"v2"}
            set_health(v1, 200)
            proxy.wait_for(f"service app: server http://127.0.0.1:{v1.http_port} is up: GET /health: 200 (2 of 2 serv")
            up_at = time.monotonic()
            until(lambda: since(answers, up_at + 0.1) == {"v1", "v2"})
        assert {who for _, who in answers} == {"v1", "v2"}
        assert len(lines(proxy, " is down: ")) == len(lines(proxy, " is up: ")) == 1


def test_a_killed_server_costs_no_request_before_the_check_sees_it_and_none_after() -> None:
    port, address = entry_point()
    options = "healthCheck: {path: /health, interval: 200ms}"
    with two_servers() as (v1, v2):
        with running_streamlb(config(address, v1.http_port, v2.http_port, options=options)) as proxy:
            v1.stop(signal.SIGKILL)
            assert names(port, 20) == {"v2"}  # Refused ones are tried at the other server.
            proxy.wait_for("is down: connection refused (1 of 2 servers up)")
            warnings = len(lines(proxy, "connection refused"))
            assert names(port, 20) == {"v2"}
            assert len(lines(proxy, "connection refused")) == warnings


def test_all_down_is_503_and_one_line_says_that_it_was_the_last() -> None:
    port, address = entry_point()
    with two_servers() as (v1, v2), running_streamlb(config(address, v1.http_port, v2.http_port)) as proxy:
        set_health(v1, 500)
        set_health(v2, 500)
        last = proxy.wait_for("(0 of 2 servers up)")
        assert "ERROR" in last
        answer = until(lambda: (found := http_get(port)).status == 503 and found)
        assert answer.body == b"no available server\n"
        set_health(v2, 204)
        until(lambda: http_get(port).status == 200)
        assert names(port) == {"v2"}


def test_parents_follow() -> None:
    port, address = entry_point()
    with two_servers() as (v1, v2):
        text = config(address, v1.http_port)
        text = text.replace("service: app", "service: tree").replace(
            "  services:\n",
            f"""  services:
    tree: {{weighted: {{services: [{{name: app, weight: 3}}, {{name: other}}]}}}}
    mirror: {{mirroring: {{service: app, mirrors: [{{name: other, percent: 100}}]}}}}
    other:
      loadBalancer:
        servers: [{{url: "http://127.0.0.1:{v2.http_port}"}}]
        {CHECK}
""",
        )
        text = text.replace("{all:", '{mirror: {rule: "Path(`/mirror`)", service: mirror}, all:')
        with running_streamlb(text) as proxy:
            assert names(port, 4) == {"v1", "v2"}
            assert http_get(port, "/mirror").text == "v1\n"
            set_health(v1, 503)
            proxy.wait_for("is down: GET /health: 503 (0 of 1 server up)")
            until(lambda: http_get(port, "/mirror").status == 503)
            assert names(port, 8) == {"v2"}
            set_health(v2, 503)
            until(lambda: http_get(port).status == 503)
            set_health(v1, 200)
            until(lambda: http_get(port).status == 200)
            assert names(port, 4) == {"v1"}


def test_several_workers_learn_it_and_a_successor_knows_it_at_once() -> None:
    port, address = entry_point()
    with two_servers() as (v1, v2):
        # No probe can tell the successor in time: the next one is a minute away.
        options = "healthCheck: {path: /health, interval: 100ms, unhealthyInterval: 1m}"
        text = config(address, v1.http_port, v2.http_port, options=options, workers=2)
        with running_streamlb(text) as proxy:
            set_health(v1, 503)
            proxy.wait_for("is down")
            time.sleep(0.1)  # What a flip may take to reach all workers.
            assert names(port, 40) == {"v2"}
            for _ in range(2):
                ready = len(lines(proxy, "is ready"))
                os.kill(proxy.workers()[0], signal.SIGKILL)
                until(lambda seen=ready: len(lines(proxy, "is ready")) > seen, 10)
            assert names(port, 40) == {"v2"}
            assert len(lines(proxy, " is down: ")) == 1


def test_probes_are_made_once_for_all_workers_and_at_the_same_time() -> None:
    _, address = entry_point()
    with recording([After.HANG]) as stalled, recording() as good:
        text = config(address, stalled.port, good.port, workers=2)
        with running_streamlb(text) as proxy:
            seen = len(good.requests)
            started_at = time.monotonic()
            proxy.wait_for("is down: timeout after 1 s (1 of 2 servers up)")
            until(lambda: len(good.requests) > seen + 5)
            rate = (len(good.requests) - seen) / (time.monotonic() - started_at)
            assert 5 < rate < 15  # 10 a second, not 20.


def test_a_name_that_does_not_resolve_is_a_server_that_is_down() -> None:
    port, address = entry_point()
    with running_whoami("v1", text="v1") as v1:
        text = config(address, v1.http_port).replace("servers: [", "servers: [{url: 'http://nowhere.invalid'}, ")
        with running_streamlb(text) as proxy:
            proxy.wait_for("server http://nowhere.invalid is down: the name does not resolve (1 of 2 servers up)")
            assert names(port) == {"v1"}


def test_each_address_of_a_name_has_a_health_of_its_own() -> None:
    port, address = entry_point()
    with recording(ok(b"here")) as origin:
        text = config(address, origin.port)
        text = text.replace(f"127.0.0.1:{origin.port}'", f"localhost:{origin.port}', resolve: all")
        with running_streamlb(text) as proxy:
            proxy.wait_for("localhost is ")
            until(lambda: len(origin.requests) > 3)
            assert {http_get(port).body for _ in range(6)} == {b"here"}
            origin.answer = lambda request: BAD if request.target == "/health" else ok(b"here")
            proxy.wait_for("(127.0.0.1) is down: GET /health: 500")
            until(lambda: http_get(port).status == 503)
            origin.answer = ok(b"here")
            proxy.wait_for("(127.0.0.1) is up: GET /health: 200")
            until(lambda: http_get(port).status == 200)


@pytest.mark.parametrize("state", ["probe", "down"])
def test_a_server_nothing_is_known_of_gets_no_request(state: str) -> None:
    port, address = entry_point()
    options = f"healthCheck: {{path: /health, interval: 200ms, initialState: {state}}}"
    with recording(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n") as bad, running_whoami("v1", text="v1") as good:
        with running_streamlb(config(address, bad.port, good.http_port, options=options)):
            if state == "down":
                until(lambda: http_get(port).status == 200)
            # With `probe` the first request already finds the one that works: it waited for no more than the probes.
            assert names(port) == {"v1"}
            until(lambda: bad.requests)
            assert names(port) == {"v1"}
            assert set(bad.targets()) == {"/health"}


def test_the_start_waits_for_first_probes_no_longer_than_a_timeout_and_can_be_stopped() -> None:
    port, address = entry_point()
    options = "healthCheck: {path: /health, interval: 200ms, timeout: 500ms, initialState: probe}"
    with recording([After.HANG]) as stalled, recording(ok(b"v1")) as good:
        text = config(address, stalled.port, good.port, options=options)
        started_at = time.monotonic()
        with running_streamlb(text):
            assert time.monotonic() - started_at < 0.5 + 3
            assert names(port) == {"v1"}
        with running_streamlb(text.replace("500ms", "1m"), wait=False) as proxy:
            until(lambda: len(good.requests) > 3)
            proxy.wait_for("entry point web")
            assert "is ready" not in proxy.log()
            assert proxy.stop(timeout=5) == 0


def test_rise_fall_and_the_body() -> None:
    port, address = entry_point()
    options = 'healthCheck: {path: /state, interval: 50ms, rise: 3, fall: 2, body: "/^(ok|warn)$/"}'
    with recording(ok(b"ok")) as origin, recording(ok(b"warn")) as other:
        with running_streamlb(config(address, origin.port, other.port, options=options)) as proxy:
            origin.answer = ok(b"bad")
            proxy.wait_for("is down: GET /state: 200, but /^(ok|warn)$/ is not in the body (1 of 2 servers up)")
            origin.answer = ok(b"ok")
            seen = len(origin.requests)
            proxy.wait_for("is up: GET /state: 200")
            assert len(origin.requests) - seen >= 3
            assert http_get(port).status == 200


def test_a_server_that_is_back_gets_its_share_little_by_little() -> None:
    port, address = entry_point()
    with two_servers() as (v1, v2):
        text = config(address, v1.http_port, v2.http_port, options=f"slowStart: 2s\n        {CHECK}")
        with running_streamlb(text) as proxy, traffic(port) as answers:
            set_health(v1, 503)
            proxy.wait_for("is down")
            set_health(v1, 200)
            proxy.wait_for("is up")
            up_at = time.monotonic()

            def share(begin: float, end: float) -> float:
                found = [who for sent_at, who in answers if begin <= sent_at - up_at < end]
                return found.count("v1") / len(found)

            until(lambda: answers[-1][0] > up_at + 2.9)
            assert share(0.05, 0.6) < 0.3
            assert share(0.05, 0.6) < share(1.0, 1.8) < 0.5
            assert 0.48 < share(2.3, 2.9) < 0.52
            assert {who for _, who in answers} == {"v1", "v2"}


# --- passive -----------------------------------------------------------------------------------------------------

BAD = b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops"


def test_failures_of_requests_take_a_server_out_for_a_while() -> None:
    port, address = entry_point()
    options = "passiveHealthCheck: {maxFailedAttempts: 2, failureWindow: 600ms}"
    with recording(BAD) as bad, recording(ok(b"good")) as good:
        with running_streamlb(config(address, bad.port, good.port, options=options)) as proxy:
            answers = [http_get(port).text for _ in range(10)]
            # The answers that counted went to their clients as they were.
            assert answers == ["oops", "good", "oops"] + ["good"] * 7
            line = proxy.wait_for("is taken out")
            assert (
                f"server http://127.0.0.1:{bad.port} is taken out for 0.6 s: answered 500 (1 of 2 servers up)" in line
            )
            bad.answer = ok(b"well again")
            proxy.wait_for("is back: it has had its time (2 of 2 servers up)")
            assert {http_get(port).text for _ in range(4)} == {"good", "well again"}


def test_the_last_server_is_never_taken_out() -> None:
    port, address = entry_point()
    with recording(BAD) as one, recording([After.RESET]) as two:
        text = config(address, one.port, two.port, options="passiveHealthCheck: {}")
        with running_streamlb(text) as proxy:
            statuses = {http_get(port).status for _ in range(10)}
            assert statuses <= {500, 502}
            assert len(lines(proxy, "is taken out")) == 1


def test_with_an_active_check_only_that_brings_it_back_and_only_the_worker_that_saw_it_took_it_out() -> None:
    port, address = entry_point()
    options = "passiveHealthCheck: {failureWindow: 100ms}\n        healthCheck: {path: /health, interval: 700ms}"
    health = ok(b"fine")
    with recording(lambda request: health if request.target == "/health" else BAD) as bad, recording() as good:
        with running_streamlb(config(address, bad.port, good.port, options=options)) as proxy:
            until(lambda: "/health" in bad.targets() and "/health" in good.targets())
            until(lambda: [http_get(port).status for _ in range(2)] and lines(proxy, "is taken out"))
            taken_out_at = time.monotonic()
            line = proxy.wait_for("is taken out until its health check succeeds: answered 500")
            assert "(1 of 2 servers up)" in line
            assert {http_get(port).status for _ in range(6)} == {200}
            proxy.wait_for("is back: its health check succeeds (2 of 2 servers up)")
            assert time.monotonic() - taken_out_at < 2
            assert lines(proxy, "is down") == []


# --- TCP and UDP -------------------------------------------------------------------------------------------------


def tcp_config(address: str, *ports: int, options: str) -> str:
    servers = ", ".join(f"{{address: '127.0.0.1:{port}'}}" for port in ports)
    kind = "udp" if address.endswith("/udp") else "tcp"
    rule = "" if kind == "udp" else "rule: 'HostSNI(`*`)', "
    return f"""
entryPoints: {{in: {{address: "{address}", udp: {{timeout: 30s}}}}}}
log: {{format: common}}
{kind}:
  routers: {{all: {{{rule}service: app}}}}
  services:
    app:
      loadBalancer:
        servers: [{servers}]
        {options}
"""


def tcp_name(port: int) -> str:
    """Who echoes a line; empty where the connection was closed at once."""
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(b"hello\n")
            return sock.recv(100).decode().partition(":")[0]
    return ""


def test_tcp_checks() -> None:
    port, address = entry_point("/tcp")
    options = 'healthCheck: {send: "PING\\n", expect: "v", interval: 100ms, timeout: 500ms}'
    with running_whoami("v1", http=False, tcp=True) as v1, running_whoami("v2", http=False, tcp=True) as v2:
        with running_streamlb(tcp_config(address, v1.tcp_port, v2.tcp_port, options=options)) as proxy:
            assert {tcp_name(port) for _ in range(4)} == {"v1", "v2"}
            os.kill(v1.pid, signal.SIGSTOP)  # It still accepts, as far as the kernel goes, but nobody is in.
            line = proxy.wait_for("is down: timeout after 0.5 s")
            assert f"server 127.0.0.1:{v1.tcp_port} is down" in line
            assert {tcp_name(port) for _ in range(6)} == {"v2"}
            os.kill(v1.pid, signal.SIGCONT)
            proxy.wait_for("is up: answers as expected (2 of 2 servers up)")
            assert {tcp_name(port) for _ in range(4)} == {"v1", "v2"}
            v2.stop()
            proxy.wait_for("is down: connection refused (1 of 2 servers up)")
            v1.stop()
            proxy.wait_for("(0 of 2 servers up)")
            until(lambda: tcp_name(port) == "")


def test_tcp_failures_of_dials_take_a_server_out() -> None:
    port, address = entry_point("/tcp")
    dead = free_port()
    with running_whoami("v1", http=False, tcp=True) as v1:
        options = "passiveHealthCheck: {failureWindow: 1m}"
        with running_streamlb(tcp_config(address, dead, v1.tcp_port, options=options)) as proxy:
            assert [tcp_name(port) for _ in range(6)] == ["v1"] * 6
            assert len(lines(proxy, f"127.0.0.1:{dead}: connection refused")) == 1
            assert "is taken out for 60 s: connection refused (1 of 2 servers up)" in proxy.log()


def udp_name(sock: socket.socket) -> str:
    for _ in range(3):
        with contextlib.suppress(TimeoutError):
            sock.send(b"hello")
            return sock.recv(100).decode().partition(":")[0]
    return ""


def test_udp_checks_and_flows_that_leave_a_server_that_is_down() -> None:
    port, address = entry_point("/udp")
    options = 'healthCheck: {send: "ping", expect: "v", interval: 100ms, timeout: 300ms}'
    with running_whoami("v1", http=False, udp=True) as v1, running_whoami("v2", http=False, udp=True) as v2:
        with running_streamlb(tcp_config(address, v1.udp_port, v2.udp_port, options=options)) as proxy:
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(4)]
                for client in clients:
                    client.settimeout(1)
                    client.connect(("127.0.0.1", port))
                assert {udp_name(client) for client in clients} == {"v1", "v2"}
                os.kill(v1.pid, signal.SIGSTOP)  # Silent, not refusing: only a check can tell.
                proxy.wait_for(f"server 127.0.0.1:{v1.udp_port} is down: timeout after 0.3 s (1 of 2 servers up)")
                # The clients that were at v1 need not begin anew.
                assert [udp_name(client) for client in clients] == ["v2"] * 4
                os.kill(v1.pid, signal.SIGCONT)
                proxy.wait_for("is up: answers as expected (2 of 2 servers up)")
                assert [udp_name(client) for client in clients] == ["v2"] * 4


def test_udp_refusals_take_a_server_out() -> None:
    port, address = entry_point("/udp")
    dead = free_port("udp")
    with running_whoami("v1", http=False, udp=True) as v1:
        options = "passiveHealthCheck: {failureWindow: 1m}"
        with running_streamlb(tcp_config(address, dead, v1.udp_port, options=options)) as proxy:
            for _ in range(4):
                with socket.socket(type=socket.SOCK_DGRAM) as client:
                    client.settimeout(2)
                    client.connect(("127.0.0.1", port))
                    assert udp_name(client) == "v1"
            assert len(re.findall(r"is taken out for 60 s: port unreachable \(1 of 2 servers up\)", proxy.log())) == 1
