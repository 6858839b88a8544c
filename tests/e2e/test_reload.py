"""A running streamlb takes new configurations over: what changes, what must not notice, what is refused."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import ssl
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.certificates import authority
from tests.support.http import Client, http_get, ok, recording
from tests.support.load import constant_load
from tests.support.ports import free_port
from tests.support.programs import ROOT, STREAMLB, running_streamlb, running_whoami
from tests.support.reloading import Live, live, plain
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator


def is_refused(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


# --- what changes ------------------------------------------------------------------------------------------------


def test_routes_change_for_kept_connections_at_their_next_request() -> None:
    port = free_port()
    with (
        recording(ok(b"old")) as old,
        recording(ok(b"new")) as new,
        live(plain(port, old.port)) as proxy,
        Client(port) as kept,
    ):
        assert kept.request("/").text == "old"
        proxy.servers("app", new.port)
        lines = proxy.reload()
        change = f"server http://127.0.0.1:{old.port} removed; server http://127.0.0.1:{new.port} added"
        assert lines[0].endswith(f"~ http service app: {change}")
        assert lines[-1].endswith("SIGHUP: version 2 of the configuration is served")
        assert kept.request("/").text == "new"
        assert http_get(port).text == "new"


def test_nothing_has_changed() -> None:
    port = free_port()
    with recording() as origin, live(plain(port, origin.port)) as proxy:
        [line] = proxy.reload()
        assert line.endswith("SIGHUP: the configuration is as before")


def test_entry_points_come_move_and_go() -> None:
    first, second, third = free_port(), free_port(), free_port()
    with (
        recording([0.5, ok(b"late")]) as origin,
        live(plain(first, origin.port)) as proxy,
        Client(first) as idle,
        Client(first) as busy,
    ):
        proxy.entry_point("more", second)
        proxy.reload()
        assert http_get(second).text == "late"
        busy.sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: len(origin.requests) == 2)
        proxy.entry_point("web", third)
        proxy.reload()
        # Who is idle at the old address is let go, who waits gets his answer.
        assert is_refused(first)
        assert idle.sock.recv(1) == b""
        assert busy.reply().text == "late"
        assert http_get(third).text == "late"
        # Who is still there when it is gone finds what he found before.
        with Client(third) as last:
            last.sock.sendall(b"GET / HTTP/1.1\r\n")
            del proxy.tree["entryPoints"]["web"]
            proxy.reload()
            assert is_refused(third)
            last.sock.sendall(b"Host: a\r\n\r\n")
            assert last.reply().text == "late"
            assert last.sock.recv(1) == b""
        assert http_get(second).text == "late"


def test_an_address_gets_narrower_and_wider_again() -> None:
    port = free_port()
    with recording() as origin, live(plain(port, origin.port)) as proxy, constant_load(port) as load:
        for address in (f":{port}", f"127.0.0.1:{port}"):
            load.await_more(50)
            proxy.tree["entryPoints"]["web"]["address"] = address
            proxy.reload()
        load.await_more(50)
    assert not load.failed, load


@pytest.mark.parametrize("workers", [1, 2])
def test_options_hold_for_new_connections_and_old_ones_stay(workers: int) -> None:
    port = free_port()
    with recording() as origin, live(plain(port, origin.port, workers=workers)) as proxy, Client(port) as old:
        assert old.request("/").status == 200
        proxy.tree["entryPoints"]["web"]["http"] = {"maxHeaderBytes": 1024}
        proxy.reload()
        large = [("X-Large", "x" * 2000)]
        assert old.request("/", headers=large).status == 200
        with Client(port) as new:
            assert new.request("/", headers=large).status == 431


def test_an_entry_point_learns_tcp_and_forgets_it() -> None:
    port = free_port()
    with (
        recording(ok(b"http")) as origin,
        running_whoami("tcp", http=False, tcp=True) as tcp,
        live(plain(port, origin.port)) as proxy,
        Client(port) as kept,
    ):
        assert kept.request("/").text == "http"
        proxy.router("raw", "raw", protocol="tcp")
        proxy.servers("raw", tcp.tcp_port, protocol="tcp")
        proxy.reload()
        with Client(port) as client:
            client.sock.sendall(b"WHO")
            assert b"tcp" in client.sock.recv(4096)
        assert kept.request("/").text == "http"
        del proxy.tree["tcp"]
        proxy.reload()
        assert http_get(port).text == "http"
        assert kept.request("/").text == "http"


def test_the_number_of_workers_changes_under_load() -> None:
    port = free_port()
    with recording() as origin, live(plain(port, origin.port)) as proxy:
        with constant_load(port) as load:
            for count in (2, 3, 1, 2):
                load.await_more(50)
                proxy.tree["workers"] = count
                proxy.reload()
                until(lambda count=count: len(proxy.proxy.workers()) == count)  # type: ignore[misc]
                load.await_more(50)
        assert not load.failed, load
        assert proxy.proxy.stop() == 0


# --- what is refused ---------------------------------------------------------------------------------------------


def test_a_mistake_changes_nothing_and_is_loud() -> None:
    port = free_port()
    with recording() as origin, live(plain(port, origin.port)) as proxy:
        proxy.router("all", "ap")
        lines = proxy.reload(ok=False)
        assert any("ERROR" in line and "http.routers.all.service: " in line for line in lines)
        assert http_get(port).status == 200


def test_an_address_in_use_refuses_the_whole() -> None:
    port = free_port()
    with (
        recording(ok(b"old")) as old,
        recording(ok(b"new")) as new,
        live(plain(port, old.port)) as proxy,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        number = taken.getsockname()[1]
        proxy.entry_point("more", number)
        proxy.servers("app", new.port)
        lines = proxy.reload(ok=False)
        assert any(f"entry point more: 127.0.0.1:{number} is already in use" in line for line in lines)
        assert http_get(port).text == "old"
        taken.close()
        proxy.reload()
        assert http_get(port).text == http_get(number).text == "new"


def test_another_streamlb_is_noticed_whatever_happened_to_the_workers() -> None:
    port = free_port()
    with recording() as origin, live(plain(port, origin.port)) as proxy:
        for workers in (2, 1):
            proxy.tree["workers"] = workers
            proxy.reload()
            with running_streamlb(proxy.path, wait=False) as second:
                assert second.wait() == 1
                assert "already in use" in second.log()


# --- under load --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_twenty_reloads_under_load_fail_nobody(workers: int) -> None:
    """Weights, routers, options and entry points change; HTTP, HTTPS and TCP clients ask on."""
    http, https, raw = free_port(), free_port(), free_port()
    pair = authority().certificate("a.test")
    tree = plain(http, workers=workers)
    tree["tls"] = {"certificates": [{"certFile": str(pair.certificate), "keyFile": str(pair.key)}]}
    with recording(ok(b"a")) as a, recording(ok(b"b")) as b:
        tree["entryPoints"]["secure"] = {"address": f"127.0.0.1:{https}"}
        tree["entryPoints"]["raw"] = {"address": f"127.0.0.1:{raw}"}
        with contextlib.ExitStack() as stack:
            proxy = stack.enter_context(_served(tree, a.port, b.port))
            trusting = ssl.create_default_context(cafile=str(authority().pair.certificate))
            loads = [stack.enter_context(constant_load(port, fresh=1, kept=1)) for port in (http, raw)]
            loads.append(stack.enter_context(constant_load(https, fresh=1, kept=1, tls=trusting, host="a.test")))
            for number in range(20):
                _change(proxy, number)
                proxy.reload()
                loads[number % 3].await_more(10)
        for load in loads:
            assert not load.failed, load
            assert {"a", "b"} == set(load.bodies)


@contextlib.contextmanager
def _served(tree: dict[str, Any], *origins: int) -> Iterator[Live]:
    with live(tree) as proxy:
        for name, port in zip("ab", origins, strict=True):
            proxy.servers(name, port)
        children = [{"name": "a"}, {"name": "b"}]
        proxy.http["services"]["app"] = {"weighted": {"services": children}}
        proxy.router("secure", "app", tls={}, entryPoints=["secure"])
        proxy.router("all", "app", entryPoints=["web"])
        proxy.servers("raw", *origins, protocol="tcp")
        proxy.router("raw", "raw", protocol="tcp", entryPoints=["raw"])
        proxy.reload()
        yield proxy


def _change(proxy: Live, number: int) -> None:
    children = proxy.http["services"]["app"]["weighted"]["services"]
    children[0]["weight"] = number % 4 + 1
    for name in ("web", "secure", "raw"):
        idle = {"respondingTimeouts": {"idleTimeout": f"{60 + number}s"}, "lifeCycle": {"graceTimeOut": "5s"}}
        proxy.tree["entryPoints"][name]["transport"] = idle
    proxy.router(f"more{number}", "a", f"Host(`more{number}.example`)")
    if number % 2:
        del proxy.http["routers"][f"more{number - 1}"]
        del proxy.tree["entryPoints"]["extra"]
        del proxy.tree["entryPoints"]["web"]["forwardedHeaders"]
        # The way to HTTP in the clear is another one as soon as somebody might speak TCP there.
        proxy.tree["tcp"]["routers"].pop("aside", None)
    else:
        proxy.entry_point("extra", free_port())
        proxy.tree["entryPoints"]["web"]["forwardedHeaders"] = {"insecure": True}
        proxy.router("aside", "raw", "ClientIP(`10.9.9.9`)", protocol="tcp", entryPoints=["web"])


# --- workers that fail -------------------------------------------------------------------------------------------


def test_a_worker_that_dies_over_it_takes_the_new_configuration_back() -> None:
    port = free_port()
    with (
        recording(ok(b"old")) as old,
        recording(ok(b"new")) as new,
        live(plain(port, old.port, workers=2)) as proxy,
    ):
        victim, other = proxy.proxy.workers()
        os.kill(victim, signal.SIGSTOP)
        proxy.servers("app", new.port)
        proxy.write()
        before = len(proxy.proxy.log())
        proxy.proxy.signal(signal.SIGHUP)
        # The other worker has it already.
        until(lambda: _text(port) == "new")
        os.kill(victim, signal.SIGKILL)
        # Its successor is asked, too, and dies of the same.
        successor = until(lambda: set(proxy.proxy.workers()) - {victim, other})
        os.kill(successor.pop(), signal.SIGKILL)
        proxy.proxy.wait_for("SIGHUP: the new configuration is not served as a whole; version 3 is")
        said = proxy.proxy.log()[before:]
        assert "worker 0: it was killed by SIGKILL" in said
        assert "going back to the former one" in said
        until(lambda: len(proxy.proxy.workers()) == 2)
        until(lambda: proxy.proxy.log()[before:].count("is ready") == 1)
        assert {http_get(port).text for _ in range(20)} == {"old"}
        proxy.reload()
        assert {http_get(port).text for _ in range(20)} == {"new"}


def _text(port: int) -> str:
    """What is answered, if somebody does at once: a worker that stands still answers nobody."""
    with contextlib.suppress(OSError, AssertionError), Client(port, timeout=0.3) as client:
        return client.request("/", headers=[("Connection", "close")]).text
    return ""


def _is_of(pid: int, port: int, client: int) -> bool:
    """Whether this process has the connection of the client at that port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    pairs = {(int(line[1].partition(":")[2], 16), int(line[2].partition(":")[2], 16)): line[9] for line in lines}
    held = f"socket:[{pairs[port, client]}]"
    return any(os.readlink(each) == held for each in Path(f"/proc/{pid}/fd").iterdir())


def test_a_worker_killed_under_load_takes_only_its_own_connections_along() -> None:
    port = free_port()
    with recording() as origin, live(plain(port, origin.port, workers=2)) as proxy, contextlib.ExitStack() as stack:
        victim, _ = proxy.proxy.workers()
        clients = [stack.enter_context(Client(port)) for _ in range(20)]
        for client in clients:
            assert client.request("/").status == 200
        theirs = sum(_is_of(victim, port, client.sock.getsockname()[1]) for client in clients)
        assert 0 < theirs < 20
        with constant_load(port, fresh=2, kept=0) as load:
            load.await_more(20)
            os.kill(victim, signal.SIGKILL)
            proxy.router("more", "app", "Host(`more.example`)")
            proxy.reload()
            load.await_more(50)
        lost = 0
        for client in clients:
            try:
                assert client.request("/").status == 200
            except (OSError, AssertionError):
                lost += 1
        assert lost == theirs
        # What was in its hands when it died; what waited for it waits for its successor.
        assert load.failed <= 2, load
        until(lambda: proxy.proxy.log().count("is ready") == 3)
        assert "was killed by SIGKILL; starting another" in proxy.proxy.log()


# --- beforehand --------------------------------------------------------------------------------------------------


def test_check_tells_what_a_reload_would_change() -> None:
    port = free_port()
    pair = authority().certificate("a.test")
    tree = plain(port, 1)
    tree["http"]["routers"]["all"]["tls"] = {}
    tree["tls"] = {"certificates": [{"certFile": str(pair.certificate), "keyFile": str(pair.key)}]}
    with live(tree) as proxy:
        check = functools.partial(proxy.proxy.ctl, "check", proxy.path, "--diff-running")
        until(lambda: Path(proxy.proxy.socket).exists())
        assert check().splitlines()[-1] == "a reload would change nothing"
        proxy.servers("app", 2)
        proxy.router("shop", "app", "Host(`shop.example`)")
        proxy.tree["tls"] = {"certificates": []}
        proxy.write()
        said = check().splitlines()
        assert said[-4:] == [
            "a reload would change:",
            "  + http router shop",
            "  ~ http service app: server http://127.0.0.1:1 removed; server http://127.0.0.1:2 added",
            "  - certificate for a.test",
        ]
        assert json.loads(check("--format", "json"))["changes"] == [line.strip() for line in said[-3:]]
        lines = [line.partition("INFO  ")[2] for line in proxy.reload()]
        assert [line for line in lines if line.startswith(("+", "~", "-"))] == [line.strip() for line in said[-3:]]
        assert check().endswith("a reload would change nothing\n")
        proxy.router("shop", "nobody", "Host(`shop.example`)")
        proxy.write()
        proxy.proxy.ctl("check", proxy.path, "--diff-running", code=1)


def test_check_needs_somebody_to_compare_with(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text(json.dumps(plain(free_port(), 1)))
    command = [*STREAMLB, "check", path, "--diff-running", "--socket", tmp_path / "none.sock"]
    for last, code, said in ((None, 1, "no running streamlb was found"), ("--diff-running", 2, "goes with")):
        shown = [part for part in command if part != last]
        done = subprocess.run(shown, capture_output=True, text=True, timeout=20, cwd=ROOT, check=False)
        assert done.returncode == code
        assert said in done.stderr
