"""What rules mean: each matcher at its edges, and all of them against a slow interpreter."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlb.routing.matchers import client_in, compile_rule, compile_tcp, query_pairs
from streamlb.routing.rule import Rule, parse, render
from tests.unit.routing.rules import CONNECTIONS, REQUESTS, RULES, TCP_RULES, Ask, matches


@pytest.mark.parametrize(
    ("rule", "request_", "expected"),
    [
        ("Host(`Example.COM`)", Ask(host=b"example.com"), True),
        ("Host(`example.com.`)", Ask(host=b"example.com"), True),
        ("Host(`example.com`)", Ask(host=b"www.example.com"), False),
        ("Host(`a`, `B`)", Ask(host=b"b"), True),
        ("Host(`a`, `B`)", Ask(host=b"c"), False),
        ("Host(`a`)", Ask(host=b""), False),
        ("Host(`[::1]`)", Ask(host=b"[::1]"), True),
        ("Host(`::1`)", Ask(host=b"[::1]"), True),
        ("Host(`*.example.com`)", Ask(host=b"www.example.com"), True),
        ("Host(`*.EXAMPLE.com.`)", Ask(host=b"www.example.com"), True),
        ("Host(`*.example.com`)", Ask(host=b"example.com"), False),
        ("Host(`*.example.com`)", Ask(host=b".example.com"), False),
        ("Host(`*.example.com`)", Ask(host=b"a.b.example.com"), False),
        ("Host(`*.example.com`)", Ask(host=b"wwwexample.com"), False),
        ("Host(`*.com`)", Ask(host=b"com"), False),
        ("Host(`a`, `*.b`)", Ask(host=b"a"), True),
        ("Host(`a`, `*.b`)", Ask(host=b"a.b"), True),
        ("Host(`*`)", Ask(host=b"anything"), True),
        ("Host(`*`)", Ask(host=b""), False),
        (r"HostRegexp(`^.+\.example\.com$`)", Ask(host=b"a.b.example.com"), True),
        (r"HostRegexp(`^.+\.example\.com$`)", Ask(host=b"a.example.com.net"), False),
        ("HostRegexp(`example`)", Ask(host=b"www.example.com"), True),
        ("HostRegexp(`[A-Z]`)", Ask(host=b"www.example.com"), False),
        (r"PathRegexp(`\.(jpe?g|png)$`)", Ask(path=b"/a/b.jpg"), True),
        (r"PathRegexp(`\.(jpe?g|png)$`)", Ask(path=b"/a/b.jpg\n"), False),
        ("PathRegexp(`^/é.$`)", Ask(path="/éß".encode()), True),
        ("PathRegexp(`^/a.$`)", Ask(path=b"/a\xff"), True),
        ("HeaderRegexp(`X-Key`, `^v`)", Ask(headers=[(b"x-key", b"w"), (b"x-key", b"v2")]), True),
        ("HeaderRegexp(`X-Key`, `^v`)", Ask(headers=[(b"x-key", b"wv")]), False),
        ("HeaderRegexp(`X-Key`, ``)", Ask(headers=[(b"x-key", b"")]), True),
        ("HeaderRegexp(`X-Key`, ``)", Ask(), False),
        ("QueryRegexp(`k`, `^[0-9]+$`)", Ask(query=b"k=x&k=%31"), True),
        ("QueryRegexp(`k`, `^[0-9]+$`)", Ask(query=b"k=x"), False),
        ("QueryRegexp(`k`, ``)", Ask(query=b"j"), False),
        ("QueryRegexp(`k`)", Ask(query=b"k=1"), False),
        ("QueryRegexp(`k`)", Ask(query=b"k"), True),
        ("Path(`/a`)", Ask(path=b"/a"), True),
        ("Path(`/a`)", Ask(path=b"/a/"), False),
        ("Path(`/a`)", Ask(path=b"/A"), False),
        ("Path(`/foo bar`)", Ask(path=b"/foo bar"), True),
        ("Path(`/é`)", Ask(path=b"/\xc3\xa9"), True),
        ('Path("/\\xff")', Ask(path=b"/\xff"), True),
        ("PathPrefix(`/a`)", Ask(path=b"/abc"), True),
        ("PathPrefix(`/a/`)", Ask(path=b"/a"), False),
        ("PathPrefix(`/`)", Ask(path=b"*"), False),
        ("Method(`get`)", Ask(method=b"GET"), True),
        ("Method(`GET`)", Ask(method=b"get"), False),
        ("Header(`X-Key`, `v`)", Ask(headers=[(b"x-key", b"w"), (b"x-key", b"v")]), True),
        ("Header(`X-Key`, `v`)", Ask(headers=[(b"x-key", b"V")]), False),
        ("Header(`X-Key`, ``)", Ask(headers=[(b"x-key", b"")]), True),
        ("Header(`X-Key`, ``)", Ask(), False),
        ("Query(`k`)", Ask(query=b"k"), True),
        ("Query(`k`)", Ask(query=b"k="), True),
        ("Query(`k`)", Ask(query=b"k=1"), False),
        ("Query(`k`)", Ask(query=b"k=1&k"), True),
        ("Query(`k`, `1`)", Ask(query=b"a=b&k=1"), True),
        ("Query(`k`, `a b`)", Ask(query=b"k=a+b"), True),
        ("Query(`k`, `a b`)", Ask(query=b"%6b=a%20b"), True),
        ("Query(`k`, `a=b`)", Ask(query=b"k=a=b"), True),
        ("Query(`k`, `1`)", Ask(query=b"a;k=1"), True),
        ("Query(`k`, `V`)", Ask(query=b"k=v"), False),
        ("Query(`k`, `%`)", Ask(query=b"k=%&k=%zz"), False),
        ("ClientIP(`127.0.0.1`)", Ask(), True),
        ("ClientIP(`127.0.0.0/8`)", Ask(), True),
        ("ClientIP(`10.0.0.0/8`)", Ask(), False),
        ("!Path(`/a`)", Ask(path=b"/b"), True),
        ("Path(`/a`) || Path(`/b`) || Path(`/c`)", Ask(path=b"/c"), True),
        ("Path(`/a`) || Path(`/b`) || Path(`/c`)", Ask(path=b"/d"), False),
        ("Path(`/`) && Path(`/`) && Path(`/`) && !Path(`/`)", Ask(path=b"/"), False),
        ("Path(`/`) && Path(`/`) && Path(`/`) && Path(`/`)", Ask(path=b"/"), True),
    ],
)
def test_meaning(rule: str, request_: Ask, expected: bool) -> None:
    assert compile_rule(parse(rule))(request_) is expected


@pytest.mark.parametrize(
    ("network", "client", "expected"),
    [
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.1.2.3/8", "10.9.9.9", True),
        ("0.0.0.0/0", "1.2.3.4", True),
        ("0.0.0.0/0", "::1", False),
        ("::/0", "1.2.3.4", False),
        ("::/0", "2001:db8::1", True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "::ffff:11.1.2.3", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("::1", "::1", True),
    ],
)
def test_client_addresses(network: str, client: str, expected: bool) -> None:
    assert client_in(network)(ip_address(client)) is expected


@given(query=st.binary(max_size=60))
def test_any_query_can_be_read(query: bytes) -> None:
    assert all(isinstance(key, bytes) and isinstance(value, bytes) for key, value in query_pairs(query))


@given(rule=RULES, requests=st.lists(REQUESTS, min_size=1, max_size=5))
@settings(max_examples=300)
def test_equals_the_slow_interpreter(rule: Rule, requests: list[Ask]) -> None:
    test, read_again = compile_rule(rule), compile_rule(parse(render(rule)))
    for request in requests:
        assert test(request) == read_again(request) == matches(rule, request)


@given(rule=TCP_RULES, connection=CONNECTIONS)
def test_tcp_equals_the_slow_interpreter(rule: Rule, connection: Ask) -> None:
    assert compile_tcp(rule)(connection) == matches(rule, connection)
