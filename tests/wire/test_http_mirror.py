"""Copies for mirrors: the same request, and whatever the mirror does, the client notices nothing."""

from __future__ import annotations

import logging
import socket

import pytest

from streamlb.proxy import mirror as mirror_module
from tests.support.engine import beside, full_backlog, http_engine, mirrored, off_loop, pool_of
from tests.support.http import After, Client, Recorded, Step, elapsed, http_get, ok, raw_http, recording
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.ports import free_port
from tests.support.until import until_async

GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = b"POST /p?q HTTP/1.1\r\nHost: my.test\r\nConnection: close\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
COUNTED = POST + b"Content-Length: 5\r\n\r\nabcde"


def without_routing(request: Recorded) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    return request.start_line, request.headers, request.body


@pytest.mark.parametrize("request_bytes", [GET, COUNTED, CHUNKED], ids=["GET", "counted", "chunked"])
@on_both_loops
async def test_a_copy_is_the_same_request(request_bytes: bytes) -> None:
    with recording(ok(b"main")) as main, recording(ok(b"mirror")) as copy:
        async with no_descriptor_leak(), http_engine(services=mirrored(main.port, copy.port)) as engine:
            for turn, size in enumerate((len(request_bytes), 7), 1):
                pieces = [request_bytes[at : at + size] for at in range(0, len(request_bytes), size)]

                def visit(pieces: list[bytes]) -> bytes:
                    with socket.create_connection(("127.0.0.1", engine.port), 10) as sock:
                        for piece in pieces:
                            sock.sendall(piece)
                        return b"".join(iter(lambda: sock.recv(65536), b""))

                assert (await off_loop(visit, pieces)).endswith(b"\r\n\r\nmain")
                await until_async(lambda turn=turn: len(copy.requests) == turn)  # type: ignore[misc]
                await until_async(lambda: not engine.entry.mirrors.copies_under_way)
            assert [without_routing(each) for each in copy.requests] == [
                without_routing(each) for each in main.requests
            ]
            assert engine.entry.mirrors.dropped == 0
        assert copy.connections == 1


@on_both_loops
async def test_half_of_the_requests_in_turn() -> None:
    with recording(ok(b"main")) as main, recording() as copy:
        async with http_engine(services=mirrored(main.port, copy.port, 50)) as engine:

            def visit() -> None:
                with Client(engine.port) as client:
                    for number in range(1, 9):
                        assert client.request(f"/{number}").body == b"main"

            await off_loop(visit)
            await until_async(lambda: len(copy.requests) == 4)
            assert sorted(copy.targets()) == ["/1", "/3", "/5", "/7"]


@pytest.mark.parametrize("request_bytes", [COUNTED, CHUNKED], ids=["counted", "chunked"])
@on_both_loops
async def test_a_copy_without_its_body(request_bytes: bytes) -> None:
    with recording() as main, recording() as copy:
        async with http_engine(services=mirrored(main.port, copy.port, mirror_body=False)) as engine:
            await off_loop(raw_http, engine.port, request_bytes)
            await off_loop(raw_http, engine.port, GET)
            await until_async(lambda: len(copy.requests) == 2)
        assert main.requests[0].body == b"abcde"
        first, second = copy.requests
        assert (first.body, first.value("content-length"), first.values("transfer-encoding")) == (b"", b"0", [])
        assert not second.values("content-length")


@pytest.mark.parametrize(
    ("request_bytes", "limit", "copied"),
    [
        (COUNTED, 5, True),
        (COUNTED, 4, False),
        (CHUNKED, 5, True),
        (CHUNKED, 4, False),
        (GET, 0, True),
        (COUNTED, -1, True),
    ],
)
@pytest.mark.parametrize("size", [1000, 3])
@on_both_loops
async def test_bodies_over_the_limit_are_not_copied(request_bytes: bytes, limit: int, copied: bool, size: int) -> None:
    with recording() as main, recording() as copy:
        async with http_engine(services=mirrored(main.port, copy.port, max_body_size=limit)) as engine:

            def visit() -> bytes:
                with socket.create_connection(("127.0.0.1", engine.port), 10) as sock:
                    for at in range(0, len(request_bytes), size):
                        sock.sendall(request_bytes[at : at + size])
                    return b"".join(iter(lambda: sock.recv(65536), b""))

            assert (await off_loop(visit)).startswith(b"HTTP/1.1 200")
            await until_async(lambda: len(copy.requests) + engine.entry.mirrors.dropped == 1)
            await until_async(lambda: not engine.entry.mirrors.copies_under_way)
        assert len(copy.requests) == copied
        if copied:
            assert copy.requests[0].body == main.requests[0].body
            assert copy.connections == 1


FAULTS: dict[str, list[Step]] = {
    "closes": [After.CLOSE],
    "resets": [After.RESET],
    "garbage": [b"junk\r\n\r\n", After.HANG],
    "stalls": [After.HANG],
    "stalls in its answer": [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", After.HANG],
    "is slow": [0.5, ok(b"mirror")],
    "answers without end": [b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1000, 0.1, b"x" * 1000, After.HANG],
    "sends too much": [ok(b"mirror") * 3],
    "is cut": [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", After.CLOSE],
    "switches": [b"HTTP/1.1 101 Switching Protocols\r\n\r\n", After.HANG],
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("request_bytes", [GET, CHUNKED], ids=["GET", "chunked"])
@on_both_loops
async def test_nothing_a_mirror_does_is_noticed(fault: str, request_bytes: bytes) -> None:
    with recording(ok(b"main")) as main, recording(FAULTS[fault]) as copy:
        async with no_descriptor_leak(), http_engine(services=mirrored(main.port, copy.port)) as engine:
            for _ in range(5):
                assert (await off_loop(raw_http, engine.port, request_bytes)).endswith(b"\r\n\r\nmain")
            took = await off_loop(elapsed, lambda: raw_http(engine.port, request_bytes))
            assert took < 0.4
            assert len(main.requests) == 6


@on_both_loops
async def test_a_mirror_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    with recording(ok(b"main")) as main, full_backlog() as stuck:
        for port in (free_port(), stuck):
            async with no_descriptor_leak(), http_engine(services=mirrored(main.port, port)) as engine:
                for request in (GET, COUNTED, CHUNKED):
                    assert (await off_loop(raw_http, engine.port, request)).endswith(b"\r\n\r\nmain")
                if port != stuck:
                    await until_async(lambda mirrors=engine.entry.mirrors: mirrors.dropped == 3)  # type: ignore[misc]
        services = mirrored(main.port, 1)
        del services["copy"]
        async with http_engine(services=services) as engine:
            assert (await off_loop(http_get, engine.port)).body == b"main"
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert lines == ["mirror copy: 1 request(s) not copied: connection refused"]


@on_both_loops
async def test_a_mirror_that_takes_too_long_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_module, "COPY_TIMEOUT", 0.2)
    with recording() as main, recording([b"HTTP/1.1 200 OK\r\n\r\n", After.HANG]) as copy:
        async with http_engine(services=mirrored(main.port, copy.port)) as engine:
            await off_loop(http_get, engine.port)
            await until_async(lambda: engine.entry.mirrors.dropped == 1)
            await until_async(lambda: copy.open_connections == 0)


@on_both_loops
async def test_copies_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_module, "MAX_COPIES", 3)
    with recording(ok(b"main")) as main, recording([After.HANG]) as copy:
        async with http_engine(services=mirrored(main.port, copy.port)) as engine:
            with Client(engine.port) as client:
                for _ in range(10):
                    assert (await off_loop(client.request)).body == b"main"
            assert len(engine.entry.mirrors.copies_under_way) == 3
            assert engine.entry.mirrors.dropped == 7
            await until_async(lambda: len(copy.requests) == 3)


@pytest.mark.parametrize("limit", ["MAX_COPY_BACKLOG", "MAX_BACKLOG"])
@on_both_loops
async def test_copies_are_bounded_in_bytes(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_module, limit, 300_000)
    size = 16 << 20
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    with recording(ok(b"main")) as main, listener:  # The mirror accepts and never reads.
        async with http_engine(services=mirrored(main.port, listener.getsockname()[1])) as engine:
            held: list[int] = []
            bound = mirror_module.MirrorCopy._bound

            def spy(copy: mirror_module.MirrorCopy) -> None:
                held.append(copy._mirrors.backlog)
                bound(copy)

            monkeypatch.setattr(mirror_module.MirrorCopy, "_bound", spy)

            def visit() -> bytes:
                return raw_http(engine.port, POST + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)

            work = beside(visit)
            assert (await work).endswith(b"\r\n\r\nmain")
            assert len(main.requests[0].body) == size
            assert 0 < max(held) < 1_000_000
            assert engine.entry.mirrors.dropped == 1


@on_both_loops
async def test_a_large_body_reaches_main_and_mirror() -> None:
    size = 8 << 20
    body = bytes(range(256)) * (size // 256)
    with recording() as main, recording() as copy:
        async with http_engine(services=mirrored(main.port, copy.port)) as engine:
            await off_loop(raw_http, engine.port, POST + b"Content-Length: %d\r\n\r\n" % size + body)
            await until_async(lambda: len(copy.requests) + engine.entry.mirrors.dropped == 1)
        assert main.requests[0].body == body
        assert not copy.requests or copy.requests[0].body == body  # A copy is whole or is none.


@on_both_loops
async def test_a_copy_of_a_complete_request_survives_its_client() -> None:
    with recording([After.HANG]) as main, recording([0.2, ok()]) as copy:
        async with http_engine(services=mirrored(main.port, copy.port)) as engine:
            sock = socket.create_connection(("127.0.0.1", engine.port))
            sock.sendall(COUNTED[:-2])
            await until_async(lambda: engine.active == 1)
            sock.sendall(COUNTED[-2:])
            await until_async(lambda: main.requests and copy.requests)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            sock.close()
            await until_async(lambda: not engine.live)
            await until_async(lambda: engine.idle == 1)  # The mirror's answer was heard to its end.
            assert engine.entry.mirrors.dropped == 0


@on_both_loops
async def test_a_copy_of_a_request_that_was_given_up_is_given_up() -> None:
    with recording() as main, recording() as copy:
        async with no_descriptor_leak(), http_engine(services=mirrored(main.port, copy.port)) as engine:
            with socket.create_connection(("127.0.0.1", engine.port)) as sock:
                sock.sendall(CHUNKED[:-9])
                await until_async(lambda: len(engine.entry.mirrors.copies_under_way) == 1)
            await until_async(lambda: not engine.entry.mirrors.copies_under_way)
        assert not main.requests
        assert not copy.requests


@on_both_loops
async def test_the_expectation_is_not_copied() -> None:
    with recording() as main, recording() as copy:
        async with http_engine(services=mirrored(main.port, copy.port)) as engine:
            request = COUNTED.replace(
                b"\r\n\r\n", b"\r\nExpect: 100-continue\r\nX: Expect: 100-continue\r\nY: z\r\n\r\n"
            )
            await off_loop(raw_http, engine.port, request)
            await until_async(lambda: copy.requests)
        assert main.requests[0].value("expect") == b"100-continue"
        assert not copy.requests[0].values("expect")
        assert copy.requests[0].value("x") == b"Expect: 100-continue"


@pytest.mark.parametrize("closing", [b"Connection: close", b"X: y"])
@on_both_loops
async def test_the_mirrors_connection_is_kept_only_if_the_mirror_keeps_it(closing: bytes) -> None:
    answer: list[Step] = [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n%b\r\n\r\n" % closing, 0.02, b"body"]
    with recording() as main, recording(answer) as copy:
        async with http_engine(services=mirrored(main.port, copy.port)) as engine:
            for number in range(3):
                await off_loop(http_get, engine.port)
                await until_async(lambda count=number + 1: len(copy.requests) == count)  # type: ignore[misc]
                await until_async(lambda: not engine.entry.mirrors.copies_under_way)
            assert len(pool_of(engine, copy.port)._idle) == (closing == b"X: y")
        assert copy.connections == (1 if closing == b"X: y" else 3)


@on_both_loops
async def test_a_copy_over_a_stale_connection_is_sent_again() -> None:
    with recording() as main, recording([After.CLOSE], ok()) as copy:
        async with http_engine(services=mirrored(main.port, copy.port)) as engine:
            await off_loop(http_get, engine.port)
            await until_async(lambda: len(copy.requests) == 1 and not engine.entry.mirrors.copies_under_way)
            await off_loop(http_get, engine.port)  # Its connection ends under the copy; so does the next.
            await until_async(lambda: len(copy.requests) == 3 and not engine.entry.mirrors.copies_under_way)
            assert engine.entry.mirrors.dropped == 1
