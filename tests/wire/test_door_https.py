"""HTTPS behind the door: certificates and options by name, and who asks for another host than it shook hands for."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from streamlb.config.static import EntryPointHttp
from streamlb.config.tls import (
    AcceptedProxyProtocol,
    ClientAuth,
    EntryPointTls,
    RedirectEntryPoint,
    Redirections,
    RouterTls,
    ServedCertificate,
    Store,
    Tls,
    TlsOptions,
)
from streamlb.net.poller import poller_of
from streamlb.net.secure import SecureSocket
from streamlb.net.tasks import spawn
from streamlb.proxy import newcomer
from streamlb.proxy.downstream import Downstream
from streamlb.proxy.newcomer import Newcomer
from streamlb.runtime.build import build
from streamlb.runtime.registry import Registry
from streamlb.wire.opening import read_opening
from tests.support.certificates import Pair, authority, local_pair
from tests.support.door import HOST, Opened, Rules, config, opened
from tests.support.http import ok, recording
from tests.support.loops import no_descriptor_leak, no_garbage, on_both_loops
from tests.support.tls import pair_text, trusting
from tests.support.until import until_async
from tests.unit.wire.test_opening import client_hello

if TYPE_CHECKING:
    from collections.abc import Callable

ANY: tuple[str, RouterTls] = ("PathPrefix(`/`)", RouterTls())
TIMEOUT = 5.0


def served(pair: Pair, *names: str) -> ServedCertificate:
    certificate, key = pair_text(pair)
    return ServedCertificate(cert_file=certificate, key_file=key, names=list(names))


def tls(**options: TlsOptions) -> Tls:
    """A certificate for `localhost`, shown to everybody; `options` by name."""
    default = Store(default_certificate=served(local_pair(), "localhost"))
    return Tls(stores={"default": default}, options=options)


class Visitor:
    """A client over TLS, in a thread of its own."""

    def __init__(
        self,
        door: Opened,
        name: str | None = "localhost",
        *,
        first: bytes = b"",
        shown: Pair | None = None,
        verify: bool = True,
        protocols: tuple[str, ...] = (),
    ) -> None:
        context = trusting(shown=shown)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if protocols:
            context.set_alpn_protocols(protocols)
        raw = socket.create_connection((HOST, door.port), TIMEOUT)
        try:
            raw.sendall(first)
            self.sock = context.wrap_socket(raw, server_hostname=name)
        except BaseException:
            raw.close()
            raise

    def ask(self, host: str, path: str = "/", *, method: str = "GET", fields: str = "") -> tuple[int, bytes]:
        """Status and body of the answer."""
        self.sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode())
        file = self.sock.makefile("rb")
        status = int(file.readline().split()[1])
        length = 0
        while (line := file.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return status, file.read(length)

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


async def beside(work: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(work)


@on_both_loops
async def test_a_request_over_tls() -> None:
    with recording(ok(b"web")) as web:
        poller_of(asyncio.get_running_loop())
        async with (
            no_descriptor_leak(),
            opened(config({"web": ("PathPrefix(`/`)", web.port, RouterTls())}, tls=tls())) as door,
        ):

            def visit() -> None:
                with Visitor(door, protocols=("h2", "http/1.1")) as visitor:
                    assert visitor.sock.selected_alpn_protocol() == "http/1.1"
                    assert visitor.sock.version() == "TLSv1.3"
                    assert [visitor.ask("localhost") for _ in range(3)] == [(200, b"web")] * 3

            await beside(visit)
        request = web.requests[0]
        assert request.value("x-forwarded-proto") == b"https"
        assert request.value("x-forwarded-port") == b"443"
        assert request.value("x-forwarded-for") == HOST.encode()


@pytest.mark.parametrize("fields", ["", "Connection: close\r\n"], ids=["the client ends", "we end"])
@on_both_loops
async def test_a_connection_that_has_ended_leaves_nothing_to_collect(fields: str) -> None:
    with recording(ok(b"web")) as web:
        async with (
            opened(config({"web": ("PathPrefix(`/`)", web.port, RouterTls())}, tls=tls())) as door,
            no_garbage(Downstream, SecureSocket, Newcomer),
        ):

            def visit() -> None:
                with Visitor(door) as visitor:
                    assert visitor.ask("localhost", fields=fields) == (200, b"web")

            await beside(visit)


@on_both_loops
async def test_a_websocket_over_tls_says_so() -> None:
    with recording(ok(b"web")) as web:
        async with opened(config({"web": ("PathPrefix(`/`)", web.port, RouterTls())}, tls=tls())) as door:

            def visit() -> None:
                with Visitor(door) as visitor:
                    fields = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                    assert visitor.ask("localhost", fields=fields)[0] == 200

            await beside(visit)
        assert web.requests[0].value("x-forwarded-proto") == b"wss"


@on_both_loops
async def test_big_bodies_both_ways() -> None:
    body = bytes(range(256)) * 8192
    with recording(lambda request: ok(request.body)) as web:
        async with opened(config({"web": ("PathPrefix(`/`)", web.port, RouterTls())}, tls=tls())) as door:

            def visit() -> None:
                with Visitor(door) as visitor:
                    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
                    visitor.sock.sendall(head.encode() + body)
                    file = visitor.sock.makefile("rb")
                    while file.readline() != b"\r\n":
                        pass
                    assert file.read(len(body)) == body

            await beside(visit)


@on_both_loops
async def test_a_handshake_in_single_bytes() -> None:
    async with opened(config({"web": (ANY[0], 1, ANY[1])}, tls=tls())) as door:
        peer = await door.connect()
        for byte in client_hello("localhost"):
            await peer.send(bytes((byte,)))
        assert (await peer.read(1)) == b"\x16"


@pytest.mark.parametrize(
    ("asked", "expected"), [("a.com", "a"), ("x.b.com", "wild"), ("c.com", "localhost"), (None, "localhost")]
)
@on_both_loops
async def test_the_certificate_for_a_name(asked: str | None, expected: str) -> None:
    made = tls()
    pairs = {"a": authority().certificate("a.com"), "wild": authority().certificate("*.b.com")}
    made.certificates = [served(pairs["a"], "a.com"), served(pairs["wild"], "*.b.com")]
    pairs["localhost"] = local_pair()
    async with opened(config({"web": (ANY[0], 1, ANY[1])}, tls=made)) as door:

        def visit() -> None:
            with Visitor(door, asked, verify=False) as visitor:
                shown = ssl.DER_cert_to_PEM_cert(visitor.sock.getpeercert(binary_form=True) or b"")
                assert shown.strip() in pairs[expected].text

        await beside(visit)


@on_both_loops
async def test_what_everybody_gets_changes_with_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def reading(*said: Any, **how: Any) -> Any:
        read.append(said)
        return read_opening(*said, **how)

    monkeypatch.setattr(newcomer, "read_opening", reading)
    monkeypatch.setattr(newcomer, "is_usual", lambda _: True)  # Now and then chance makes one look odd.

    def shown(door: Opened, name: str) -> str:
        with Visitor(door, name, verify=False) as visitor:
            return ssl.DER_cert_to_PEM_cert(visitor.sock.getpeercert(binary_form=True) or b"").strip()

    made = config({"web": (ANY[0], 1, ANY[1])}, tls=tls())
    other = authority().certificate("a.com")
    async with opened(made) as door:
        assert await beside(lambda: shown(door, "a.com")) in local_pair().text
        assert not read  # It makes no difference what the client says.
        two = dataclasses.replace(made, tls=dataclasses.replace(tls(), certificates=[served(other, "a.com")]))
        door.world.runtime = build(two, Registry())
        assert await beside(lambda: shown(door, "a.com")) in other.text
        assert await beside(lambda: shown(door, "b.com")) in local_pair().text
        assert len(read) == 2
        alone = Store(default_certificate=served(other, "a.com"))
        door.world.runtime = build(dataclasses.replace(made, tls=Tls(stores={"default": alone})), Registry())
        assert await beside(lambda: shown(door, "b.com")) in other.text
        assert len(read) == 2


@on_both_loops
async def test_sni_strict() -> None:
    made = tls(default=TlsOptions(sni_strict=True))
    async with opened(config({"web": (ANY[0], 1, ANY[1])}, tls=made)) as door:

        def visit() -> None:
            with Visitor(door) as visitor:
                assert visitor.ask("localhost")[0] == 502
            for name in ("other.com", None):
                with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"), Visitor(door, name, verify=False):
                    pass

        await beside(visit)


@on_both_loops
async def test_options_by_name_and_421() -> None:
    auth = ClientAuth(ca_files=[authority().pair.text], client_auth_type="RequireAndVerifyClientCert")
    made = tls(mutual=TlsOptions(client_auth=auth))
    with recording(ok(b"web")) as web:
        rules: Rules = {
            "open": ("Host(`localhost`)", web.port, RouterTls()),
            "closed": ("Host(`closed.com`)", web.port, RouterTls(options="mutual")),
            "admin": ("PathPrefix(`/admin`)", web.port, RouterTls(options="mutual")),
        }
        async with opened(config(rules, tls=made)) as door:

            def visit() -> None:
                with Visitor(door) as visitor:
                    assert visitor.ask("localhost") == (200, b"web")
                    assert visitor.ask("closed.com") == (421, b"421 Misdirected Request\n")
                    assert visitor.ask("localhost", "/admin")[0] == 421
                    assert visitor.ask("other.com")[0] == 421
                with Visitor(door, "closed.com", verify=False, shown=local_pair()) as visitor:
                    assert visitor.ask("closed.com") == (200, b"web")
                    assert visitor.ask("localhost")[0] == 421
                with Visitor(door, "closed.com", verify=False) as visitor, pytest.raises(ssl.SSLError):
                    visitor.ask("closed.com")

            await beside(visit)


@on_both_loops
async def test_in_the_clear_and_over_tls_are_two_worlds() -> None:
    with recording(ok(b"plain")) as plain, recording(ok(b"secure")) as secure:
        rules: Rules = {
            "plain": ("Path(`/plain`)", plain.port),
            "secure": ("Path(`/secure`)", secure.port, RouterTls()),
        }
        async with opened(config(rules, tls=tls())) as door:

            def visit() -> None:
                with Visitor(door) as visitor:
                    assert visitor.ask("localhost", "/secure") == (200, b"secure")
                    assert visitor.ask("localhost", "/plain")[0] == 404

            await beside(visit)
            peer = await door.connect(b"GET /secure HTTP/1.0\r\nHost: a\r\n\r\n")
            assert (await peer.read_all()).startswith(b"HTTP/1.1 404 ")
            peer = await door.connect(b"GET /plain HTTP/1.0\r\nHost: a\r\n\r\n")
            assert (await peer.read_all()).endswith(b"plain")


@on_both_loops
async def test_an_entry_point_for_tls_with_proxies_before_it() -> None:
    with recording(ok(b"web")) as web:
        made = config(
            {"web": ("ClientIP(`192.0.2.7`)", web.port)},
            tls=tls(),
            http=EntryPointHttp(tls=EntryPointTls()),
            proxy_protocol=AcceptedProxyProtocol(insecure=True),
        )
        async with opened(made) as door:

            def visit() -> None:
                with Visitor(door, first=b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n") as visitor:
                    assert visitor.ask("localhost") == (200, b"web")

            await beside(visit)
        assert web.requests[0].value("x-forwarded-for") == b"192.0.2.7"


@on_both_loops
async def test_no_protocol_in_common() -> None:
    async with opened(config({"web": (ANY[0], 1, ANY[1])}, tls=tls())) as door:

        def visit() -> None:
            with pytest.raises(ssl.SSLError, match="no application protocol"), Visitor(door, protocols=("h2",)):
                pass

        await beside(visit)


@on_both_loops
async def test_a_handshake_that_is_never_finished() -> None:
    poller_of(asyncio.get_running_loop())
    async with no_descriptor_leak(), opened(config({"web": (ANY[0], 1, ANY[1])}, tls=tls(), patience=0.3)) as door:
        peer = await door.connect(client_hello("localhost"))
        assert (await peer.read(1)) == b"\x16"
        assert door.live == 1
        await asyncio.wait_for(peer.read_all(), 5)
        await until_async(lambda: not door.live)
        gone = await door.connect(client_hello("localhost"))
        assert (await gone.read(1)) == b"\x16"
        gone.reset()
        await until_async(lambda: not door.live)
        wrong = await door.connect(client_hello("localhost") + b"\x17\x03\x03\x00\x05wrong")
        await asyncio.wait_for(wrong.was_reset(), 5)
        await until_async(lambda: not door.live)


@on_both_loops
async def test_a_drain_cuts_handshakes_and_idle_connections() -> None:
    async with opened(config({"web": (ANY[0], 1, ANY[1])}, tls=tls())) as door:
        peer = await door.connect(client_hello("localhost"))
        assert (await peer.read(1)) == b"\x16"
        idle = await beside(lambda: Visitor(door))
        await until_async(lambda: door.live == 2)
        assert await asyncio.wait_for(door.serving.drain(), 5) == 0
        await beside(lambda: idle.sock.recv(1))
        idle.sock.close()


@on_both_loops
async def test_a_limit_holds_for_tls() -> None:
    with recording(ok(b"web")) as web:
        made = config({"web": (ANY[0], web.port, ANY[1])}, tls=tls(), max_connections=1)
        async with opened(made) as door:
            mute = await door.connect(client_hello("localhost")[:10])
            await until_async(lambda: door.live == 1)

            def visit() -> tuple[int, bytes]:
                with Visitor(door) as visitor:
                    return visitor.ask("localhost")

            waiting = spawn(asyncio.to_thread(visit), "a visitor")
            await asyncio.sleep(0.1)
            assert not waiting.done()
            mute.close()
            assert await waiting == (200, b"web")


@on_both_loops
async def test_no_certificate_at_all(caplog: pytest.LogCaptureFixture) -> None:
    async with opened(config({"web": (ANY[0], 1, ANY[1])})) as door:

        def visit() -> None:
            with pytest.raises(ssl.SSLError, match="INTERNAL_ERROR"), Visitor(door):
                pass

        await beside(visit)
    assert "entry point web: no TLS: there is no certificate to show" in caplog.text


@pytest.mark.parametrize(
    ("permanent", "request_line", "status"),
    [(True, "GET /x?y=1", 301), (True, "POST /x?y=1", 308), (False, "GET /x?y=1", 302), (False, "PUT /x?y=1", 307)],
)
@on_both_loops
async def test_a_redirection(permanent: bool, request_line: str, status: int) -> None:
    to = Redirections(entry_point=RedirectEntryPoint(to=":8443", permanent=permanent))
    made = config({"web": ("PathPrefix(`/`)", 1)}, http=EntryPointHttp(redirections=to))
    async with opened(made) as door:
        peer = await door.connect(f"{request_line} HTTP/1.1\r\nHost: A.com:80\r\nConnection: close\r\n\r\n".encode())
        answer = (await peer.read_all()).decode()
        assert answer.startswith(f"HTTP/1.1 {status} ")
        assert "\r\nLocation: https://a.com:8443/x?y=1\r\n" in answer
