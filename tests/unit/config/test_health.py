"""Rules for health checks: what is legal for which protocol, requests, answers, times."""

from __future__ import annotations

import pytest

from streamlb.config.check import Judges, load_text
from streamlb.config.health import pattern_of
from streamlb.config.model import HealthCheck, PassiveHealthCheck
from streamlb.errors import ConfigError
from tests.unit.config.asking import UDP, WEB, config_of, line_of, lines_of, notes_of


def text(check: str, protocol: str = "http", kind: str = "healthCheck", servers: int = 2) -> str:
    key = "url: 'http://a{}'" if protocol == "http" else "address: 'a{}:1'"
    listed = ", ".join("{" + key.format(number) + "}" for number in range(servers))
    head = UDP if protocol == "udp" else WEB
    return f"{head}{protocol}:\n  services:\n    s:\n      loadBalancer: {{servers: [{listed}]}}\n".replace(
        "]}\n", f"],\n{kind}: {check}}}\n"
    )


def found(check: str, protocol: str = "http", kind: str = "healthCheck") -> list[str]:
    """`column option | reason | suggestion` of each problem."""
    lines = lines_of(text(check, protocol, kind))
    prefix = f" {protocol}.services.s.loadBalancer.{kind}"
    return [line.removeprefix("6:").replace(prefix + ".", " ").replace(prefix + " ", " ") for line in lines]


def test_the_defaults_are_traefik_s() -> None:
    config = config_of(text("{path: /health}, passiveHealthCheck: {}"))
    balancer = config.http.services["s"].load_balancer
    assert balancer is not None
    assert balancer.health_check == HealthCheck(
        path="/health", method="GET", interval=30, unhealthy_interval=None, timeout=5, follow_redirects=True
    )
    assert balancer.passive_health_check == PassiveHealthCheck(max_failed_attempts=1, failure_window=10)


def test_every_option() -> None:
    check = (
        "{path: /h?a=b, scheme: http, mode: http, port: 81, hostname: a.test, headers: {X-A: 1, X-B: ''}, method: HEAD,"
        " status: [200, '300-399'], followRedirects: false, interval: 1s, unhealthyInterval: 100ms, timeout: 1,"
        " rise: 2, fall: 3, initialState: probe}"
    )
    assert found(check) == []
    balancer = config_of(text(check)).http.services["s"].load_balancer
    assert balancer is not None
    assert balancer.health_check is not None
    assert balancer.health_check.status == ["200", "300-399"]
    assert balancer.health_check.unhealthy_interval == 0.1
    assert balancer.health_check.headers == {"X-A": "1", "X-B": ""}


@pytest.mark.parametrize("status", ["204", '"200-204"', "[204]", "[200, '202-204']", "0", "[]"])
def test_a_status_is_one_or_many(status: str) -> None:
    assert found(f"{{path: /h, status: {status}}}") == []


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_tcp_and_udp_send_and_expect(protocol: str) -> None:
    assert found("{port: 5, send: ping, expect: pong, interval: 1s, timeout: 1s, rise: 1, fall: 1}", protocol) == []


def test_a_tcp_check_may_be_a_mere_connect() -> None:
    assert found("{}", "tcp") == []


@pytest.mark.parametrize(
    ("check", "line"),
    [
        ("{}", "1 path | `path` is missing | for example `path: /health`"),
        (
            "{path: 'http://b/h'}",
            "21 path | a path only; every server is asked at its own address | `/health`",
        ),
        ("{path: //b/h}", "21 path | a path only; every server is asked at its own address | `/health`"),
        (
            "{path: '/a b'}",
            "21 path | a path holds no spaces, no `#` and nothing but ASCII | percent-encode them",
        ),
        ("{path: /h, mode: grpc}", "31 mode | Traefik's `mode: grpc` is not supported by streamlb yet | "),
        (
            "{path: /h, mode: gprc}",
            "31 mode | expected one of `http`, `grpc`, got the text \"gprc\" | did you mean `grpc`?",
        ),
        ("{path: /h, scheme: h2c}", "33 scheme | Traefik's scheme `h2c` is not supported by streamlb yet | "),
        ("{path: /h, scheme: ftp}", "33 scheme | a scheme is `http` or `https` | "),
        ("{path: /h, port: 70000}", "31 port | expected a whole number from 0 to 65535, got the number 70000 | "),
        ("{path: /h, hostname: 'a b'}", "35 hostname | not a host name | for example `myapp.test.com`"),
        ("{path: /h, method: 'G T'}", "33 method | `G T` is no method to ask with | for example `GET`"),
        ("{path: /h, headers: {Host: x}}", "35 headers.Host | `Host` cannot be given: `hostname` sets it | "),
        (
            "{path: /h, headers: {'A B': x}}",
            "35 headers.A B | a field's name takes letters, digits and !#$%&'*+-.^_`|~ only | ",
        ),
        ('{path: /h, headers: {A: "x\\ny"}}', "38 headers.A | a field's value holds no control characters | "),
        ("{path: /h, status: 2xx}", '33 status | `2xx` is no status | for example 200, "200-399" or [200, 204]'),
        (
            "{path: /h, status: [200, 600]}",
            '39 status[1] | `600` is no status | for example 200, "200-399" or [200, 204]',
        ),
        ("{path: /h, status: 300-200}", '33 status | the range ends before it begins | "200-300"'),
        ("{path: /h, body: ok, method: HEAD}", "25 body | an answer to HEAD has no body | `method: GET`"),
        ("{path: /h, interval: 1ms}", "35 interval | this is too short: 10ms is the least | "),
        ("{path: /h, timeout: 0}", "34 timeout | this is too short: 10ms is the least | "),
        ("{path: /h, unhealthyInterval: 0}", "44 unhealthyInterval | this is too short: 10ms is the least | "),
        ("{path: /h, rise: 0}", "31 rise | expected a whole number from 1 to 1000, got the number 0 | "),
        (
            "{path: /h, initialState: unknown}",
            "39 initialState | expected one of `up`, `down`, `probe`, got the text \"unknown\" | ",
        ),
        (
            "{path: /h, send: x}",
            "25 send | an HTTP check sends a request: give its `path`, `method` and `headers` | ",
        ),
        ("{path: /h, intervall: 1s}", "25 intervall | unknown key `intervall` | did you mean `interval`?"),
    ],
)  # fmt: skip
def test_what_an_http_check_may_not_say(check: str, line: str) -> None:
    assert found(check) == [line]


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("option", ["path: /h", "status: 200", "followRedirects: true", "headers: {}", "body: x"])
def test_what_only_http_has(protocol: str, option: str) -> None:
    key = option.partition(":")[0]
    [line] = found(f"{{send: x, {option}}}", protocol)
    assert line == f"24 {key} | only HTTP has requests and answers; here it is `send` and `expect` | "


def test_a_udp_check_has_something_to_say() -> None:
    [line] = found("{expect: pong}", "udp")
    assert line.endswith("send | `send` is missing: nobody answers a UDP check that says nothing | "
                         'for example `send: "ping"`')  # fmt: skip


@pytest.mark.parametrize("protocol", ["http", "tcp", "udp"])
def test_passive_checks_are_for_all(protocol: str) -> None:
    assert found("{maxFailedAttempts: 3, failureWindow: 1m}", protocol, "passiveHealthCheck") == []
    [line] = found("{failureWindow: 0s}", protocol, "passiveHealthCheck")
    assert line.endswith("failureWindow | this is too short: 10ms is the least | ")
    [line] = found("{maxFailedAttempts: 0}", protocol, "passiveHealthCheck")
    assert "expected a whole number from 1 to 1000" in line


def test_the_only_server_is_never_taken_out_and_the_user_is_told() -> None:
    [note] = notes_of(text("{}", kind="passiveHealthCheck", servers=1))
    assert "there is but one server, and the last one is never taken out" in note
    assert notes_of(text("{}", kind="passiveHealthCheck")) == []


@pytest.mark.parametrize("protocol", ["http", "tcp", "udp"])
def test_a_slow_start_is_for_servers_that_can_come_back(protocol: str) -> None:
    [note] = notes_of(text("30s", protocol, "slowStart"))
    assert "no server ever comes back: there is no `healthCheck` and no `passiveHealthCheck`" in note
    assert notes_of(text("30s, passiveHealthCheck: {}", protocol, "slowStart")) == []
    assert found("soon", protocol, "slowStart")


@pytest.mark.parametrize(("body", "pattern"), [("ok", None), ("/a.c/", "a.c"), ("/", None), ("//", None), ("/a", None)])
def test_a_pattern_stands_between_slashes(body: str, pattern: str | None) -> None:
    assert pattern_of(body) == pattern


def test_whoever_knows_patterns_checks_them() -> None:
    seen = []

    def check_pattern(pattern: str) -> tuple[str, str]:
        seen.append(pattern)
        return ("", "") if pattern == "a.c" else ("no good", "do better")

    for body in ("ok", "/a.c/", "''"):
        load_text(text(f"{{path: /h, body: {body}}}"), judges=Judges(check_pattern=check_pattern))
    with pytest.raises(ConfigError) as caught:
        load_text(text("{path: /h, body: '/(a/'}"), judges=Judges(check_pattern=check_pattern))
    [problem] = caught.value.problems
    assert line_of(problem) == "6:31 http.services.s.loadBalancer.healthCheck.body | no good | do better"
    assert seen == ["a.c", "(a"]
