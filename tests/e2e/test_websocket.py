"""WebSockets through the installed command, spoken by a library that knows nothing of us.

The story: an application's sockets open, carry large messages, stay silent, and close with their own words.
"""

from __future__ import annotations

import contextlib
import os
import threading
from http import HTTPStatus
from socket import SHUT_RDWR
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve
from websockets.typing import Subprotocol

from tests.support.configs import entry_point, http_servers
from tests.support.programs import running_streamlb
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.http11 import Request, Response
    from websockets.sync.server import ServerConnection

MIB = 1 << 20


class Application:
    """A WebSocket server in threads: it echoes, and does what some messages say.

    requests: the handshakes as they arrived. closed: by path, the code and reason a client left with.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.closed: dict[str, tuple[int | None, str | None]] = {}
        self.port = 0

    def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        if request.path == "/private":
            return connection.respond(HTTPStatus.UNAUTHORIZED, "who are you?\n")
        return None

    def talk(self, connection: ServerConnection) -> None:
        try:
            for message in connection:
                if message == "leave":
                    connection.close(4001, "as you wish")
                elif message == "vanish":
                    connection.socket.shutdown(SHUT_RDWR)
                else:
                    connection.send(message)
        finally:
            request = connection.request
            self.closed[request.path if request else ""] = (connection.close_code, connection.close_reason)

    @contextlib.contextmanager
    def running(self) -> Iterator[Application]:
        options: dict[str, Any] = {
            "max_size": 4 * MIB,
            "process_request": self.admit,
            "select_subprotocol": lambda _, offered: offered[0] if offered else None,
        }
        with serve(self.talk, "127.0.0.1", 0, **options) as server:
            self.port = server.socket.getsockname()[1]
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield self
            server.shutdown()
            thread.join(10)


@pytest.fixture(scope="module")
def site() -> Iterator[tuple[Application, str]]:
    """An application behind a proxy whose times for answers are short, and its URL."""
    port, address = entry_point()
    with Application().running() as application:
        config = f"""
serversTransport: {{forwardingTimeouts: {{responseHeaderTimeout: 300ms}}}}
entryPoints: {{web: {{address: "{address}"}}}}
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: app}}}}
  services:
{http_servers(app=application.port)}
"""
        with running_streamlb(config):
            yield application, f"ws://127.0.0.1:{port}"


def test_large_messages_come_back_whole(site: tuple[Application, str]) -> None:
    _, url = site
    with connect(url + "/echo", max_size=4 * MIB) as socket:
        for size in (0, 1, 125, 126, 65_535, 65_536, MIB):
            message = os.urandom(size)
            socket.send(message)
            assert socket.recv(10) == message
        text = "grüß dich " * 1000
        socket.send(text)
        assert socket.recv(10) == text


def test_messages_in_fragments_and_pings(site: tuple[Application, str]) -> None:
    _, url = site
    with connect(url) as socket:
        socket.send(["one ", "two ", "three"])
        assert socket.recv(10) == "one two three"
        assert socket.ping(b"still there?").wait(10)


def test_many_messages_on_many_sockets(site: tuple[Application, str]) -> None:
    _, url = site
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(connect(f"{url}/{number}")) for number in range(10)]
        for round_number in range(50):
            for number, socket in enumerate(sockets):
                socket.send(f"{number}: {round_number}")
        for round_number in range(50):
            for number, socket in enumerate(sockets):
                assert socket.recv(10) == f"{number}: {round_number}"


def test_the_application_sees_the_handshake_and_who_made_it(site: tuple[Application, str]) -> None:
    application, url = site
    with connect(url + "/a/../room?x=1", subprotocols=[Subprotocol("chat")]) as socket:
        assert socket.subprotocol == "chat"
    seen = application.requests[-1]
    assert seen.path == "/room?x=1"
    assert seen.headers["X-Forwarded-Proto"] == "ws"
    assert seen.headers["X-Forwarded-For"] == "127.0.0.1"
    assert seen.headers["Sec-WebSocket-Version"] == "13"


def test_the_clients_close_code_arrives(site: tuple[Application, str]) -> None:
    application, url = site
    with connect(url + "/leaving") as socket:
        socket.close(4321, "done here")
    assert until(lambda: application.closed.get("/leaving"), 10, "the application hears of it") == (4321, "done here")


def test_the_applications_close_code_arrives(site: tuple[Application, str]) -> None:
    _, url = site
    with connect(url) as socket:
        socket.send("leave")
        with pytest.raises(ConnectionClosed):
            socket.recv(10)
    assert (socket.close_code, socket.close_reason) == (4001, "as you wish")


def test_an_application_that_vanishes_is_noticed(site: tuple[Application, str]) -> None:
    _, url = site
    with connect(url) as socket:
        socket.send("vanish")
        with pytest.raises(ConnectionClosed):
            socket.recv(10)
    assert socket.close_code == 1006


def test_a_client_that_vanishes_is_noticed(site: tuple[Application, str]) -> None:
    application, url = site
    with connect(url + "/vanishing") as socket:
        socket.send("hello")
        assert socket.recv(10) == "hello"
        socket.socket.shutdown(SHUT_RDWR)
        code, _ = until(lambda: application.closed.get("/vanishing"), 10, "the application hears of it") or (0, "")
    assert code == 1006


def test_silence_ends_nothing(site: tuple[Application, str]) -> None:
    """Not even one of several times the limit for answers, which is what a tunnel must not be held to."""
    _, url = site
    with connect(url, ping_interval=None) as socket:
        with pytest.raises(TimeoutError):
            socket.recv(1.5)
        socket.send("still there")
        assert socket.recv(10) == "still there"


def test_a_refused_handshake_is_an_ordinary_answer(site: tuple[Application, str]) -> None:
    _, url = site
    with pytest.raises(InvalidStatus) as refused:
        connect(url + "/private")
    response = refused.value.response
    assert (response.status_code, response.body) == (401, b"who are you?\n")
