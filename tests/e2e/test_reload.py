"""A running streamlb takes new configurations over: what changes, what must not notice, what is refused."""

from __future__ import annotations

import socket

import pytest

from tests.support.http import Client, http_get, ok, recording
from tests.support.load import constant_load
from tests.support.ports import free_port
from tests.support.programs import running_streamlb, running_whoami
from tests.support.reloading import live, plain
from tests.support.until import until


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
        # Who was idle at the old address is let go, who waits gets his answer.
        assert is_refused(first)
        assert idle.sock.recv(1) == b""
        assert busy.reply().text == "late"
        assert http_get(third).text == "late"
        del proxy.tree["entryPoints"]["web"]
        proxy.reload()
        assert is_refused(third)
        assert http_get(second).text == "late"


def test_an_address_gets_narrower_and_wider_again() -> None:
    port = free_port()
    with recording() as origin, live(plain(port, origin.port)) as proxy, constant_load(port) as load:
        for address in (f":{port}", f"127.0.0.1:{port}"):
            load.await_more(50)
            proxy.tree["entryPoints"]["web"]["address"] = address
            proxy.reload()
        load.await_more(50)
    # One that waits in the queue of a socket that is closed is lost with it.
    assert load.failed < 5, load


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
