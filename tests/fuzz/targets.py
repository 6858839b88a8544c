"""The fuzz targets: each takes bytes and raises when a promise about them does not hold.

What lives here: targets with their seeds and the words a fuzzer may build from. What must not: atheris (`run.py`).
Most promises are those of the property tests, whose bodies are called with the fuzzer's bytes.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple

import h11

from streamlb.balance.sticky import Attributes, Sticky, old_tokens, token
from streamlb.config.check import Judges, load_text
from streamlb.config.tree import Source
from streamlb.errors import ConfigError, DownstreamError, UpstreamError
from streamlb.process.configuration import check_rule, find_hidden
from streamlb.routing import v2
from streamlb.routing.matchers import compile_rule, compile_tcp
from streamlb.routing.router import HttpTable, Router
from streamlb.routing.rule import RuleError, parse, render
from streamlb.routing.shadow import find_hidden as find_hidden_routers
from streamlb.routing.terms import cases_of
from streamlb.wire.body import Body, BodyError
from streamlb.wire.clienthello import ClientHello, read_client_hello
from streamlb.wire.http1 import read_request, read_response
from streamlb.wire.message import CHUNKED, NO_BODY, UNTIL_CLOSE
from streamlb.wire.proxy_protocol import SIGNATURE, Header, read_header
from streamlb.wire.proxy_protocol import render as render_header
from tests.support.hello import alpn, message, names, records, spoken
from tests.unit.config.test_kubernetes import Translated
from tests.unit.routing.rules import Ask
from tests.unit.wire import test_body, test_clienthello, test_http1_h11, test_proxy_protocol, test_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlb.errors import Problem
    from streamlb.routing.rule import Rule


class Target(NamedTuple):
    """What is fuzzed. seeds: where the search begins. words: what inputs are made of."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()


def inner(test: Any) -> Callable[[bytes], None]:
    """The body of a property test."""
    body: Callable[[bytes], None] = test.hypothesis.inner_test
    return body


# --- rules -------------------------------------------------------------------------------------------------------

ASKS = (
    Ask(host=b""),
    Ask(host=b"a.com", path=b"/a", query=b"k=1&k", headers=[(b"x", b"1"), (b"x", b"")]),
    Ask(host=b"x.a.com", path=b"*", method=b"PUT", client=ip_address("::ffff:10.0.0.1")),
    Ask(host=b"a", path=b"/a/b.png\xff", query=b"%zz&k=%6b;a", client=ip_address("10.0.0.1")),
)
CONNECTION = Ask(host=b"a.com", client=ip_address("10.0.0.1"), protocols=(b"h2",))


def run_rules(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for protocol in ("http", "tcp"):
        for syntax, read in (("v3", parse), ("v2", v2.parse)):
            rule = rule_of(read, text, protocol)
            if isinstance(rule, RuleError):
                assert 0 <= rule.column <= len(text), rule.column
                assert rule.message
                assert rule.width >= 1
                continue
            assert parse(render(rule), protocol) == rule
            if protocol == "tcp":
                compile_tcp(rule)(CONNECTION)
                continue
            test = compile_rule(rule)
            cases = [[compile_rule(parse(str(term))) for term in case] for case in cases_of(rule) or ()]
            router = Router("r", text, None, syntax=syntax)
            table = HttpTable([router])
            hidden = find_hidden_routers([router], protocol)
            for ask in ASKS:
                matches = test(ask)
                assert (table.route(ask) is not None) == matches
                assert not (matches and hidden)
                assert not cases or any(all(each(ask) for each in case) for case in cases) == matches


def rule_of(read: Callable[[str, str], Rule], text: str, protocol: str) -> Rule | RuleError:
    try:
        return read(text, protocol)
    except RuleError as error:
        return error


# --- HTTP --------------------------------------------------------------------------------------------------------


def whole_head(data: bytes) -> bytes:
    """What a connection would take for one head."""
    whole = data + b"\r\n\r\n"
    return whole[: whole.find(b"\r\n\r\n") + 4]


def run_requests(data: bytes) -> None:
    head = whole_head(data)
    inner(test_http1_h11.test_what_is_sent_on_reads_the_same_again)(head)
    try:
        mine = read_request(head)
    except DownstreamError:
        return
    method, target, fields, framing = test_http1_h11.by_h11(head)
    assert (mine.method, mine.fields.framing) == (method, framing)
    if target[:1] in (b"/", b"*"):
        assert mine.target == target
        assert mine.fields.host == b"".join(value for name, value in fields if name == b"host")
        # What has `_` for `-` may be left out, nothing else.
        read = [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in mine.fields.pairs]
        assert [pair for pair in read if b"_" not in pair[0]] == [pair for pair in fields if b"_" not in pair[0]]
        assert set(read) <= set(fields)
    else:
        authority, path = after_scheme(target)
        assert authority, "a URL without a host"
        assert mine.fields.host == authority
        assert mine.target in (path, b"/" + path) or (mine.target, path) == (b"*", b"")


def after_scheme(url: bytes) -> tuple[bytes, bytes]:
    """The authority of a URL, and what is behind it."""
    rest = url.partition(b"://")[2]
    cut = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    return rest[:cut], rest[cut:]


def run_paths(data: bytes) -> None:
    inner(test_target.test_no_spelling_of_a_path_gets_around_a_rule)(b"/" + data)
    inner(test_target.test_spelling_does_not_change_the_meaning)(b"/" + data.replace(b"%", b"%25"))


def run_responses(data: bytes) -> None:
    head = whole_head(data)
    try:
        mine = read_response(head, b"GET")
    except UpstreamError:
        return
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.receive_data(head)
    event = connection.next_event()
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    assert mine.status == event.status_code
    if isinstance(event, h11.Response):
        fields = [(bytes(name), bytes(value)) for name, value in event.headers]
        bodiless = mine.status in (204, 304)
        assert mine.framing == (NO_BODY if bodiless else test_http1_h11.framing_of(fields, UNTIL_CLOSE))


def run_chunks(data: bytes) -> None:
    inner(test_body.test_what_is_taken_as_complete_h11_reads_identically)(data)
    whole = walked([data])
    if whole is not None:
        middle = len(data) // 2
        for pieces in ([data[:middle], data[middle:]], [data[n : n + 1] for n in range(len(data))]):
            assert walked(pieces) == whole, "a split changes the reading"


def walked(pieces: list[bytes]) -> tuple[int, bytes, bool] | None:
    """How many bytes a chunked body takes, its data, and whether it is complete; None when it is refused."""
    body = Body(CHUNKED)
    payload: list[bytes] = []
    taken = 0
    try:
        for piece in pieces:
            taken += body.feed(piece, payload)
            if body.done:
                break
    except BodyError:
        return None
    return taken, b"".join(payload), body.done


STICKY: Sticky[str] = Sticky("lvl1", [("a-80", "a"), ("b-80", "b")], Attributes())
VALUES = {
    value.encode(): child
    for child in ("a", "b")
    for value in (token(f"{child}-80"), *old_tokens(f"{child}-80"))
}  # fmt: skip


def run_cookies(data: bytes) -> None:
    """The first cookie of the name decides (RFC 6265 section 5.4 puts the most specific first)."""
    found = STICKY.find(data)
    expected = None
    for pair in data.split(b";"):
        name, equals, value = pair.lstrip(b" \t").partition(b"=")
        if name == b"lvl1" and equals:
            value = value.rstrip(b" \t")
            quoted = value[:1] == b'"' and value[-1:] == b'"'
            expected = VALUES.get(value[1:-1] if quoted else value)
            break
    assert (found[0] if found else None) == expected


# --- first bytes -------------------------------------------------------------------------------------------------


def run_hellos(data: bytes) -> None:
    inner(test_clienthello.test_any_bytes)(data, b"")
    hello = read_client_hello(data)
    if isinstance(hello, ClientHello):
        assert len(hello.server_name) < 256
        assert hello.server_name.strip(b"abcdefghijklmnopqrstuvwxyz0123456789-_.") == b""
        assert all(hello.protocols)


def run_proxy_headers(data: bytes) -> None:
    inner(test_proxy_protocol.test_any_bytes)(data, b"")
    header = read_header(data)
    if isinstance(header, Header) and header.source is not None and header.destination is not None:
        assert header.length <= len(data)
        for version in (1, 2):
            again = read_header(render_header(version, header.source, header.destination))
            assert isinstance(again, Header)
            assert again[1:] == header[1:]


# --- configurations ----------------------------------------------------------------------------------------------


def run_config(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    if "paths" in text.lower():
        return  # Files of this machine are not for fuzzing.
    lines = len(Source("", text).lines)
    problems = problems_of(text)
    assert problems != []
    assert all(1 <= problem.position.line <= lines + 1 for problem in problems or ())


def problems_of(text: str) -> list[Problem] | None:
    """None when the configuration is valid."""
    try:
        load_text(text, judges=Judges(check_rule=check_rule, find_hidden=find_hidden))
    except ConfigError as error:
        return error.problems
    return None


def run_manifests(data: bytes) -> None:
    Translated(data.decode("utf-8", "replace"))


# --- all of them -------------------------------------------------------------------------------------------------

RULE_WORDS = (
    b"Host", b"HostRegexp", b"Path", b"PathPrefix", b"PathRegexp", b"Method", b"Header", b"HeaderRegexp", b"Query",
    b"QueryRegexp", b"ClientIP", b"HostSNI", b"Headers", b"(`", b"`)", b"`, `", b" && ", b" || ", b"!", b"*.", b"{a:",
    b"}", b"\\x", b"10.0.0.0/8", b"::1", b"(?i)", b"[a-z]+", b"^", b"$",
)  # fmt: skip
HEAD_WORDS = (
    b"GET / HTTP/1.1\r\n", b"HTTP/1.0", b"HTTP/1.1 200 OK\r\n", b"Host: a\r\n", b"Content-Length: ", b"5",
    b"Transfer-Encoding: chunked\r\n", b"Connection: ", b"close", b"keep-alive", b"Upgrade: ", b"\r\n", b"\n", b"\r\n ",
    b"http://a/", b"*", b"CONNECT ", b"OPTIONS ", b"Expect: 100-continue\r\n", b"X_Forwarded-For: ", b"\0", b"\t",
)  # fmt: skip
YAML_WORDS = (
    b"entryPoints:", b"address: ", b'":80"', b"/udp", b"http:", b"tcp:", b"udp:", b"routers:", b"services:", b"rule: ",
    b"Host(`a`)", b"service: ", b"loadBalancer:", b"servers:", b"- url: ", b"http://127.0.0.1:1", b"weighted:",
    b"mirroring:", b"sticky:", b"cookie:", b"name: ", b"weight: ", b"percent: ", b"priority: ", b"\n  ", b"\n    ",
    b"&a ", b"*a", b"<<: ", b"!!str ", b"---\n", b"{", b"}", b"[", b"]", b": ", b"'", b"\t", b"`", b"|",
    b"ruleSyntax: v2",
)  # fmt: skip

CONFIG = b"""entryPoints: {web: {address: ":80"}, dns: {address: ":53/udp"}}
http:
  routers:
    a: {rule: "Host(`a`) && PathRegexp(`^/x`)", service: both, priority: 3}
    b: {rule: "Path(`/{id}`)", service: app, ruleSyntax: v2, entryPoints: [web]}
  services:
    both: {weighted: {services: [{name: app, weight: 2}], sticky: {cookie: {name: c}}}}
    app:
      loadBalancer:
        servers:
          - url: http://127.0.0.1:1
udp: {routers: {r: {service: s}}, services: {s: {loadBalancer: {servers: [{address: "a:1", weight: 0}]}}}}
"""
BARE = b"""entryPoints:
  web: {address: 80}
http:
  routers:
    a:
      rule: !Host(`a`) && Path(`/x`)  # why
      service: `app`
"""
ROUTE = b"""apiVersion: traefik.io/v1alpha1
kind: IngressRoute
metadata: {name: app}
spec:
  entryPoints: [web]
  routes:
    - {match: Host(`a`), kind: Rule, services: [{name: one, port: 80}, {name: wrr, kind: TraefikService}]}
---
apiVersion: traefik.containo.us/v1alpha1
kind: TraefikService
metadata: {name: wrr}
spec: {weighted: {services: [{name: two, port: 80, weight: 3}], sticky: {cookie: {name: c}}}}
"""

TARGETS = {
    "rules": Target(
        run_rules,
        (
            b"Host(`a.com`, `*.a.com`) && (PathPrefix(`/a`) || !Path(`/a/b.png`))",
            b"HostRegexp(`^.+\\.com$`) && QueryRegexp(`k`, `^[0-9]+$`) && ClientIP(`10.0.0.0/8`)",
            b'Header(`X`, "a\\x62\\n") || HeaderRegexp(`X`, ``) && Query(`k`)',
            b"Path(`/{id:[0-9]{2}}`, `/x`) && Headers(`X`, `1`, `Y`, ``) && Query(`k=1`, `j={n}`)",
            b"HostSNI(`*`) && !ClientIP(`::1`)",
        ),
        RULE_WORDS,
    ),
    "requests": Target(
        run_requests,
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, x\r\nX: 1\r\n\r\n",
            b"POST http://b:80/a?b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n",
            b"OPTIONS * HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
            b"GET /%zz HTTP/1.1\r\nhost:a\r\nUpgrade: websocket\r\nConnection: upgrade\r\nX_Y:\r\n\r\n",
        ),
        HEAD_WORDS,
    ),
    "paths": Target(
        run_paths,
        (b"a/../b//c?d;e", b"%2e%2E/%7euser%2fx", b'..\\{a}|"<>', b"%252e%", b"./.?./.."),
        (b"/", b"..", b".", b"%2e", b"%2F", b"%5c", b"%25", b"%00", b"%", b"?", b";", b"\\", b"%zz"),
    ),
    "responses": Target(
        run_responses,
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            b"HTTP/1.1 304 \r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
            b"HTTP/1.0 404\r\nServer: a\r\nSet-Cookie: b\r\n\r\n",
        ),
        HEAD_WORDS,
    ),
    "chunks": Target(
        run_chunks,
        (
            b"5\r\nhello\r\n0\r\n\r\nGET /",
            b"a;x=y\r\n0123456789\r\n0\r\nX: 1\r\nY:\r\n\r\n",
            b"1\r\na\r\n1\r\nb\r\n",
            b"ffffffffffffffff\r\n",
        ),
        (b"\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b";", b"0x", b" ", b"\n", b"X: 1\r\n", b"Host: a\r\n"),
    ),
    "cookies": Target(
        run_cookies,
        (
            b"lvl1=" + token("a-80").encode(),
            b'a=lvl1=b-80; lvl1="b-80"; lvl1=a-80',
            b"xlvl1=a-80;\tlvl1=" + old_tokens("b-80")[1].encode() + b" ; c",
        ),
        (b"lvl1=", b"a-80", b"; ", b";", b'"', b"=", b" ", b"\t", token("b-80").encode()),
    ),
    "hellos": Target(
        run_hellos,
        (
            spoken("app.example.com", ("h2", "http/1.1")),
            records(message(names(b"a.b."), alpn(b"h2")), 20),
            records(message(session=bytes(32))),
            b"\x80\x2e\1\0\2",
        ),
        (b"\x16\3\1", b"\1\0", b"\0\0", b"\0\x10", b"\3\3", names(b"a"), alpn(b"h2"), b"\xff\xff"),
    ),
    "proxy-headers": Target(
        run_proxy_headers,
        (
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\nGET /",
            b"PROXY TCP6 ::1 2001:db8::ffff 0 65535\r\n",
            b"PROXY UNKNOWN whatever\r\n",
            SIGNATURE + b"\x21\x11\0\x15\n\0\0\1\n\0\0\2\0\1\0\2\4\0\1x\3\0\4abcd",
            SIGNATURE + b"\x21\x21\0\x24" + bytes(36),
            SIGNATURE + b"\x20\0\0\0",
        ),
        (
            b"PROXY ",
            b"TCP4 ",
            b"TCP6 ",
            b"UNKNOWN",
            b" ",
            b"\r\n",
            b"::1",
            b"10.0.0.1",
            b"65535",
            SIGNATURE,
            b"\x21\x11",
        ),
    ),
    "config": Target(run_config, (CONFIG, BARE), YAML_WORDS),
    "manifests": Target(
        run_manifests, (ROUTE,), (*YAML_WORDS, b"match: ", b"kind: ", b"port: 80", b"namespace: ", b"metadata: ")
    ),
}
