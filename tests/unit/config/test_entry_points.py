"""Rules for entry points."""

from __future__ import annotations

import pytest

from streamlb.config.static import RespondingTimeouts, UdpOptions
from tests.unit.config.asking import config_of, lines_of, notes_of


def entry_points(*addresses: str) -> str:
    return "entryPoints:\n" + "".join(f"  e{index}:\n    address: {text}\n" for index, text in enumerate(addresses))


def test_addresses_side_by_side() -> None:
    assert lines_of(entry_points('":53"', '":53/udp"', '"127.0.0.1:80"', '"127.0.0.2:80"', '"[::1]:80"')) == []


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ('":80"', '":80"', "`:80` is already used by entry point `e0` in line 2"),
        ('":80"', '"127.0.0.1:80"', "`127.0.0.1:80` is part of `:80`, used by entry point `e0` in line 2"),
        ('"127.0.0.1:80"', '":80"', "`:80` takes `127.0.0.1:80` too, used by entry point `e0` in line 2"),
        ('":53/udp"', '":53/udp"', "`:53/udp` is already used by entry point `e0` in line 2"),
    ],
)
def test_an_address_used_twice(first: str, second: str, reason: str) -> None:
    assert lines_of(entry_points(first, second)) == [f"5:14 entryPoints.e1.address | {reason} | "]


@pytest.mark.parametrize("address", ["8080", "22:22", "'a b:1'", "':x'"])
def test_what_is_no_address(address: str) -> None:
    [line] = lines_of(entry_points(address))
    assert line.startswith("3:14 entryPoints.e0.address | ")


def test_no_entry_point_at_all() -> None:
    expected = (
        ' entryPoints | there is no entry point, so nothing would be listened on | for example `web: {address: ":80"}`'
    )
    assert lines_of("log: {}\n") == ["1:1" + expected]
    assert lines_of("entryPoints: {}\n") == ["1:1" + expected]
    assert lines_of("entryPoint: {}\n") == ["1:1 entryPoint | unknown key `entryPoint` | did you mean `entryPoints`?"]


def test_an_entry_point_without_address() -> None:
    assert lines_of("entryPoints:\n  web: {udp: {}}\n") == ["2:3 entryPoints.web.address | `address` is missing | "]


def test_options() -> None:
    text = (
        "entryPoints:\n"
        "  a@b: {address: ':1', forwardedHeaders: {trustedIPs: [10.0.0.0/8, example.com]}}\n"
        "  c: {address: ':2/udp', udp: {timeout: 0, maxFlows: 0}}\n"
        "  d: {address: ':2', asDefault: true, udp: {timeout: 0}}\n"
    )
    assert lines_of(text) == [
        "2:3 entryPoints.a@b | a name cannot hold `@` | ",
        "3:41 entryPoints.c.udp.timeout | a flow's timeout must be longer than 0 | ",
        "3:54 entryPoints.c.udp.maxFlows | expected a whole number from 1 to 1000000, got the number 0 | ",
        "4:22 entryPoints.d.asDefault | Traefik's `asDefault` is not supported by streamlb yet | ",
    ]


def test_what_is_done_to_requests() -> None:
    text = (
        "entryPoints:\n"
        "  web:\n"
        "    address: ':80'\n"
        "    http:\n"
        "      sanitizepath: false\n"
        "      encodedCharacters: {allowEncodedSlash: false, allowEncodedBackSlash: false}\n"
        "      encodeQuerySemicolons: true\n"
        "      underscoreHeadersStrategy: REJECT\n"
        "    forwardedHeaders: {connection: [Foo], notAppendXForwardedFor: true, addXForwardedSchemeHeaders: true}\n"
    )
    web = config_of(text).entry_points["web"]
    assert not web.http.sanitize_path
    assert not web.http.encoded_characters.allow_encoded_slash
    assert web.http.encoded_characters.allow_encoded_hash
    assert web.http.encode_query_semicolons
    assert web.http.underscore_headers_strategy == "reject"
    assert web.forwarded_headers.connection == ["Foo"]
    assert web.forwarded_headers.not_append_x_forwarded_for
    assert web.forwarded_headers.add_x_forwarded_scheme_headers


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            "http: {underscoreHeadersStrategy: drop}",
            "2:56 entryPoints.a.http.underscoreHeadersStrategy | "
            'expected one of `keep`, `delete`, `reject`, got the text "drop" | ',
        ),
        (
            "http: {sanitisePath: false}",
            "2:29 entryPoints.a.http.sanitisePath | unknown key `sanitisePath` | did you mean `sanitizePath`?",
        ),
        (
            "http: {encodedCharacters: {allowEncodedSlashes: false}}",
            "2:49 entryPoints.a.http.encodedCharacters.allowEncodedSlashes | "
            "unknown key `allowEncodedSlashes` | did you mean `allowEncodedSlash`?",
        ),
        (
            "http: {middlewares: [x]}",
            "2:29 entryPoints.a.http.middlewares | Traefik's `middlewares` is not supported by streamlb yet | ",
        ),
        (
            "forwardedHeaders: {connection: ['a b']}",
            "2:54 entryPoints.a.forwardedHeaders.connection[0] | `a b` is not the name of a header field | ",
        ),
        (
            "forwardedHeaders: {connection: [Foo, Upgrade]}",
            "2:59 entryPoints.a.forwardedHeaders.connection[1] | "
            "`Upgrade` is about one connection only and never goes on | ",
        ),
    ],
)
def test_what_cannot_be_done_to_requests(options: str, line: str) -> None:
    assert lines_of(f"entryPoints:\n  a: {{address: ':1', {options}}}\n") == [line]


def test_requests_are_for_http() -> None:
    assert lines_of("entryPoints:\n  a: {address: ':1/udp', http: {sanitizePath: false}}\n") == [
        "2:26 entryPoints.a.http | a UDP entry point takes no HTTP requests | remove it"
    ]


def test_trusted_networks() -> None:
    [line] = lines_of("entryPoints:\n  a: {address: ':1', forwardedHeaders: {trustedIPs: [10.0.0.0/8, example.com]}}\n")
    assert line.startswith("2:66 entryPoints.a.forwardedHeaders.trustedIPs[1] | `example.com` is neither")


def test_time_and_limits() -> None:
    config = config_of(
        "entryPoints:\n  a: {address: ':1', http: {maxHeaderBytes: 65536}, transport: {maxConnections: 9, "
        "respondingTimeouts: {readTimeout: 5, idleTimeout: 0}, keepAliveMaxRequests: 3, keepAliveMaxTime: 1h}}\n"
    )
    transport = config.entry_points["a"].transport
    assert transport.responding_timeouts == RespondingTimeouts(read_timeout=5.0, idle_timeout=0.0)
    assert (transport.max_connections, transport.keep_alive_max_requests, transport.keep_alive_max_time) == (9, 3, 3600)
    assert config.entry_points["a"].http.max_header_bytes == 65_536
    assert lines_of("entryPoints: {a: {address: ':1', http: {maxHeaderBytes: 9, middlewares: {}}}}\n") == [
        "1:57 entryPoints.a.http.maxHeaderBytes | expected a whole number from 1024 to 1048576, got the number 9 | ",
        "1:60 entryPoints.a.http.middlewares | Traefik's `middlewares` is not supported by streamlb yet | ",
    ]


def test_what_a_udp_entry_point_has_no_use_for() -> None:
    text = (
        "entryPoints:\n  a:\n    address: ':1/udp'\n    http: {}\n"
        "    transport: {maxConnections: 5, keepAliveMaxRequests: 1, lifeCycle: {graceTimeOut: 1}}\n"
    )
    assert lines_of(text) == [
        "4:5 entryPoints.a.http | a UDP entry point takes no HTTP requests | remove it",
        "5:17 entryPoints.a.transport.maxConnections | datagrams have no connections; `udp.maxFlows` limits the flows"
        " | remove it",
        "5:36 entryPoints.a.transport.keepAliveMaxRequests | datagrams have no requests | remove it",
    ]


def test_udp() -> None:
    text = (
        "entryPoints:\n"
        "  dns: {address: ':1/udp', udp: {mode: datagram, timeout: 1s, maxFlows: 5, maxFlowsPerClient: 0}}\n"
        "  game: {address: ':2/udp', udp: {}}\n"
    )
    assert config_of(text).entry_points["dns"].udp == UdpOptions(
        timeout=1.0, mode="datagram", max_flows=5, max_flows_per_client=0
    )
    assert config_of(text).entry_points["game"].udp == UdpOptions(
        timeout=3.0, mode="flow", max_flows=10_000, max_flows_per_client=1000
    )
    assert notes_of(text) == []


def test_what_udp_cannot_be() -> None:
    text = "entryPoints:\n  a: {address: ':1/udp', udp: {mode: datagrams, maxFlowPerClient: 5}}\n"
    assert lines_of(text) == [
        '2:38 entryPoints.a.udp.mode | expected one of `flow`, `datagram`, got the text "datagrams" | '
        "did you mean `datagram`?",
        "2:49 entryPoints.a.udp.maxFlowPerClient | unknown key `maxFlowPerClient` | did you mean `maxFlowsPerClient`?",
    ]


def test_udp_options_that_do_nothing() -> None:
    text = (
        "entryPoints:\n  a: {address: ':1', udp: {timeout: 1s}}\n  b: {address: ':2/tcp', udp: {}}\n"
        "  c: {address: ':3/udp', udp: {maxFlows: 10, maxFlowsPerClient: 11}}\n"
    )
    assert lines_of(text) == []
    assert notes_of(text) == [
        "2:22 entryPoints.a.udp | without effect: this entry point takes TCP | for UDP, write `:1/udp`",
        "3:26 entryPoints.b.udp | without effect: this entry point takes TCP | for UDP, write `:2/udp`",
        "4:46 entryPoints.c.udp.maxFlowsPerClient | never reached: all clients together have 10 (`maxFlows`) | ",
    ]


def test_whose_proxy_headers_are_believed() -> None:
    text = 'entryPoints: {web: {address: ":80", proxyProtocol: {%s}}}\n'
    assert lines_of(text % "trustedIPs: [10.0.0.0/8, nobody]") == [
        "1:78 entryPoints.web.proxyProtocol.trustedIPs[1] | `nobody` is neither an IP address nor a range like "
        "`10.0.0.0/8` | "
    ]
    assert notes_of(text % "") == [
        "1:37 entryPoints.web.proxyProtocol | nobody's PROXY header is believed | name the proxies in `trustedIPs`"
    ]
    assert notes_of(text % "insecure: true") == []


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("secure", ""),
        (":443", ""),
        (":0", "`:0` is not a port | write for example `:443`"),
        (":x", "`:x` is not a port | write for example `:443`"),
        ("secuer", "unknown entry point `secuer` | did you mean `secure`?"),
        ("nowhere", "unknown entry point `nowhere` | the name of an entry point, or a port like `:443`"),
        ("dns", "`dns` is a UDP entry point | "),
        ("web", "this redirection leads back to where it began | "),
        ("third", "this redirection leads back to where it began | "),
    ],
)
def test_where_a_redirection_leads(to: str, expected: str) -> None:
    text = f"""
        entryPoints:
          web: {{address: ":80", http: {{redirections: {{entryPoint: {{to: "{to}"}}}}}}}}
          secure: {{address: ":443"}}
          third: {{address: ":81", http: {{redirections: {{entryPoint: {{to: web}}}}}}}}
          dns: {{address: ":53/udp"}}
        """
    first = "entryPoints.web.http.redirections.entryPoint.to | "
    found = [line.split(" ", 1)[1] for line in lines_of(text)]
    assert [line for line in found if line.startswith(first)] == ([first + expected] if expected else [])
