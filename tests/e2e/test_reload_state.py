"""What a running streamlb knows outlives its configurations: a test for each thing that is kept."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.certificates import authority
from tests.support.http import After, Client, Recorder, http_get, ok, recording
from tests.support.ports import free_port
from tests.support.programs import running_whoami
from tests.support.reloading import Live, live, plain
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator


def unrelated(proxy: Live, times: int = 1) -> None:
    """Reload with a change that is nobody's business."""
    for _ in range(times):
        number = len(proxy.http["routers"])
        proxy.router(f"more{number}", "app", f"Path(`/{number}`)")
        proxy.reload()


@contextlib.contextmanager
def origins(*names: str) -> Iterator[list[Recorder]]:
    """An origin for each name, which answers with it."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(recording(ok(name.encode()))) for name in names]


def texts(port: int, count: int) -> str:
    return "".join(http_get(port).text for _ in range(count))


def test_whose_turn_it_is_and_connections_to_servers() -> None:
    port = free_port()
    with origins("a", "b") as (a, b), live(plain(port, a.port, b.port)) as proxy:
        said = ""
        for _ in range(6):
            said += texts(port, 1)
            unrelated(proxy)
        assert said == "ababab"
        assert (a.connections, b.connections) == (1, 1)


def test_whose_turn_it_is_under_weights_that_change_every_time() -> None:
    port = free_port()
    with origins("a", "b") as (a, b), live(plain(port, a.port, b.port)) as proxy:
        said = ""
        for weight in range(2, 10):
            proxy.http["services"]["app"]["loadBalancer"]["servers"][1]["weight"] = weight % 3 + 1
            proxy.reload()
            said += texts(port, 1)
        assert 2 <= said.count("a") <= 5, said


def test_what_mirrors_are_owed() -> None:
    port = free_port()
    with origins("a", "copy") as (a, copy), live(plain(port, a.port)) as proxy:
        proxy.servers("copy", copy.port)
        proxy.router("all", "copied")
        for percent in (10, 11, 12, 10, 11):
            mirrors = [{"name": "copy", "percent": percent}]
            proxy.http["services"]["copied"] = {"mirroring": {"service": "app", "mirrors": mirrors}}
            proxy.reload()
            texts(port, 2)
        # 10 requests at 10 to 12 %: with a fresh quota each time it would be 5.
        until(lambda: copy.requests)
        assert len(copy.requests) <= 2


def test_sticky_clients() -> None:
    port = free_port()
    with origins("a", "b") as (a, b), live(plain(port, a.port, b.port)) as proxy:
        proxy.http["services"]["app"]["loadBalancer"]["sticky"] = {"cookie": {"name": "s"}}
        proxy.reload()
        first = http_get(port)
        cookie = (first.value("Set-Cookie") or b"").split(b";")[0].decode()
        for _ in range(3):
            unrelated(proxy)
            assert http_get(port, headers=[("Cookie", cookie)]).text == first.text


def test_verdicts_of_health_checks_and_how_new_servers_start() -> None:
    port, dead = free_port(), free_port()
    with origins("a", "b") as (a, b), live(plain(port, a.port)) as proxy:
        check = {"path": "/", "interval": "30s", "timeout": "1s", "initialState": "probe"}
        proxy.servers("app", a.port, dead, healthCheck=check)
        proxy.reload()
        proxy.proxy.wait_for(f"server http://127.0.0.1:{dead} is down")
        proxy.proxy.wait_for(f"server http://127.0.0.1:{a.port} is up")
        # A server that comes later starts as the check says, the others stay what they are: nobody probes them anew.
        down = {**check, "initialState": "down"}
        proxy.servers("app", a.port, dead, b.port, healthCheck=down)
        proxy.reload()
        assert texts(port, 4) == "aaaa"
        until(lambda: "b" in texts(port, 2))
        unrelated(proxy)
        assert set(texts(port, 6)) == {"a", "b"}
        assert proxy.proxy.log().count(f"server http://127.0.0.1:{dead} is down") == 1


def test_servers_that_clients_requests_took_out() -> None:
    port = free_port()
    bad = b"HTTP/1.1 500 Bad\r\nContent-Length: 0\r\n\r\n"
    with recording(ok(b"a")) as a, recording(bad) as b, live(plain(port, a.port)) as proxy:
        passive = {"maxFailedAttempts": 1, "failureWindow": "60s"}
        proxy.servers("app", a.port, b.port, passiveHealthCheck=passive)
        proxy.reload()
        texts(port, 4)
        proxy.proxy.wait_for("is taken out for 60 s")
        unrelated(proxy)
        asked = len(b.requests)
        assert texts(port, 4) == "aaaa"
        assert len(b.requests) == asked


def test_places_and_who_waits_for_one() -> None:
    port = free_port()
    with recording([After.HANG]) as origin, live(plain(port, origin.port)) as proxy:
        server = {"url": f"http://127.0.0.1:{origin.port}", "maxConnections": 1}
        proxy.http["services"]["app"]["loadBalancer"] = {"servers": [server]}
        proxy.reload()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(port)) for _ in range(3)]
            for client in clients:
                client.sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                until(lambda: origin.requests)
            # The place is still taken, under whatever configuration.
            unrelated(proxy)
            assert len(origin.requests) == 1
            # It becomes free: whoever waited under the old configuration has it now.
            origin.answer = ok(b"free")
            origin.drop_all()
            assert {client.reply().status for client in clients[1:]} == {200}
            assert clients[0].reply().status == 502


def test_who_waits_gets_a_place_that_the_new_configuration_has() -> None:
    port = free_port()
    with recording([After.HANG]) as full, recording(ok(b"new")) as new, live(plain(port, full.port)) as proxy:
        server = {"url": f"http://127.0.0.1:{full.port}", "maxConnections": 1}
        proxy.http["services"]["app"]["loadBalancer"] = {"servers": [server], "queue": {"timeout": "20s"}}
        proxy.reload()
        with Client(port) as first, Client(port) as second:
            for client in (first, second):
                client.sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                until(lambda: full.requests)
            more = {"url": f"http://127.0.0.1:{new.port}", "maxConnections": 1}
            proxy.http["services"]["app"]["loadBalancer"]["servers"].append(more)
            proxy.reload()
            assert second.reply().text == "new"


def test_conversations_and_how_many_each_client_has() -> None:
    port = free_port()
    with running_whoami("a", http=False, tcp=True) as server, live(plain(free_port(), 1)) as proxy:
        proxy.entry_point("raw", port)
        proxy.servers("raw", server.tcp_port, protocol="tcp")
        proxy.router("raw", "raw", protocol="tcp", entryPoints=["raw"], middlewares=["one"])
        proxy.tree["tcp"]["middlewares"] = {"one": {"inFlightConn": {"amount": 1}}}
        proxy.reload()
        with socket.create_connection(("127.0.0.1", port)) as first:
            first.sendall(b"one\n")
            assert first.recv(4096)
            unrelated(proxy)
            # Others than it may not come, and it goes on, even after nobody else could come at all.
            with socket.create_connection(("127.0.0.1", port)) as second:
                assert second.recv(1) == b""
            del proxy.tree["tcp"]["routers"]["raw"]
            proxy.reload()
            first.sendall(b"two\n")
            assert first.recv(4096)


def test_udp_flows() -> None:
    port = free_port("udp")
    with (
        running_whoami("a", http=False, udp=True) as a,
        running_whoami("b", http=False, udp=True) as b,
        live(plain(free_port(), 1)) as proxy,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(5)
        client.connect(("127.0.0.1", port))
        proxy.entry_point("udp", port, "udp", udp={"timeout": "30s"})
        proxy.servers("udp", a.udp_port, b.udp_port, protocol="udp")
        proxy.router("udp", "udp", protocol="udp", entryPoints=["udp"])
        proxy.reload()
        answers = set()
        for flows in (1000, 2000, 3000):
            client.send(b"WHO")
            answers.add(client.recv(4096))
            proxy.tree["entryPoints"]["udp"]["udp"]["maxFlows"] = flows
            proxy.reload()
        assert len(answers) == 1


@pytest.mark.parametrize("changed", ["router", "options"])
def test_tls_sessions(changed: str) -> None:
    port = free_port()
    pair = authority().certificate("a.test")
    with recording() as origin, live(plain(port, origin.port)) as proxy:
        proxy.http["routers"]["all"]["tls"] = {}
        proxy.tree["tls"] = {"certificates": [{"certFile": str(pair.certificate), "keyFile": str(pair.key)}]}
        proxy.reload()
        context = ssl.create_default_context(cafile=str(authority().pair.certificate))

        def visit(session: ssl.SSLSession | None = None) -> tuple[ssl.SSLSession | None, bool | None]:
            raw = socket.create_connection(("127.0.0.1", port))
            with context.wrap_socket(raw, server_hostname="a.test", session=session) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
                while sock.recv(65536):
                    pass
                return sock.session, sock.session_reused

        session, _ = visit()
        if changed == "router":
            unrelated(proxy)
        else:
            proxy.tree["entryPoints"]["web"]["http"] = {"maxHeaderBytes": 4096}
            proxy.reload()
        assert visit(session)[1] is True


def test_an_answer_under_way() -> None:
    port = free_port()
    parts: list[Any] = [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nab", 0.4, b"cd", 0.4, b"ef"]
    with recording(parts) as origin, live(plain(port, origin.port)) as proxy:
        answers: list[str] = []
        asking = threading.Thread(target=lambda: answers.append(http_get(port).text))
        asking.start()
        until(lambda: origin.requests)
        proxy.servers("app", free_port())
        proxy.tree["entryPoints"]["web"]["http"] = {"maxHeaderBytes": 4096}
        proxy.reload()
        asking.join(10)
        assert answers == ["abcdef"]
