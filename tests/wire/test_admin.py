"""The admin sockets with real callers: good ones, slow ones, and those who mean no good."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from typing import TYPE_CHECKING, Any

import pytest

from streamlb.admin import server as admin_server
from streamlb.admin.app import MAX_BODY, steering
from streamlb.admin.server import MAX_CONNECTIONS, Server
from streamlb.admin.sockets import UnavailableError, claim, discard, private
from streamlb.errors import RefusedError
from tests.support.loops import on_both_loops
from tests.support.until import until_async

if TYPE_CHECKING:
    from pathlib import Path


class Office:
    """Says what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    async def status(self) -> Any:
        return {"state": "serving"}

    async def health(self) -> Any:
        raise ValueError("a bug")

    async def connections(self, limit: int) -> Any:
        return [limit]

    async def interventions(self) -> Any:
        return "x" * 4_000_000

    async def remaining(self, server: str, service: str) -> Any:
        raise RefusedError(f"there is no {server}", "did you mean it?")

    async def weigh(self, service: str, child: str, weight: int, by: str) -> Any:
        self.asked.append((service, child, weight, by))
        return {"done": []}

    async def turn(self, server: str, service: str, state: str, by: str) -> Any:
        self.asked.append((server, service, state, by))

    async def reset(self, which: str, by: str) -> Any:
        self.asked.append((which, by))

    async def reload(self, by: str) -> Any:
        self.asked.append((by,))

    async def resolve(self, name: str, by: str) -> Any:
        self.asked.append((name, by))


class Admin:
    """A served socket, for the length of a test."""

    def __init__(self, path: Path) -> None:
        self.office = Office()
        self.claimed = claim(path)
        self.server = Server(steering(self.office), self.claimed.sock)

    async def __aenter__(self) -> Admin:
        await self.server.start(asyncio.get_running_loop())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.server.stop()
        self.claimed.release()

    async def ask(self, what: str, body: bytes | None = None, *fields: str) -> tuple[int, Any]:
        """Status and content of an answer."""
        method = "GET" if body is None else "POST"
        head = [f"{method} /api/ctl/{what} HTTP/1.1", "Host: x", *fields, f"Content-Length: {len(body or b'')}", "", ""]
        reader, writer = await asyncio.open_unix_connection(str(self.claimed.path))
        writer.write("\r\n".join(head).encode() + (body or b""))
        answer = await reader.read()
        writer.close()
        head_bytes, _, content = answer.partition(b"\r\n\r\n")
        return int(head_bytes.split()[1]), json.loads(content)


@on_both_loops
async def test_what_is_asked_is_answered(tmp_path: Path) -> None:
    async with Admin(tmp_path / "s") as admin:
        assert await admin.ask("status") == (200, {"state": "serving"})
        status, said = await admin.ask("weight", b'{"service": "app", "child": "v1", "weight": 3}')
        assert (status, said) == (200, {"done": []})
        service, child, weight, by = admin.office.asked[0]
        assert (service, child, weight) == ("app", "v1", 3)
        assert by


@on_both_loops
async def test_root_may_say_on_whose_behalf(tmp_path: Path) -> None:
    async with Admin(tmp_path / "s") as admin:
        await admin.ask("reload", b"", "X-Sudo-User: alice")
        await admin.ask("reload", b"", "X-Sudo-User: \xe9\x1b[31m")
        [[first], *rest] = admin.office.asked
        assert first == ("root (sudo by alice)" if os.geteuid() == 0 else first)
        assert not any("sudo" in said[0] for said in rest)


@on_both_loops
async def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    async with Admin(tmp_path / "s") as admin:
        assert await admin.ask("remaining?server=it") == (
            400,
            {"error": "there is no it", "suggestion": "did you mean it?"},
        )
        assert (await admin.ask("nothing"))[0] == 404
        assert (await admin.ask("status", b""))[0] == 405
        for body in (b"", b"{", b"[]", b'{"service": "a", "child": "b", "weight": -1}', b'{"weight": 1, "more": 2}'):
            status, said = await admin.ask("weight", body)
            assert (status, "cannot be read" in said["error"]) == (400, True)
        assert admin.office.asked == []


@on_both_loops
async def test_a_bug_is_told_of_and_stays_where_it_is(tmp_path: Path) -> None:
    async with Admin(tmp_path / "s") as admin:
        status, said = await admin.ask("health")
        assert (status, said["error"]) == (500, "internal error; the log has more")
        assert (await admin.ask("status"))[0] == 200


@on_both_loops
async def test_too_large_a_body_is_refused_before_it_is_there(tmp_path: Path) -> None:
    async with Admin(tmp_path / "s") as admin:
        status, said = await admin.ask("weight", b"x" * (MAX_BODY + 1))
        assert (status, said["error"]) == (413, "the request is too large")


@on_both_loops
async def test_nonsense_is_no_request(tmp_path: Path) -> None:
    async with Admin(tmp_path / "s") as admin:
        for nonsense in (b"\x16\x03\x01\x00\xff", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nA: " + b"x" * 100_000):
            reader, writer = await asyncio.open_unix_connection(str(admin.claimed.path))
            writer.write(nonsense)
            writer.write_eof()
            assert (await reader.read())[:12] in (b"HTTP/1.1 400", b"")
            writer.close()
        assert (await admin.ask("status"))[0] == 200


@on_both_loops
async def test_who_dawdles_is_cut_off(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admin_server, "REQUEST_TIMEOUT", 0.2)
        patch.setattr(admin_server, "TAKING_TIMEOUT", 0.2)
        async with Admin(tmp_path / "s") as admin:
            for beginning in (b"", b"GET /api/ctl/status HTT", b"POST /api/ctl/weight HTTP/1.1\r\nHost: x\r\n"
                              b"Content-Length: 9\r\n\r\nab"):  # fmt: skip
                reader, writer = await asyncio.open_unix_connection(str(admin.claimed.path))
                writer.write(beginning)
                assert await reader.read() == b""
                writer.close()
            # One who does not take his answer.
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(admin.claimed.path))
                sock.sendall(b"GET /api/ctl/overrides HTTP/1.1\r\nHost: x\r\n\r\n")
                await until_async(lambda: not admin.server.connections, 5.0, "the connection is given up")
            assert (await admin.ask("status"))[0] == 200


@on_both_loops
async def test_one_too_many_is_cut_off_and_the_others_stay(tmp_path: Path) -> None:
    async with Admin(tmp_path / "s") as admin:
        callers = [await asyncio.open_unix_connection(str(admin.claimed.path)) for _ in range(MAX_CONNECTIONS)]
        await until_async(lambda: admin.server.connections == MAX_CONNECTIONS, 5.0, "all are there")
        reader, writer = await asyncio.open_unix_connection(str(admin.claimed.path))
        assert await reader.read() == b""
        writer.close()
        callers[0][1].write(b"GET /api/ctl/status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await callers[0][0].read()).startswith(b"HTTP/1.1 200")
        for _, each in callers:
            each.close()
        await until_async(lambda: not admin.server.connections, 5.0, "all are gone")
        assert (await admin.ask("status"))[0] == 200


# --- the sockets themselves ----------------------------------------------------------------------------------------


def test_a_socket_is_for_its_user_alone_from_the_beginning(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        claimed = claim(tmp_path / "folder" / "s")
    finally:
        os.umask(before)
    assert stat.S_IMODE(claimed.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(claimed.path.parent.stat().st_mode) == 0o700
    claimed.release()
    assert os.listdir(claimed.path.parent) == []


def test_one_that_the_dead_have_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "s"
    dead = claim(path)
    dead.sock.close()
    claimed = claim(path)
    dead.release()
    assert path.exists(), "what belongs to a successor stays"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
    claimed.release()
    assert not path.exists()


def test_one_of_the_living_is_not_taken_but_by_a_successor(tmp_path: Path) -> None:
    path = tmp_path / "s"
    first = claim(path)
    with pytest.raises(UnavailableError, match="another process listens there") as caught:
        claim(path)
    assert caught.value.is_taken
    second = claim(path, succeeds=True)
    first.release()
    assert path.exists()
    second.release()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(UnavailableError, match="no socket"):
        claim(path)
    assert path.read_text() == "precious"
    with pytest.raises(UnavailableError, match="longer than"):
        claim(tmp_path / ("x" * 120))
    with pytest.raises(UnavailableError, match="its folder"):
        claim(tmp_path / "not" / "there" / "s")


def test_a_private_socket_leaves_nothing_behind() -> None:
    claimed = private()
    folder = claimed.path.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    discard(claimed)
    assert not folder.exists()
