"""CLF lines: the columns of Traefik's example, and that nobody forges one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.config.observation import AccessLogFields, KeepDropRedact
from streamlb.observe.access_clf import GenericLines, TraefikLines
from tests.support.records import INSTANT, connection, flow, head, request, route, server

PAIRS = ((b"user-agent", b"curl/8"), (b"referer", b"http://example.com/"))
QUOTED = r'"[^"\n]*"'
COMBINED = rf'\S+ - - \[[^\]]+\] "\S+ \S+ \S+" \S+ \d+ {QUOTED} {QUOTED}'
COMMON = rf"{COMBINED} \d+ {QUOTED} {QUOTED} \d+ms"


def test_traefiks_columns() -> None:
    made = TraefikLines(AccessLogFields()).http(request(head=head(pairs=PAIRS)), INSTANT, 7)
    assert made == (
        b'192.0.2.7 - - [21/Sep/2026:14:13:20 +0000] "GET /a?b=c HTTP/1.1" 200 1000 "http://example.com/" "curl/8" '
        b'7 "shop" "http://10.0.0.1:8080" 12ms\n'
    )


def test_the_generic_format_ends_with_the_user_agent() -> None:
    made = GenericLines(AccessLogFields()).http(request(head=head(pairs=PAIRS)), INSTANT, 7)
    assert made.endswith(b'200 1000 "http://example.com/" "curl/8"\n')


def test_what_is_not_there_is_a_dash() -> None:
    made = TraefikLines(AccessLogFields()).http(
        request(head=None, route=None, server=None, status=400, sent_bytes=0), INSTANT, 1
    )
    assert made.endswith(b'] "- - -" 400 0 "-" "-" 1 "-" "-" 12ms\n')


@pytest.mark.parametrize(("mode", "shown"), [("keep", "curl/8"), ("drop", "-"), ("redact", "REDACTED")])
def test_the_user_agent_may_be_hidden(mode: str, shown: str) -> None:
    fields = AccessLogFields(headers=KeepDropRedact(names={"User-Agent": mode}))  # type: ignore[dict-item]
    made = GenericLines(fields).http(request(head=head(pairs=PAIRS)), INSTANT, 7)
    assert made.endswith(f'"http://example.com/" "{shown}"\n'.encode())


def test_parameters_are_redacted_here_too() -> None:
    fields = AccessLogFields(query_parameters=KeepDropRedact(default_mode="redact"))
    assert b'"GET /a?b=REDACTED HTTP/1.1"' in GenericLines(fields).http(request(), INSTANT, 7)


def test_connections_and_flows_have_the_same_columns() -> None:
    lines = TraefikLines(AccessLogFields())
    tcp = lines.tcp(connection(server_name=b"db.example.com"), INSTANT, 3)
    assert tcp == (
        b'192.0.2.7 - - [21/Sep/2026:14:13:17 +0000] "TCP db.example.com pg" closed 20 "-" "-" '
        b'3 "db" "10.0.0.1:8080" 2500ms 10 "carts" "-"\n'
    )
    udp = lines.udp(flow(server=None, end="evicted", reason="x"), INSTANT, 3).decode()
    assert udp.endswith('"UDP - dns" idle 400 "-" "-" 3 "dns" "-" 250ms 40 "-" "x"\n'.replace("idle", "evicted"))
    for made in (tcp.decode(), udp):
        assert re.match(COMMON, made)
    generic = GenericLines(AccessLogFields()).udp(flow(), INSTANT, 3).decode()
    assert re.fullmatch(COMBINED + "\n", generic)


def test_quotes_in_names_end_no_column() -> None:
    made = TraefikLines(AccessLogFields()).http(request(route=route('a"b'), server=server('http://x/"')), INSTANT, 1)
    assert re.fullmatch(COMMON + "\n", made.decode())


@given(st.binary(min_size=1), st.binary(min_size=1), st.binary(), st.binary())
def test_nobody_forges_a_line(method: bytes, target: bytes, agent: bytes, referer: bytes) -> None:
    asked = head(
        method.replace(b" ", b""), target.replace(b" ", b"x"), pairs=((b"user-agent", agent), (b"referer", referer))
    )
    made = TraefikLines(AccessLogFields()).http(request(head=asked), INSTANT, 1).decode("ascii")
    assert made.removesuffix("\n").isprintable()
    assert re.fullmatch(COMMON.replace(r'"\S+ \S+ \S+"', r'"\S* \S+ \S+"') + "\n", made)


@given(st.binary(max_size=300))
def test_no_server_name_forges_a_line(name: bytes) -> None:
    made = TraefikLines(AccessLogFields()).tcp(connection(server_name=name), INSTANT, 1).decode("ascii")
    assert made.removesuffix("\n").isprintable()
    assert made.endswith('closed 20 "-" "-" 1 "db" "10.0.0.1:8080" 2500ms 10 "carts" "-"\n')
