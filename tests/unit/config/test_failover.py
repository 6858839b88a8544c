"""Rules for failover services: two services, and statuses that are failures."""

from __future__ import annotations

import pytest

from tests.unit.config.asking import WEB, config_of, lines_of, notes_of

HTTP = WEB + "http:\n  services:\n"
TCP = WEB + "tcp:\n  services:\n"
APPS = "    a: {loadBalancer: {servers: [{url: 'http://a'}]}}\n    b: {loadBalancer: {servers: [{url: 'http://b'}]}}\n"
PLAIN = "    a: {loadBalancer: {servers: [{address: 'a:1'}]}}\n    b: {loadBalancer: {servers: [{address: 'b:1'}]}}\n"


def test_a_failover() -> None:
    text = (
        f"{HTTP}    s: {{failover: {{service: a, fallback: b, healthCheck: {{}}, "
        f"errors: {{status: [429, '500-504'], maxRequestBodyBytes: 1000}}}}}}\n{APPS}"
    )
    failover = config_of(text).http.services["s"].failover
    assert failover is not None
    assert failover.errors is not None
    assert (failover.service, failover.fallback) == ("a", "b")
    assert (failover.errors.status, failover.errors.max_request_body_bytes) == (["429", "500-504"], 1000)
    assert notes_of(text) == []


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("service: a", "4:9 http.services.s.failover.fallback | `fallback` is missing | "),
        ("fallback: a", "4:9 http.services.s.failover.service | `service` is missing | "),
        (
            "service: a, fallback: c",
            "4:42 http.services.s.failover.fallback | unknown service `c` | define it under `http.services`",
        ),
        (
            "service: a, fallback: a",
            "4:42 http.services.s.failover.fallback | the fallback is the main service itself | name another service",
        ),
        (
            "service: a, fallback: s",
            "4:42 http.services.s.failover.fallback | the services form a cycle: `s` -> `s` | "
            "one of them must end in servers",
        ),
        (
            "service: a, fallback: b, errors: {}",
            "4:45 http.services.s.failover.errors.status | there is no status that would count as a failure | "
            'for example `status: ["500-504", "429"]`',
        ),
        (
            "service: a, fallback: b, errors: {status: [5xx]}",
            "4:63 http.services.s.failover.errors.status[0] | "
            "expected a status such as `503`, or a range such as `500-504` | ",
        ),
        (
            "service: a, fallback: b, errors: {status: [503, 504-500]}",
            "4:68 http.services.s.failover.errors.status[1] | the range ends before it begins | write `500-504`",
        ),
        (
            "service: a, fallback: b, errors: {status: [101]}",
            "4:63 http.services.s.failover.errors.status[0] | the status of an answer is from 200 to 599 | ",
        ),
        (
            "service: a, fallback: b, errors: {status: [500-600]}",
            "4:63 http.services.s.failover.errors.status[0] | the status of an answer is from 200 to 599 | ",
        ),
        (
            "service: a, fallback: b, errors: {status: [503], maxRequestBodyBytes: -2}",
            "4:90 http.services.s.failover.errors.maxRequestBodyBytes | "
            "expected a whole number, -1 or more, got the number -2 | ",
        ),
    ],
)
def test_what_is_refused(body: str, line: str) -> None:
    assert lines_of(f"{HTTP}    s: {{failover: {{{body}}}}}\n{APPS}") == [line]


def test_tcp_has_no_statuses() -> None:
    assert lines_of(f"{TCP}    s: {{failover: {{service: a, fallback: b}}}}\n{PLAIN}") == []
    [line] = lines_of(f"{TCP}    s: {{failover: {{service: a, fallback: b, errors: {{status: [503]}}}}}}\n{PLAIN}")
    assert line == "4:45 tcp.services.s.failover.errors | only HTTP answers have a status | "
