"""Probes over real sockets: what is good, what is bad, and in which words."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from streamlb.config.model import HealthCheck
from streamlb.config.static import ServersTransport
from streamlb.config.tls import ClientTls
from streamlb.health.checks import Check, Result
from streamlb.health.connect import MAX_LOOKUPS, resolve
from streamlb.health.prober import probe
from streamlb.net.resolve import Resolver
from tests.support.certificates import authority, local_pair, secure_recording
from tests.support.engine import full_backlog
from tests.support.http import After, ok, recording
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.ports import free_port
from tests.support.until import until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


def check(port: int, protocol: str = "http", host: str = "127.0.0.1", **options: Any) -> Check:
    options.setdefault("timeout", 5.0)
    if protocol == "http":
        options.setdefault("path", "/health")
    scheme = options.get("scheme") or ("http" if protocol == "http" else "")
    transport = options.pop("transport", ServersTransport())
    key = (protocol, "app", f"{host}:{port}")
    return Check(key, host, port, HealthCheck(**options), scheme, host, transport)


def status(code: int, *fields: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 %d Some words" % code, b"Content-Length: 0", *fields, b"", b""])


# --- HTTP --------------------------------------------------------------------------------------------------------


@on_both_loops
async def test_a_request_and_a_good_answer() -> None:
    with recording() as origin:
        async with no_descriptor_leak():
            found = await probe(check(origin.port, hostname="my.test", headers={"X-Key": "1"}))
        assert found == Result(True, "GET /health: 200")
        [seen] = origin.requests
        assert seen.start_line == b"GET /health HTTP/1.1"
        assert seen.headers == [
            (b"Host", b"my.test"),
            (b"User-Agent", b"streamlb"),
            (b"Accept", b"*/*"),
            (b"X-Key", b"1"),
            (b"Connection", b"close"),
        ]


TRUSTING = ServersTransport(insecure_skip_verify=True)


@on_both_loops
async def test_tls_by_the_service_s_transport() -> None:
    ours = ServersTransport(root_cas=[authority().pair.text])
    with secure_recording() as origin, secure_recording(authority().self_signed("localhost")) as other:
        async with no_descriptor_leak():

            async def ask(port: int, transport: ServersTransport) -> Result:
                return await probe(check(port, host="localhost", scheme="https", transport=transport, body="ok"))

            assert await ask(origin.port, ours) == Result(True, "GET /health: 200")
            reason = "certificate verify failed: self-signed certificate"
            assert await ask(other.port, ours) == Result(False, reason)
            assert await ask(other.port, TRUSTING) == Result(True, "GET /health: 200")
            wrong = await ask(origin.port, ServersTransport(root_cas=ours.root_cas, server_name="b.test"))
            assert wrong.good is False
            assert "certificate verify failed" in wrong.reason
        assert [request.value("host") for request in origin.requests] == [b"localhost:%d" % origin.port]


@on_both_loops
async def test_tls_with_who_does_not_speak_it_or_nothing_at_all() -> None:
    with recording(status(400)) as plain, recording([After.HANG]) as silent:
        async with no_descriptor_leak():
            found = await probe(check(silent.port, scheme="https", timeout=0.3))
            assert found == Result(False, "timeout after 0.3 s")
            found = await probe(check(plain.port, scheme="https", timeout=0.5))
            assert found.good is False


@on_both_loops
async def test_a_server_that_wants_to_see_a_certificate() -> None:
    with secure_recording(clients=authority()) as origin:
        async with no_descriptor_leak():
            found = await probe(check(origin.port, host="localhost", scheme="https", transport=TRUSTING))
            assert found.good is False
            assert "internal" not in found.reason


@on_both_loops
async def test_a_redirect_to_tls_is_followed() -> None:
    with secure_recording() as origin:
        with recording(status(301, b"Location: https://localhost:%d/" % origin.port)) as plain:
            transport = ServersTransport(root_cas=[authority().pair.text], server_name="not.for.others")
            assert (await probe(check(plain.port, transport=transport))).good
            assert origin.targets() == ["/"]


BODY = {"body": "ok"}
PLAIN: dict[str, Any] = {}
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LONGER = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"


@pytest.mark.parametrize(
    ("answer", "options", "good", "reason"),
    [
        (status(503), PLAIN, False, "GET /health: 503"),
        (status(404), {"status": ["200-299", "404"]}, True, "GET /health: 404"),
        (status(200), {"status": ["204"]}, False, "GET /health: 200"),
        (status(302), PLAIN, True, "GET /health: 302"),  # No Location: there is nothing to follow.
        (status(302, b"Location: /x"), {"follow_redirects": False}, True, "GET /health: 302"),
        (status(301, b"Location: ftp://a/"), PLAIN, False, "GET /health: 301 to where a check cannot follow"),
        (status(301, b"Location: http://[::1"), PLAIN, False, "GET /health: 301 to where a check cannot follow"),
        (status(301, b"Location: http://a:99999/"), PLAIN, False, "GET /health: 301 to where a check cannot follow"),
        (status(307, b"Location: /health"), PLAIN, False, "GET /health: more than 10 redirects"),
        (status(100) + status(103) + ok(), PLAIN, True, "GET /health: 200"),
        (status(103) * 20, PLAIN, False, "GET /health: too many interim answers"),
        (ok(b"all ok"), BODY, True, "GET /health: 200"),
        (ok(b"not yet"), BODY, False, "GET /health: 200, but ok is not in the body"),
        (ok(b"state: 7"), {"body": "/^state: [0-9]$/"}, True, "GET /health: 200"),
        (ok(b"x" * 70_000 + b"ok"), BODY, False, "GET /health: 200, but ok is not in the body"),
        (CHUNKED + b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n", BODY, True, "GET /health: 200"),
        ([b"HTTP/1.0 200 OK\r\n\r\nok", After.CLOSE], BODY, True, "GET /health: 200"),
        (
            [LONGER, After.CLOSE],
            BODY,
            False,
            "GET /health: the connection was closed before the answer was complete",
        ),
        (
            CHUNKED + b"zz\r\n",
            BODY,
            False,
            "GET /health: an invalid chunk size",
        ),
        ([After.CLOSE], PLAIN, False, "GET /health: the connection was closed before the answer was complete"),
        ([b"HTTP/1.1 200", After.RESET], PLAIN, False, "GET /health: connection reset"),
        (b"SSH-2.0-x\r\n\r\n", PLAIN, False, "GET /health: the answer is not valid HTTP"),
        (b"HTTP/1.1 200 OK\r\nA: b\x1b[2J\r\n\r\n", PLAIN, False, "GET /health: "),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 40_000, PLAIN, False, "GET /health: the head of the answer is too large"),
        ([After.HANG], {"timeout": 0.1}, False, "timeout after 0.1 s"),
        ([LONGER, After.HANG], {**BODY, "timeout": 0.1}, False, "timeout after 0.1 s"),
        ([LONGER, After.HANG], PLAIN, True, "GET /health: 200"),
    ],
)  # fmt: skip
@on_both_loops
async def test_answers(answer: Any, options: dict[str, Any], good: bool, reason: str) -> None:
    with recording(answer) as origin:
        async with no_descriptor_leak():
            found = await probe(check(origin.port, **options))
        assert found.good is good
        assert found.reason.startswith(reason) if reason.endswith(": ") else found.reason == reason
        assert found.reason.isprintable()


@on_both_loops
async def test_redirects_are_followed_and_secrets_stay_at_home() -> None:
    with recording() as other:
        away = b"Location: http://localhost:%d/there?x=1" % other.port
        with recording(status(404), status(302, b"Location: ../up"), status(303, away)) as origin:
            found = await probe(check(origin.port, path="/a/b", method="POST", headers={"X-Key": "1"}, hostname="h"))
        assert found == Result(True, "POST /a/b: 200")
        assert [request.start_line for request in origin.requests] == [b"POST /a/b HTTP/1.1", b"GET /up HTTP/1.1"]
        assert [request.value("x-key") for request in origin.requests] == [b"1", b"1"]
        [last] = other.requests
        assert last.start_line == b"GET /there?x=1 HTTP/1.1"
        assert last.value("host") == b"localhost:%d" % other.port
        assert last.value("x-key") is None


@on_both_loops
async def test_head_has_no_body_to_wait_for() -> None:
    with recording(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n") as origin:
        assert (await probe(check(origin.port, method="HEAD"))).good
        assert origin.requests[0].start_line == b"HEAD /health HTTP/1.1"


@pytest.mark.parametrize("protocol", ["http", "tcp"])
@on_both_loops
async def test_nobody_there(protocol: str) -> None:
    async with no_descriptor_leak():
        assert await probe(check(free_port(), protocol)) == Result(False, "connection refused")
        unknown = await probe(check(80, protocol, host="nowhere.invalid"))
        assert unknown == Result(False, "the name does not resolve")
        with full_backlog() as port:
            assert await probe(check(port, protocol, timeout=0.2)) == Result(False, "timeout after 0.2 s")


@on_both_loops
async def test_a_name_is_looked_up() -> None:
    with recording() as origin:
        assert (await probe(check(origin.port, host="localhost"))).good


@on_both_loops
async def test_many_names_at_once_wait_for_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    under_way = most = 0

    async def look_up(self: Resolver, host: str) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        for on_done in self._waiting.pop(host):
            on_done([(socket.AF_INET, "127.0.0.1")])

    monkeypatch.setattr(Resolver, "_look_up", look_up)
    found = await asyncio.gather(*(resolve(f"{number}.test") for number in range(200)))
    assert found == [[(socket.AF_INET, "127.0.0.1")]] * 200
    assert most == MAX_LOOKUPS


@on_both_loops
async def test_our_own_shortage_is_not_the_server_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(*_args: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    with recording() as origin:
        with monkeypatch.context() as patched:
            patched.setattr("streamlb.net.dial.socket.socket", no_more)
            found = await probe(check(origin.port))
        assert found.good is None
        assert "Too many open files" in found.reason


@on_both_loops
async def test_a_probe_that_is_cancelled_leaves_nothing_behind() -> None:
    with recording([After.HANG]) as origin, full_backlog() as port:
        async with no_descriptor_leak():
            for target in (check(origin.port), check(port), check(port, "tcp")):
                for pause in (0, 0.05):
                    task = asyncio.ensure_future(probe(target))  # noqa: TID251
                    await asyncio.sleep(pause)
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task


# --- TCP ---------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def tcp_server(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any], context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    talking: set[object] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking.add(reader)
        # uvloop's way to say that the prober has heard enough is a RuntimeError.
        with contextlib.suppress(ConnectionError, RuntimeError):
            await talk(reader, writer)
            writer.close()
        talking.discard(reader)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
        await until_async(lambda: not talking)
    finally:
        server.close()


async def redis(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if await reader.read(100) == b"PING\r\n":
        for piece in (b"+PO", b"NG\r\n", b"and more"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def leaving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"+P")


async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"-ERR \x1b[2J and a long story that nobody wants to read in a log\r\n")
    await reader.read()


@pytest.mark.parametrize(
    ("talk", "options", "good", "reason"),
    [
        (silent, {}, True, "accepts connections"),
        (silent, {"send": "PING\r\n"}, True, "accepts connections"),
        (redis, {"send": "PING\r\n", "expect": "+PONG"}, True, "answers as expected"),
        (silent, {"send": "PING\r\n", "expect": "+PONG", "timeout": 0.1}, False, "timeout after 0.1 s"),
        (leaving, {"expect": "+PONG"}, False, "the connection was closed before the expected answer"),
        (broken, {"expect": "+PONG"}, False, "answers '-ERR ', not '+PONG'"),
        (
            broken,
            {"expect": "+PONG and much more of it to compare"},
            False,
            "answers '-ERR \\x1b[2J and a long story that '..., not '+PONG and much more of it to com'...",
        ),
    ],
)  # fmt: skip
@on_both_loops
async def test_tcp(talk: Any, options: dict[str, Any], good: bool, reason: str) -> None:
    async with tcp_server(talk) as port:
        async with no_descriptor_leak():
            assert await probe(check(port, "tcp", **options)) == Result(good, reason)


@pytest.mark.parametrize(("version", "header"), [(1, b"PROXY UNKNOWN\r\n"), (2, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")])
@on_both_loops
async def test_a_server_that_wants_to_know_who_asks(version: int, header: bytes) -> None:
    """Who probes speaks for himself."""

    async def proxied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(len(header) + 6) == header + b"PING\r\n":
            writer.write(b"+PONG")
        await reader.read()

    async with tcp_server(proxied) as port, no_descriptor_leak():
        made = replace(check(port, "tcp", send="PING\r\n", expect="+PONG"), proxy_version=version)
        assert await probe(made) == Result(True, "answers as expected")


@on_both_loops
async def test_an_http_server_that_wants_to_know_who_asks() -> None:
    header = b"PROXY UNKNOWN\r\n"

    async def proxied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(len(header)) == header:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with tcp_server(proxied) as port, no_descriptor_leak():
        assert (await probe(replace(check(port), proxy_version=1))).good


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("localhost", {"expect": "+PONG", "send": "PING\r\n"}, "answers as expected"),
        ("other.example.com", {}, "certificate verify failed: Hostname mismatch"),
    ],
)
@on_both_loops
async def test_tcp_over_tls(name: str, options: dict[str, Any], reason: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(local_pair().certificate, local_pair().key)
    async with tcp_server(redis, context) as port:
        made = check(port, "tcp", **options)
        tls = ClientTls(root_cas=[authority().pair.text])
        result = await probe(replace(made, name=name, tls=tls))
        assert result.reason.startswith(reason)
        assert result.good is (name == "localhost")


@on_both_loops
async def test_a_handshake_may_be_enough() -> None:
    with secure_recording() as origin:
        made = replace(check(origin.port, "tcp"), name="localhost", tls=ClientTls(root_cas=[authority().pair.text]))
        async with no_descriptor_leak():
            assert await probe(made) == Result(True, "accepts connections")


@on_both_loops
async def test_tcp_over_tls_with_who_does_not_speak_it() -> None:
    async with tcp_server(broken) as port:
        made = replace(check(port, "tcp"), name="localhost", tls=ClientTls())
        assert await probe(made) == Result(False, "the server does not speak TLS")


# --- UDP ---------------------------------------------------------------------------------------------------------


class Echo(asyncio.DatagramProtocol):
    """Answers with what it was told, unless it has nothing to say."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.heard: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.heard.append(data)
        if self.answer:
            self.transport.sendto(self.answer, addr)


@pytest.mark.parametrize(
    ("answer", "options", "good", "reason"),
    [
        (b"pong 1", {"expect": "pong"}, True, "answers as expected"),
        (b"pang", {"expect": "pong"}, False, "answers 'pang', not 'pong'"),
        (b"", {"expect": "pong", "timeout": 0.1}, False, "timeout after 0.1 s"),
        (b"anything", {}, True, "answers"),
        (b"", {"timeout": 0.2}, True, "does not refuse datagrams"),
    ],
)
@on_both_loops
async def test_udp(answer: bytes, options: dict[str, Any], good: bool, reason: str) -> None:
    server, protocol = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Echo(answer), ("127.0.0.1", 0))
    port = server.get_extra_info("sockname")[1]
    async with no_descriptor_leak():
        assert await probe(check(port, "udp", send="ping", **options)) == Result(good, reason)
        # The name has other addresses too; the one that answers counts.
        assert await probe(check(port, "udp", host="localhost", send="ping", **options)) == Result(good, reason)
    assert protocol.heard[0] == b"ping"
    server.close()


@on_both_loops
async def test_udp_nobody_there() -> None:
    async with no_descriptor_leak():
        for options in ({}, {"expect": "pong"}):
            found = await probe(check(free_port("udp"), "udp", send="ping", **options))
            assert found == Result(False, "port unreachable")
        unknown = await probe(check(53, "udp", host="nowhere.invalid", send="x"))
        assert unknown == Result(False, "the name does not resolve")
