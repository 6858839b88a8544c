"""HTTP servers that want to be told who the client is: the header, whose connection is whose, TLS behind it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from streamlb.config.static import ServersTransport
from streamlb.config.tls import SentProxyProtocol
from streamlb.wire.preamble import Incomplete
from streamlb.wire.proxy_protocol import Header, read_header
from tests.support.certificates import SecureRecorder, authority, secure_recording
from tests.support.engine import http_engine, mirrored, off_loop, secure
from tests.support.http import After, Client, Recorder, ok
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.until import until_async

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

HOST = ip_address("127.0.0.1")


@dataclass(slots=True)
class Told(Recorder):
    """An origin that reads a PROXY header first. headers: one for each connection."""

    headers: list[Header] = field(default_factory=list)

    def _serve(self, sock: socket.socket, connection: int) -> None:
        self.headers.append(take_header(sock))
        Recorder._serve(self, sock, connection)


@dataclass(slots=True)
class SecurelyTold(SecureRecorder):
    """The same before its TLS."""

    headers: list[Header] = field(default_factory=list)

    def _serve(self, sock: socket.socket, connection: int) -> None:
        self.headers.append(take_header(sock))
        SecureRecorder._serve(self, sock, connection)


def take_header(sock: socket.socket) -> Header:
    sock.settimeout(5)
    data = b""
    while isinstance(found := read_header(data), Incomplete):
        data += sock.recv(found.needed - len(data))
    assert isinstance(found, Header)
    return found


def telling(version: int = 2, **options: Any) -> ServersTransport:
    return ServersTransport(proxy_protocol=SentProxyProtocol(version=version), **options)


@contextlib.contextmanager
def told(*answers: Any) -> Iterator[Told]:
    with Told(ok(), list(answers)) as origin:
        yield origin


def here(client: Client) -> tuple[Any, int]:
    return HOST, client.sock.getsockname()[1]


@on_both_loops
@pytest.mark.parametrize("version", [1, 2])
async def test_a_client_keeps_its_connection(version: int) -> None:
    with told() as origin:
        async with no_descriptor_leak(), http_engine(origin.port, transport=telling(version)) as engine:

            def ask() -> None:
                with Client(engine.port) as client:
                    for _ in range(3):
                        assert client.request().body == b"ok\n"
                    (header,) = origin.headers
                    assert (header.source, header.destination) == (here(client), (HOST, engine.port))

            await off_loop(ask)
        assert origin.connections == 1


@on_both_loops
async def test_nobody_gets_the_connection_of_another_client() -> None:
    with told() as origin:
        async with http_engine(origin.port, transport=telling()) as engine:

            def ask() -> None:
                with Client(engine.port) as one, Client(engine.port) as other:
                    for client in (one, other, one, other, one):
                        client.request()
                    asked = [each.connection for each in origin.requests]
                    assert asked == [1, 2, 1, 2, 1]
                    assert [each.source for each in origin.headers] == [here(one), here(other)]

            await off_loop(ask)
            assert engine.idle == 2


@on_both_loops
async def test_who_has_left_makes_room() -> None:
    with told() as origin:
        async with http_engine(origin.port, transport=telling(max_idle_conns_per_host=1)) as engine:

            def ask() -> None:
                for _ in range(3):
                    with Client(engine.port) as client:
                        client.request()
                        client.request()

            await off_loop(ask)
            assert engine.idle == 1
        assert [each.connection for each in origin.requests] == [1, 1, 2, 2, 3, 3]


@on_both_loops
async def test_a_connection_that_has_died_is_replaced_by_one_that_is_told() -> None:
    with told(ok(), [After.RESET]) as origin:
        async with http_engine(origin.port, transport=telling()) as engine:

            def ask() -> None:
                with Client(engine.port) as client:
                    assert [client.request().status for _ in range(2)] == [200, 200]
                    assert [each.source for each in origin.headers] == [here(client)] * 2

            await off_loop(ask)


@on_both_loops
async def test_a_copy_is_our_own_request() -> None:
    with told() as main, told() as copy:
        services = mirrored(main.port, copy.port)
        async with http_engine(services=services, transport=telling()) as engine:

            def ask() -> None:
                with Client(engine.port) as client:
                    client.request()
                with Client(engine.port) as client:
                    client.request()

            await off_loop(ask)
            await until_async(lambda: len(copy.requests) == 2)
        assert {each.source for each in copy.headers} == {None}
        assert len({each.source for each in main.headers}) == 2


@on_both_loops
async def test_the_header_comes_before_the_handshake() -> None:
    with secure_recording() as model, SecurelyTold(context=model.context) as origin:
        transport = telling(root_cas=[authority().pair.text])
        services = {"app": secure(origin.port)}
        async with no_descriptor_leak(), http_engine(services=services, transport=transport) as engine:

            def ask() -> None:
                with Client(engine.port) as client:
                    assert [client.request().status for _ in range(2)] == [200, 200]
                    (header,) = origin.headers
                    assert header.source == here(client)

            await off_loop(ask)
        assert origin.failures == []
