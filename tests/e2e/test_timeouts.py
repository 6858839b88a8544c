"""Time, as the user sets it: patience with clients per entry point, with servers per router and service.

The story: whoever stalls is let go, whoever moves lives, however slowly; deadlines are met half a second late at most.
"""

from __future__ import annotations

import select
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.support.configs import entry_point
from tests.support.http import Client, Recorder, elapsed, ok, parse_replies
from tests.support.programs import running_streamlb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.http import Recorded, Script

LATE = 4.0
"""Seconds a deadline may be late, on a busy machine."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"


def config(address: str, origin: int, transport: str, routers: str, services: str = "") -> str:
    return f"""
entryPoints: {{web: {{address: "{address}", transport: {{respondingTimeouts: {{{transport}}}}}}}}}
serversTransport: {{forwardingTimeouts: {{responseHeaderTimeout: 1s}}}}
http:
  routers:
{routers}
  services:
    app: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{origin}"}}]}}}}
{services}
"""


def drip(sock: socket.socket, pieces: list[bytes], pause: float) -> None:
    """Send piece by piece, as a slow client does, as long as the other side listens."""
    for piece in pieces:
        try:
            sock.sendall(piece)
        except ConnectionError:
            return
        time.sleep(pause)


def rest(sock: socket.socket) -> bytes:
    """All that comes until the end, be it orderly or not."""
    received = b""
    try:
        while piece := sock.recv(65536):
            received += piece
    except ConnectionError:
        pass
    return received


# --- clients -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def impatient() -> Iterator[int]:
    """The port of an entry point with little patience."""
    port, address = entry_point()
    limits = "readHeaderTimeout: 500ms, readTimeout: 700ms, idleTimeout: 900ms, writeTimeout: 600ms"
    router = "    all: {rule: 'PathPrefix(`/`)', service: app}"
    with Recorder(answer) as origin, running_streamlb(config(address, origin.port, limits, router)):
        yield port


def answer(request: Recorded) -> Script:
    return ok(b"x" * 20_000_000) if request.target == "/large" else ok(b"%d" % len(request.body))


def test_a_slowloris_gets_408_however_busy_it_looks(impatient: int) -> None:
    with socket.create_connection(("127.0.0.1", impatient), 10) as sock:
        started_at = time.monotonic()
        drip(sock, [b"GET / HTTP/1.1\r\n", *[b"X: y\r\n"] * 4], 0.1)
        (reply,) = parse_replies(rest(sock))
    assert (reply.status, reply.value("Connection")) == (408, b"close")
    assert 0.5 <= time.monotonic() - started_at < 0.5 + LATE


def test_a_long_upload_lives_as_long_as_it_moves(impatient: int) -> None:
    with socket.create_connection(("127.0.0.1", impatient), 10) as sock:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\nConnection: close\r\n\r\n"
        assert elapsed(lambda: drip(sock, [head, *[b"x"] * 8], 0.3)) > 2
        (reply,) = parse_replies(rest(sock))
    assert (reply.status, reply.text) == (200, "8")


def test_a_stalled_upload_gets_408(impatient: int) -> None:
    with socket.create_connection(("127.0.0.1", impatient), 10) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nxx")
        started_at = time.monotonic()
        (reply,) = parse_replies(rest(sock))
    assert reply.status == 408
    assert 0.7 <= time.monotonic() - started_at < 0.7 + LATE


def test_an_idle_connection_is_closed_without_a_word(impatient: int) -> None:
    with Client(impatient) as client:
        assert client.request().status == 200
        seconds = elapsed(lambda: rest(client.sock))
    assert 0.9 <= seconds < 0.9 + LATE


def test_a_client_that_takes_nothing_of_its_answer_is_cut_off(impatient: int) -> None:
    with socket.create_connection(("127.0.0.1", impatient), 10) as sock:
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        ends = select.poll()
        ends.register(sock, 0)  # Errors and hang-ups are told unasked, and nothing is read.
        assert ends.poll(5000), "the connection lives"


def test_a_client_that_takes_its_answer_slowly_gets_all_of_it(impatient: int) -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.settimeout(10)
        sock.connect(("127.0.0.1", impatient))
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        received = 0
        for _ in range(8):  # Far too slow for the whole answer within `writeTimeout`, but never silent.
            received += len(sock.recv(100_000))
            time.sleep(0.25)
        assert received + len(rest(sock)) > 20_000_000


# --- exchanges -----------------------------------------------------------------------------------------------------

ROUTERS = """
    free: {rule: 'Path(`/free`)', service: app}
    first: {rule: 'Path(`/first`)', service: app, timeouts: {firstByte: 300ms}}
    poll: {rule: 'Path(`/poll`)', service: app, timeouts: {firstByte: 0}}
    whole: {rule: 'PathPrefix(`/whole`)', service: app, timeouts: {request: 700ms, firstByte: 0}}
    idle: {rule: 'PathPrefix(`/idle`)', service: app, timeouts: {idle: 500ms}}
    strict: {rule: 'Path(`/strict`)', service: strict}
    eased: {rule: 'Path(`/eased`)', service: strict, timeouts: {request: 0}}
"""
STRICT = "    strict: {timeouts: {request: 500ms, firstByte: 0}, weighted: {services: [{name: app}]}}"


def paced(request: Recorded) -> Script:
    """How the origin behaves, by the end of the target."""
    *_, kind = request.target.strip("/").split("/")
    if kind == "streaming":
        return [HEAD, 0.3, b"1", 0.3, b"2", 0.3, b"3", 0.3, b"4"]
    if kind == "stalling":
        return [HEAD, b"1", 3.0, b"234"]
    if kind in ("first", "poll", "free"):
        return [{"first": 0.8, "poll": 1.8, "free": 2.0}[kind], ok()]
    return [0.8 if kind == "eased" else 2.0, ok()]


@pytest.fixture(scope="module")
def routes() -> Iterator[int]:
    """The port of an entry point whose routes have timeouts of their own."""
    port, address = entry_point()
    with Recorder(paced) as origin, running_streamlb(config(address, origin.port, "", ROUTERS, STRICT)):
        yield port


def test_an_answer_has_the_time_its_route_gives_it(routes: int) -> None:
    expected = {
        "/free": (504, 1.0),  # The transport's own limit.
        "/first": (504, 0.3),
        "/poll": (200, 1.7),
        "/whole": (504, 0.7),
        "/strict": (504, 0.5),
        "/eased": (200, 0.7),
    }

    def visit(target: str) -> tuple[int, float]:
        with Client(routes) as client:
            started_at = time.monotonic()
            return client.request(target).status, time.monotonic() - started_at

    with ThreadPoolExecutor(len(expected)) as pool:
        found = dict(zip(expected, pool.map(visit, expected), strict=True))
    for target, (status, at_least) in expected.items():
        assert found[target][0] == status, target
        assert at_least <= found[target][1] < at_least + LATE, target


@pytest.mark.parametrize(("target", "least", "limit"), [("/whole/streaming", b"1", 0.7), ("/idle/stalling", b"1", 0.5)])
def test_what_has_begun_is_cut_where_everybody_sees_it(routes: int, target: str, least: bytes, limit: float) -> None:
    with socket.create_connection(("127.0.0.1", routes), 10) as sock:
        started_at = time.monotonic()
        sock.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target.encode())
        received = rest(sock)
        seconds = time.monotonic() - started_at
    assert HEAD + least <= received < HEAD + b"1234"
    assert limit <= seconds < limit + LATE


def test_a_slow_answer_that_moves_is_not_idle(routes: int) -> None:
    with Client(routes) as client:
        assert client.request("/idle/streaming").text == "1234"


def test_the_idle_limit_of_a_route_holds_for_uploads_too(routes: int) -> None:
    with socket.create_connection(("127.0.0.1", routes), 10) as sock:
        sock.sendall(b"POST /idle HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nxx")
        started_at = time.monotonic()
        (reply,) = parse_replies(rest(sock))
    assert reply.status == 408
    assert 0.5 <= time.monotonic() - started_at < 0.5 + LATE


def test_a_request_that_is_not_complete_in_time_is_the_clients_fault(routes: int) -> None:
    with socket.create_connection(("127.0.0.1", routes), 10) as sock:
        drip(sock, [b"POST /whole HTTP/1.1\r\nHost: a\r\nContent-Length: 80\r\n\r\n", *[b"x"] * 12], 0.1)
        (reply,) = parse_replies(rest(sock))
    assert reply.status == 408
