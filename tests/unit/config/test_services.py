"""Rules for services: kinds, servers, references, cycles, cookies."""

from __future__ import annotations

import pytest

from streamlb.config.model import Queue
from streamlb.config.services import MAX_DEPTH
from tests.unit.config.asking import UDP, WEB, config_of, lines_of, notes_of

APP = "    app: {loadBalancer: {servers: [{url: 'http://a'}]}}\n"
HTTP = WEB + "http:\n  services:\n"
TCP = WEB + "tcp:\n  services:\n"


def test_every_kind_at_any_depth() -> None:
    text = (
        HTTP + APP + "    w: {weighted: {services: [{name: m, weight: 0}, {name: app@file}], sticky: {cookie: {}}}}\n"
        "    m: {mirroring: {service: app, mirrors: [{name: app, percent: 0}], maxBodySize: -1}}\n"
    )
    assert lines_of(text) == []
    assert notes_of(text) == []


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (
            "{}",
            "4:5 http.services.s | the service has no kind | one of loadBalancer, weighted, "
            "highestRandomWeight, failover, mirroring",
        ),
        (
            "{weighted: {}, mirroring: {service: app}}",
            "4:5 http.services.s | a service is of one kind, this one has `weighted` and `mirroring` | "
            "make two services",
        ),
        (
            "{loadbalancr: {}}",
            "4:9 http.services.s.loadbalancr | unknown key `loadbalancr` | did you mean `loadBalancer`?",
        ),
        (
            "{weighted: {services: [{name: ap}]}}",
            "4:38 http.services.s.weighted.services[0].name | unknown service `ap` | did you mean `app`?",
        ),
        (
            "{mirroring: {service: zebra}}",
            "4:30 http.services.s.mirroring.service | unknown service `zebra` | define it under `http.services`",
        ),
        (
            "{mirroring: {service: ''}}",
            "4:30 http.services.s.mirroring.service | the name of a service is missing | ",
        ),
        (
            "{mirroring: {service: app, mirrors: [{name: api@internal}]}}",
            "4:52 http.services.s.mirroring.mirrors[0].name | "
            "Traefik's internal service `api@internal` is not supported by streamlb yet | ",
        ),
        (
            "{mirroring: {service: s}}",
            "4:30 http.services.s.mirroring.service | the services form a cycle: `s` -> `s` | "
            "one of them must end in servers",
        ),
    ],
)
def test_services(body: str, line: str) -> None:
    assert lines_of(f"{HTTP}    s: {body}\n{APP}") == [line]


@pytest.mark.parametrize(
    ("server", "line"),
    [
        (
            "url: ''",
            "4:40 http.services.s.loadBalancer.servers[0].url | a server's URL begins with `http://` or `https://` | ",
        ),
        (
            "url: '1.2.3.4:80'",
            "4:40 http.services.s.loadBalancer.servers[0].url | a server's URL begins with `http://` or `https://` | "
            "write `http://1.2.3.4:80`",
        ),
        (
            "url: 'h2c://a'",
            "4:40 http.services.s.loadBalancer.servers[0].url | "
            "Traefik's `h2c://` servers are not supported by streamlb yet | use `http://`",
        ),
        (
            "address: '1.2.3.4:80'",
            "4:35 http.services.s.loadBalancer.servers[0].address | "
            'an HTTP server is given by its `url`, not by `address` | write `url: "http://1.2.3.4:80"`',
        ),
        (
            "url: 'http://a', address: 'b:1'",
            "4:52 http.services.s.loadBalancer.servers[0].address | "
            "an HTTP server is given by its `url`, not by `address` | remove it",
        ),
        (
            "weight: 1",
            "4:34 http.services.s.loadBalancer.servers[0].url | `url` is missing | "
            'for example `url: "http://127.0.0.1:8081"`',
        ),
        (
            "ulr: 'http://a'",
            "4:35 http.services.s.loadBalancer.servers[0].ulr | unknown key `ulr` | did you mean `url`?",
        ),
        (
            "url: 'http://a/b c|d', preservePath: true",
            "4:40 http.services.s.loadBalancer.servers[0].url | a URL holds no spaces | ",
        ),
        (
            "url: 'http://a/b|c', preservePath: true",
            "4:40 http.services.s.loadBalancer.servers[0].url | `/b|c` cannot stand in a path as it is | `/b%7Cc`",
        ),
        (
            "url: 'http://a/%zz', preservePath: true",
            "4:40 http.services.s.loadBalancer.servers[0].url | `/%zz` cannot stand in a path as it is | `/%25zz`",
        ),
    ],
)
def test_http_servers(server: str, line: str) -> None:
    assert lines_of(f"{HTTP}    s: {{loadBalancer: {{servers: [{{{server}}}]}}}}\n") == [line]


def test_tcp_and_udp_servers() -> None:
    for base, protocol in ((TCP, "tcp"), (UDP + "udp:\n  services:\n", "udp")):
        lead = f"4:35 {protocol}.services.s.loadBalancer.servers[0]"
        name = protocol.upper()
        for server, rest in (
            ("address: 'a:1'", ""),
            (
                "url: 'http://a:1'",
                f'.url | a {name} server is given by its `address`, not by `url` | write `address: "a:1"`',
            ),
            ("url: 'x'", f".url | a {name} server is given by its `address`, not by `url` | "),
        ):
            found = lines_of(f"{base}    s: {{loadBalancer: {{servers: [{{{server}}}]}}}}\n")
            assert found == ([lead + rest] if rest else [])


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (
            "{loadBalancer: {sticky: {cookie: {}}}}",
            "4:24 tcp.services.s.loadBalancer.sticky | a cookie can stick a client to a server over HTTP only | ",
        ),
        (
            "{weighted: {sticky: }}",
            "4:20 tcp.services.s.weighted.sticky | a cookie can stick a client to a service over HTTP only | ",
        ),
        (
            "{loadBalancer: {passHostHeader: false}}",
            "4:24 tcp.services.s.loadBalancer.passHostHeader | only HTTP has a Host header | ",
        ),
        (
            "{mirroring: {service: t, maxBodySize: 1}}",
            "4:33 tcp.services.s.mirroring.maxBodySize | only HTTP requests have a body | ",
        ),
    ],
)
def test_what_only_http_has(body: str, line: str) -> None:
    assert lines_of(f"{TCP}    s: {body}\n    t: {{loadBalancer: {{servers: [{{address: 'a:1'}}]}}}}\n") == [line]


def test_mirroring_works_for_every_protocol() -> None:
    body = "    s: {mirroring: {service: t, mirrors: [{name: t, percent: 5}]}}\n"
    server = "    t: {loadBalancer: {servers: [{address: 'a:1'}]}}\n"
    assert lines_of(TCP + body + server) == []
    assert lines_of(UDP + "udp:\n  services:\n" + body + server) == []


def test_a_service_of_another_protocol() -> None:
    text = HTTP + APP + "tcp:\n  services: {w: {weighted: {services: [{name: app}]}}}\n"
    assert lines_of(text) == [
        "6:47 tcp.services.w.weighted.services[0].name | `app` is an HTTP service; a TCP one is needed here | "
        "services for this are under `tcp.services`"
    ]


@pytest.mark.parametrize(
    ("cookie", "line"),
    [
        (
            "name: 'a b;'",
            "4:48 http.services.s.loadBalancer.sticky.cookie.name | "
            "a cookie's name takes letters, digits and !#$%&'*+-.^_`|~ only | for example `a_b_`",
        ),
        (
            "path: 'x'",
            "4:48 http.services.s.loadBalancer.sticky.cookie.path | a cookie's path begins with `/` | `/x`",
        ),
        (
            "path: '/x;y'",
            "4:48 http.services.s.loadBalancer.sticky.cookie.path | "
            "a cookie's path holds no `;` and no control characters | ",
        ),
        (
            'domain: "a\\r\\nb"',
            "4:50 http.services.s.loadBalancer.sticky.cookie.domain | "
            "a cookie's domain holds no `;` and no control characters | ",
        ),
        (
            "sameSite: strct",
            "4:52 http.services.s.loadBalancer.sticky.cookie.sameSite | "
            'expected one of `none`, `lax`, `strict`, got the text "strct" | did you mean `strict`?',
        ),
    ],
)
def test_cookies(cookie: str, line: str) -> None:
    assert lines_of(f"{HTTP}    s: {{loadBalancer: {{sticky: {{cookie: {{{cookie}}}}}}}}}\n") == [line]


def test_cycles_are_named_and_each_is_reported() -> None:
    text = (
        HTTP + APP + "    a: {weighted: {services: [{name: app}, {name: b}]}}\n"
        "    b: {mirroring: {service: c}}\n"
        "    c: {weighted: {services: [{name: a}]}}\n"
        "    d: {mirroring: {service: app, mirrors: [{name: d}]}}\n"
    )
    assert lines_of(text) == [
        "7:38 http.services.c.weighted.services[0].name | the services form a cycle: `a` -> `b` -> `c` -> `a` | "
        "one of them must end in servers",
        "8:52 http.services.d.mirroring.mirrors[0].name | the services form a cycle: `d` -> `d` | "
        "one of them must end in servers",
    ]


def chain(length: int) -> str:
    links = [f"    s{i}: {{weighted: {{services: [{{name: s{i + 1}}}]}}}}\n" for i in range(length - 1)]
    return HTTP + "".join(links) + f"    s{length - 1}: {{loadBalancer: {{servers: [{{url: 'http://a'}}]}}}}\n"


def test_depth_is_bounded() -> None:
    assert lines_of(chain(MAX_DEPTH)) == []
    for length in (MAX_DEPTH + 1, 3_000):
        [line] = lines_of(chain(length))
        assert "services are nested deeper than 32 levels" in line


def test_a_long_cycle_is_shortened() -> None:
    ring = "".join(f"    s{i}: {{weighted: {{services: [{{name: s{(i + 1) % 100}}}]}}}}\n" for i in range(100))
    cycles = [line for line in lines_of(HTTP + ring) if "cycle" in line]
    assert len(cycles) == 1
    assert "`s5` -> ... -> `s96`" in cycles[0]


def test_a_shared_service_is_no_cycle() -> None:
    text = HTTP + APP + "    a: {weighted: {services: [{name: b}, {name: app}]}}\n    b: {mirroring: {service: app}}\n"
    assert lines_of(text) == []


@pytest.mark.parametrize(
    ("body", "note"),
    [
        (
            "{loadBalancer: {}}",
            "4:9 http.services.s.loadBalancer | the load balancer has no servers: every request is answered 503 | ",
        ),
        (
            "{weighted: {services: []}}",
            "4:9 http.services.s.weighted | the weighted service has no services: it never has a server to give | ",
        ),
        (
            "{loadBalancer: {servers: [{url: 'http://a'}, {url: 'http://a'}]}}",
            "4:53 http.services.s.loadBalancer.servers[1] | `http://a` is listed twice | give it a `weight` instead",
        ),
        (
            "{loadBalancer: {servers: [{url: 'http://a/api'}]}}",
            "4:40 http.services.s.loadBalancer.servers[0].url | "
            "the path `/api` of a server's URL is ignored, as in Traefik | "
            "`preservePath: true` puts it before the path of each request",
        ),
        (
            "{loadBalancer: {servers: [{url: 'http://a'}], sticky: {cookie: {sameSite: none}}}}",
            "4:82 http.services.s.loadBalancer.sticky.cookie.sameSite | "
            "browsers drop a cookie with `sameSite: none` that is not `secure: true` | ",
        ),
        (
            "{weighted: {services: [{name: app}, {name: app}]}}",
            "4:44 http.services.s.weighted.services[1] | `app` is listed twice | add the weights up in one of them",
        ),
    ],
)
def test_notes(body: str, note: str) -> None:
    assert notes_of(f"{HTTP}    s: {body}\n{APP}") == [note]


def test_places_and_queues() -> None:
    server = "servers: [{url: 'http://a', maxConnections: 5}]"
    text = HTTP + f"    s: {{loadBalancer: {{{server}, queue: {{maxSize: 0, timeout: 500ms}}}}}}\n"
    balancer = config_of(text).http.services["s"].load_balancer
    assert balancer
    assert (balancer.servers[0].max_connections, balancer.queue) == (5, Queue(max_size=0, timeout=0.5))
    assert notes_of(text) == []
    assert lines_of(text.replace("500ms", "0")) == [
        "4:102 http.services.s.loadBalancer.queue.timeout | a queue's timeout must be longer than 0 | "
        "`maxSize: 0` for no queue"
    ]
    assert notes_of(text.replace(", maxConnections: 5", "")) == [
        "4:54 http.services.s.loadBalancer.queue | nobody ever waits: no server has `maxConnections` | "
    ]


def test_datagrams_do_not_wait() -> None:
    text = (
        f"{UDP}udp:\n  services:\n"
        "    s: {loadBalancer: {queue: {maxSize: 9}, servers: [{address: 'a:1', maxConnections: 5}]}}\n"
    )
    assert lines_of(text) == ["4:24 udp.services.s.loadBalancer.queue | datagrams cannot wait | remove it"]


def test_a_path_before_each_path_is_for_http_only() -> None:
    text = "tcp: {services: {s: {loadBalancer: {servers: [{address: 'a:1', preservePath: true}]}}}}\n"
    assert lines_of(WEB + text) == [
        "2:64 tcp.services.s.loadBalancer.servers[0].preservePath | only HTTP requests have a path | "
    ]


def test_how_answers_are_forwarded_is_accepted() -> None:
    for interval in ("100ms", "-1", "-5ms", "0"):
        option = f"responseForwarding: {{flushInterval: {interval}}}"
        text = f"http: {{services: {{s: {{loadBalancer: {{servers: [{{url: 'http://a'}}], {option}}}}}}}}}\n"
        assert lines_of(WEB + text) == []
        assert lines_of(WEB + text.replace("http:", "udp:", 1).replace("url: 'http://a'", "address: 'a:1'")) == [
            "2:66 udp.services.s.loadBalancer.responseForwarding | only HTTP has answers to forward | "
        ]
