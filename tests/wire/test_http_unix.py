"""HTTP servers at Unix sockets, on both loops."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from streamlb.config.model import LoadBalancer, Server, Service
from tests.support.engine import http_engine
from tests.support.http import http_get
from tests.support.loops import on_both_loops

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest


@contextlib.asynccontextmanager
async def origin(path: Path, seen: list[bytes]) -> AsyncIterator[None]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                seen.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi\n")
        writer.close()

    server = await asyncio.start_unix_server(serve, str(path))
    try:
        yield
    finally:
        server.close()


def at(path: Path, *, pass_host_header: bool = True) -> dict[str, Service]:
    servers = [Server(url=f"unix:{path}")]
    return {"app": Service(load_balancer=LoadBalancer(servers=servers, pass_host_header=pass_host_header))}


@on_both_loops
async def test_requests_are_answered_and_connections_kept(tmp_path: Path) -> None:
    seen: list[bytes] = []
    path = tmp_path / "app.sock"
    async with origin(path, seen), http_engine(services=at(path)) as engine:
        for _ in range(3):
            reply = await asyncio.to_thread(http_get, engine.port, host="a.example")
            assert (reply.status, reply.text) == (200, "hi\n")
        assert engine.idle == 1
        assert all(b"\r\nHost: a.example\r\n" in head for head in seen)


@on_both_loops
async def test_a_host_of_its_own_is_localhost(tmp_path: Path) -> None:
    seen: list[bytes] = []
    path = tmp_path / "app.sock"
    async with origin(path, seen), http_engine(services=at(path, pass_host_header=False)) as engine:
        assert (await asyncio.to_thread(http_get, engine.port)).status == 200
        assert b"\r\nHost: localhost\r\n" in seen[0]


@on_both_loops
async def test_nobody_there_is_a_502(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with http_engine(services=at(tmp_path / "none.sock")) as engine:
        assert (await asyncio.to_thread(http_get, engine.port)).status == 502
    assert "there is no such socket" in caplog.text
