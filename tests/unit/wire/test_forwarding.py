"""The fields that tell servers about the client."""

from __future__ import annotations

import pytest

from streamlb.wire.forwarding import MANAGED, port_of, render_forwarded

Kept = list[tuple[bytes, bytes]]


def told(
    *,
    peer: bytes = b"10.0.0.1",
    host: bytes = b"a.test",
    upgrade: bytes = b"",
    kept: Kept | None = None,
    append: bool = True,
    schemes: bool = False,
) -> dict[bytes, bytes]:
    block = render_forwarded(peer, b"box", host, upgrade, kept or [], append=append, schemes=schemes)
    assert block.endswith(b"\r\n")
    lines = block[:-2].split(b"\r\n")
    fields = dict(line.split(b": ", 1) for line in lines)
    assert len(fields) == len(lines)
    return fields


def test_a_strangers_request() -> None:
    assert told() == {
        b"X-Forwarded-For": b"10.0.0.1",
        b"X-Forwarded-Host": b"a.test",
        b"X-Forwarded-Port": b"80",
        b"X-Forwarded-Proto": b"http",
        b"X-Forwarded-Server": b"box",
        b"X-Real-Ip": b"10.0.0.1",
    }


def test_a_trusted_proxys_request() -> None:
    fields = told(
        kept=[
            (b"x-forwarded-for", b"1.1.1.1"),
            (b"x-forwarded-for", b"2.2.2.2, 3.3.3.3"),
            (b"x-forwarded-for", b""),
            (b"x-forwarded-proto", b"https"),
            (b"x-forwarded-host", b"outside.test"),
            (b"x-real-ip", b"1.1.1.1"),
            (b"x-forwarded-server", b"other"),
            (b"x-forwarded-prefix", b"/p"),
        ]
    )
    assert fields == {
        b"X-Forwarded-For": b"1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.1",
        b"X-Forwarded-Host": b"outside.test",
        b"X-Forwarded-Port": b"443",
        b"X-Forwarded-Proto": b"https",
        b"X-Forwarded-Server": b"box",
        b"X-Real-Ip": b"1.1.1.1",
        b"X-Forwarded-Prefix": b"/p",
    }


def test_every_managed_field_is_told_once() -> None:
    fields = told(kept=[(name, b"v") for name in sorted(MANAGED)])
    assert {name.lower() for name in fields} == MANAGED


def test_websockets_have_their_own_scheme() -> None:
    assert told(upgrade=b"WebSocket")[b"X-Forwarded-Proto"] == b"ws"
    assert told(upgrade=b"other, websocket")[b"X-Forwarded-Proto"] == b"ws"
    assert told(upgrade=b"other")[b"X-Forwarded-Proto"] == b"http"


def test_the_chain_may_be_left_as_it_came() -> None:
    assert b"X-Forwarded-For" not in told(append=False)
    assert told(append=False)[b"X-Real-Ip"] == b"10.0.0.1"
    assert told(append=False, kept=[(b"x-forwarded-for", b"1.1.1.1")])[b"X-Forwarded-For"] == b"1.1.1.1"


def test_the_scheme_in_other_words() -> None:
    fields = told(schemes=True, kept=[(b"x-forwarded-proto", b"https"), (b"x-scheme", b"ftp")])
    assert fields[b"X-Forwarded-Scheme"] == fields[b"X-Scheme"] == b"https"
    assert not {b"X-Forwarded-Scheme", b"X-Scheme"} & told().keys()


@pytest.mark.parametrize(
    ("host", "upgrade", "kept", "port"),
    [
        (b"a:81", b"", [(b"x-forwarded-proto", b"https")], b"81"),
        (b"a", b"", [(b"x-forwarded-proto", b"wss")], b"443"),
        (b"a", b"", [(b"x-forwarded-port", b"8443")], b"8443"),
        (b"a", b"websocket", [], b"80"),
    ],
)
def test_the_forwarded_port(host: bytes, upgrade: bytes, kept: Kept, port: bytes) -> None:
    assert told(host=host, upgrade=upgrade, kept=kept)[b"X-Forwarded-Port"] == port


def test_ipv6_and_no_host() -> None:
    fields = told(peer=b"2001:db8::1", host=b"")
    assert fields[b"X-Forwarded-For"] == fields[b"X-Real-Ip"] == b"2001:db8::1"
    assert b"X-Forwarded-Host" not in fields


@pytest.mark.parametrize(
    ("host", "port"),
    [
        (b"a", b""),
        (b"a:81", b"81"),
        (b"a:", b""),
        (b"[::1]", b""),
        (b"[::1]:81", b"81"),
        (b"[fe80::22]", b""),
        (b"", b""),
    ],
)
def test_the_port_of_a_host(host: bytes, port: bytes) -> None:
    assert port_of(host) == port
    assert told(host=host)[b"X-Forwarded-Port"] == (port or b"80")
