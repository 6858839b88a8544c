"""Steering a running streamlb: `streamlb ctl`, `status`, `reload`, as an operator does it, under traffic."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pwd
import socket
import stat
import struct
from collections import Counter
from signal import SIGKILL
from typing import TYPE_CHECKING

import pytest

from tests.support.configs import entry_point
from tests.support.http import After, Recorder, http_get
from tests.support.load import constant_load
from tests.support.programs import running_streamlb, running_whoami
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.programs import Proxy, Whoami

TEXT = """
entryPoints: {{web: {{address: "{address}"}}}}
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: canary}}}}
  services:
    canary:
      weighted: {{sticky: {{cookie: {{name: who}}}}, services: [{{name: v1, weight: {weight}}}, {{name: v2}}]}}
    v1: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{one}"}}]}}}}
    v2: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{two}"}}], healthCheck: {{path: /health, interval: 1s}}}}}}
"""


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Whoami, Whoami]]:
    with running_whoami("v1") as one, running_whoami("v2") as two:
        yield one, two


def text_of(servers: tuple[Whoami, Whoami], address: str, weight: int = 1) -> str:
    return TEXT.format(address=address, weight=weight, one=servers[0].http_port, two=servers[1].http_port)


def names(port: int, count: int = 8, cookie: str = "") -> Counter[str]:
    """Who answers, and how often."""
    headers = [("Cookie", cookie)] if cookie else []
    return Counter(http_get(port, headers=headers).text.partition("Name: ")[2].split("\n")[0] for _ in range(count))


def states(proxy: Proxy) -> dict[str, str]:
    """State by server."""
    return {each["server"].rpartition(":")[2]: each["state"] for each in proxy.ask("ctl", "health")}


def test_weights_change_at_once_and_are_kept_over_restart_and_kill(
    servers: tuple[Whoami, Whoami], tmp_path: Path
) -> None:
    port, address = entry_point()
    file = tmp_path / "lb.yaml"
    file.write_text(text_of(servers, address))
    state = {"STATE_DIRECTORY": str(tmp_path)}
    with running_streamlb(file, env=state) as proxy:
        assert names(port) == {"v1": 4, "v2": 4}
        assert proxy.ctl("ctl", "weight", "canary", "v1", "3") == "weight of v1 in http service canary: 1 -> 3\n"
        assert names(port) == {"v1": 6, "v2": 2}
        [override] = proxy.ask("ctl", "overrides")["overrides"]
        assert (override["child"], override["value"], override["replaced"]) == ("v1", 3, 1)
        assert override["by"] == pwd.getpwuid(os.getuid()).pw_name
        proxy.kill()
    kept = json.loads((tmp_path / "overrides.json").read_text())
    assert kept["configuration"] == str(file)
    with running_streamlb(file, env=state) as proxy:
        assert "1 override is in force" in proxy.log()
        assert names(port) == {"v1": 6, "v2": 2}
        assert "1 (configured" not in proxy.ctl("status")
        assert "(weight 3, configured 1)" in proxy.ctl("status")
        assert proxy.stop() == 0
    # What the configuration comes to say wins, also over a restart.
    file.write_text(text_of(servers, address, weight=7))
    with running_streamlb(file, env=state) as proxy:
        assert names(port) == {"v1": 7, "v2": 1}
        said = proxy.ask("ctl", "overrides")
        assert (said["overrides"], said["yielded"][0]["override"]["id"]) == ([], 1)
        assert "has yielded" in proxy.log()
    assert json.loads((tmp_path / "overrides.json").read_text())["overrides"] == []


def test_an_override_yields_to_a_reload(servers: tuple[Whoami, Whoami], tmp_path: Path) -> None:
    port, address = entry_point()
    file = tmp_path / "lb.yaml"
    file.write_text(text_of(servers, address))
    with running_streamlb(file) as proxy:
        proxy.ctl("ctl", "weight", "canary", "v1", "3")
        file.write_text(text_of(servers, address) + "log: {level: DEBUG}\n")
        proxy.ctl("reload")
        assert names(port) == {"v1": 6, "v2": 2}, "another change is no reason to yield"
        file.write_text(text_of(servers, address, weight=7))
        proxy.ctl("reload")
        assert names(port) == {"v1": 7, "v2": 1}
        assert "the configuration says 7 now, no longer 1" in proxy.ctl("status")


def test_states_of_servers_under_traffic(servers: tuple[Whoami, Whoami]) -> None:
    port, address = entry_point()
    one = f"127.0.0.1:{servers[0].http_port}"
    with running_streamlb(text_of(servers, address) + "workers: 2\n") as proxy, constant_load(port) as load:
        cookie = http_get(port).value("Set-Cookie")
        assert cookie
        stuck = f"who={'v1'}"
        assert names(port, 4, stuck) == {"v1": 4}
        assert "nobody left for new clients" in warned(proxy, "ctl", "drain", one)
        assert states(proxy) == {one.rpartition(":")[2]: "drain", str(servers[1].http_port): "up"}
        assert names(port) == {"v2": 8}
        load.await_more(50)
        proxy.ctl("ctl", "maintenance", one, "--wait", "--timeout", "10")
        assert names(port, 4, stuck) == {"v2": 4}
        assert proxy.ask("ctl", "overrides")["overrides"][0]["value"] == "maintenance"
        proxy.ctl("ctl", "ready", one, "--service", "v1")
        assert names(port, 4, stuck) == {"v1": 4}
        assert set(names(port)) == {"v1", "v2"}
        assert proxy.ask("ctl", "overrides")["overrides"] == []
        load.await_more(50)
        assert load.failures == []


def warned(proxy: Proxy, *args: str) -> str:
    """The warnings that come with an answer."""
    return " ".join(proxy.ask(*args)["warnings"])


def test_waiting_for_what_is_left_gives_up_in_time() -> None:
    port, address = entry_point("")
    with Recorder(answer=[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12", After.HANG]) as origin:
        text = f"""
entryPoints: {{web: {{address: "{address}"}}}}
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: app}}}}
  services: {{app: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{origin.port}"}}]}}}}}}
"""
        with running_streamlb(text) as proxy, socket.create_connection(("127.0.0.1", port), 5) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(100)
            told = proxy.ctl("ctl", "drain", f"127.0.0.1:{origin.port}", "--wait", "--timeout", "0.2", code=1)
            assert "1 still under way" in told
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            assert "0 under way" in proxy.ctl("ctl", "drain", f"127.0.0.1:{origin.port}", "--wait", "--timeout", "9")


def test_what_makes_no_sense_is_refused_with_a_guess(servers: tuple[Whoami, Whoami]) -> None:
    _, address = entry_point()
    with running_streamlb(text_of(servers, address)) as proxy:
        assert "did you mean `canary`?" in proxy.ctl("ctl", "weight", "canry", "v1", "1", code=1)
        assert "there are v1, v2" in proxy.ctl("ctl", "weight", "canary", "v9", "1", code=1)
        assert "there is no server" in proxy.ctl("ctl", "drain", "10.9.9.9:1", code=1)
        assert "there is no override 4" in proxy.ctl("ctl", "reset", "4", code=1)
        assert "no name of servers" in proxy.ctl("ctl", "resolve", "nowhere", code=1)
        proxy.ctl("ctl", "weight", "canary", "v1", "x", code=2)
        assert proxy.ask("ctl", "overrides")["overrides"] == []


def test_the_socket_is_for_its_user_alone_and_does_not_outlive_the_process(servers: tuple[Whoami, Whoami]) -> None:
    _, address = entry_point()
    with running_streamlb(text_of(servers, address)) as proxy:
        assert stat.S_IMODE(proxy.socket.stat().st_mode) == 0o600
        proxy.stop()
        assert not proxy.socket.exists()
        assert "no running streamlb" in proxy.ctl("status", code=1)


def test_a_second_one_does_not_take_the_socket_away(servers: tuple[Whoami, Whoami], tmp_path: Path) -> None:
    (_, first), (_, second) = entry_point(), entry_point()
    path = tmp_path / "s"
    with running_streamlb(text_of(servers, first), env={"STREAMLB_SOCKET": str(path)}) as one:
        with running_streamlb(text_of(servers, second), env={"STREAMLB_SOCKET": str(path)}) as two:
            two.wait_for("another process listens there")
            one.socket = two.socket = path
            assert one.ask("status")["pid"] == one.pid
            one.stop()
            two.wait_for("reaches this process")
            until(lambda: two.ask("status")["pid"] == two.pid, 10.0, "the second one has the socket")
        given = text_of(servers, second) + f"ctl: {{socket: {path}}}\n"
        also = text_of(servers, first) + f"ctl: {{socket: {path}}}\n"
        with running_streamlb(given) as two, running_streamlb(also, wait=False) as three:
            assert three.wait() == 1
            assert "ctl.socket" in three.log()
            two.socket = path
            assert two.ask("status")["pid"] == two.pid


def test_a_state_file_that_cannot_be_read_is_told_of_and_kept_aside(
    servers: tuple[Whoami, Whoami], tmp_path: Path
) -> None:
    port, address = entry_point()
    file = tmp_path / "overrides.json"
    file.write_text("{")
    with running_streamlb(text_of(servers, address), env={"STATE_DIRECTORY": str(tmp_path)}) as proxy:
        assert "overrides are NOT in force" in proxy.log()
        assert names(port) == {"v1": 4, "v2": 4}
        proxy.ctl("ctl", "weight", "canary", "v1", "3")
    assert (tmp_path / "overrides.json.unreadable").read_text() == "{"
    assert len(json.loads(file.read_text())["overrides"]) == 1


_raw_whoami = functools.partial(running_whoami, tcp=True, udp=True, http=False)


def test_tcp_connections_stay_and_udp_flows_go_when_a_server_leaves() -> None:
    (raw, raw_address), (dgram, dgram_address) = entry_point(), entry_point("/udp")
    with (
        running_whoami("a", tcp=True, udp=True, http=False) as a,
        running_whoami("b", tcp=True, udp=True, http=False) as b,
    ):
        text = f"""
entryPoints: {{raw: {{address: "{raw_address}"}}, dns: {{address: "{dgram_address}"}}}}
tcp:
  routers: {{any: {{rule: "HostSNI(`*`)", service: app, entryPoints: [raw]}}}}
  services:
    app: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{a.tcp_port}"}}, {{address: "127.0.0.1:{b.tcp_port}"}}]}}}}
udp:
  routers: {{any: {{service: app, entryPoints: [dns]}}}}
  services:
    app: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{a.udp_port}"}}, {{address: "127.0.0.1:{b.udp_port}"}}]}}}}
"""
        with running_streamlb(text) as proxy, contextlib.ExitStack() as stack:
            held = stack.enter_context(socket.create_connection(("127.0.0.1", raw), 5))
            flow = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            flow.settimeout(5)
            flow.connect(("127.0.0.1", dgram))

            def says(sock: socket.socket) -> str:
                sock.send(b"WHO\n")
                return sock.recv(999).decode()

            assert "a: " in says(held) and "a: " in says(flow)  # noqa: PT018
            proxy.ctl("ctl", "drain", f"127.0.0.1:{a.tcp_port}")
            proxy.ctl("ctl", "drain", f"127.0.0.1:{a.udp_port}")
            for _ in range(2):
                with socket.create_connection(("127.0.0.1", raw), 5) as fresh:
                    assert "b: " in says(fresh)
            assert "a: " in says(flow), "a drained server keeps the flows it has"
            proxy.ctl("ctl", "maintenance", f"127.0.0.1:{a.tcp_port}")
            proxy.ctl("ctl", "maintenance", f"127.0.0.1:{a.udp_port}")
            until(lambda: "b: " in says(flow), 5.0, "nobody stays with a server in maintenance")
            assert held.send(b"x"), "a TCP connection cannot be moved, and is not cut"
            assert "1 still under way" in proxy.ctl(
                "ctl", "maintenance", f"127.0.0.1:{a.tcp_port}", "--wait", "--timeout", "0", code=1
            )
            held.close()
            proxy.ctl("ctl", "maintenance", f"127.0.0.1:{a.tcp_port}", "--wait", "--timeout", "9")


def test_what_is_open_is_shown_with_who_and_where(servers: tuple[Whoami, Whoami]) -> None:
    (port, address), (raw, raw_address), (dgram, dgram_address) = entry_point(), entry_point(), entry_point("/udp")
    with Recorder(answer=[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12", After.HANG]) as origin:
        text = f"""
entryPoints: {{web: {{address: "{address}"}}, raw: {{address: "{raw_address}"}}, dns: {{address: "{dgram_address}"}}}}
workers: 2
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: app, entryPoints: [web]}}}}
  services: {{app: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{origin.port}"}}]}}}}}}
tcp:
  routers: {{any: {{rule: "HostSNI(`*`)", service: app, entryPoints: [raw]}}}}
  services: {{app: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{origin.port}"}}]}}}}}}
udp:
  routers: {{any: {{service: app, entryPoints: [dns]}}}}
  services: {{app: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{origin.port}"}}]}}}}}}
"""
        with running_streamlb(text) as proxy, contextlib.ExitStack() as stack:
            assert proxy.ctl("ctl", "conns") == "nothing is under way\n"
            busy, idle, tcp = (
                stack.enter_context(socket.create_connection(("127.0.0.1", number))) for number in (port, port, raw)
            )
            udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            busy.sendall(b"GET /path?secret=1 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert busy.recv(100)
            tcp.sendall(b"hello")
            udp.sendto(b"x", ("127.0.0.1", dgram))
            until(lambda: proxy.ask("ctl", "conns")["total"] == 4, 5.0, "all four are there")
            said = {each["client"]: each for each in proxy.ask("ctl", "conns")["connections"]}
            name = f"127.0.0.1:{origin.port}"

            def of(sock: socket.socket) -> dict[str, object]:
                return said[f"127.0.0.1:{sock.getsockname()[1]}"]

            assert of(busy).items() >= {
                "kind": "http", "entryPoint": "web", "state": "answering", "router": "all", "service": "app",
                "server": f"http://{name}", "request": "GET /path",
            }.items()  # fmt: skip
            assert of(idle)["state"] == "idle"
            assert of(tcp).items() >= {
                "kind": "tcp", "entryPoint": "raw", "state": "open", "router": "any", "server": name, "received": 5
            }.items()  # fmt: skip
            assert of(udp).items() >= {"kind": "udp", "entryPoint": "dns"}.items()
            shown = proxy.ctl("ctl", "conns", "--limit", "2")
            assert "2 more" in shown
            assert "secret" not in proxy.ctl("ctl", "conns")


def test_one_screen_tells_all(servers: tuple[Whoami, Whoami]) -> None:
    port, address = entry_point()
    with running_streamlb(text_of(servers, address)) as proxy:
        http_get(port)
        shown = proxy.ctl("status")
        for part in (
            "serving for",
            "version 1",
            "workers",
            "entry points",
            address,
            "canary",
            "v1 50%, v2 50%",
            " up ",
        ):
            assert part in shown, part
        os.kill(proxy.workers()[0], SIGKILL)
        until(lambda: proxy.ask("status")["workers"][0]["restarts"] == 1, 10.0, "the restart is shown")
