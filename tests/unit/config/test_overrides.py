"""Rules for overrides: one criterion each, and a child to lead to."""

from __future__ import annotations

import pytest

from tests.unit.config.asking import WEB, config_of, lines_of

HTTP = WEB + "http:\n  services:\n"
APPS = "    a: {loadBalancer: {servers: [{url: 'http://a'}]}}\n    b: {loadBalancer: {servers: [{url: 'http://b'}]}}\n"
LEAD = "http.services.s.weighted.overrides[0]"


def weighted(override: str) -> str:
    return f"{HTTP}    s: {{weighted: {{services: [{{name: a}}], overrides: [{{{override}}}]}}}}\n{APPS}"


def test_overrides() -> None:
    text = weighted("header: {name: X-Canary, value: v2}, service: a}, {cookie: {name: canary}, service: a@file")
    service = config_of(text).http.services["s"].weighted
    assert service is not None
    header, cookie = (each.header or each.cookie for each in service.overrides)
    assert header is not None
    assert cookie is not None
    assert (header.name, header.value, cookie.name, cookie.value) == ("X-Canary", "v2", "canary", None)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("service: a", f"4:55 {LEAD} | an override looks at a `header` or a `cookie`; neither is given | "),
        (
            "service: a, header: {name: a}, cookie: {name: b}",
            f"4:55 {LEAD} | an override looks at a `header` or a `cookie`; both are given | make two of it",
        ),
        (
            "service: b, header: {name: a}",
            f"4:65 {LEAD}.service | `b` is none of the services this one chooses from | "
            "list it under `services`, with `weight: 0` if need be",
        ),
        ("header: {name: a}", f"4:55 {LEAD}.service | `service` is missing | "),
        ("service: a, header: {value: a}", f"4:68 {LEAD}.header.name | `name` is missing | "),
        (
            "service: a, cookie: {name: 'a b'}",
            f"4:83 {LEAD}.cookie.name | a cookie's name takes letters, digits and !#$%&'*+-.^_`|~ only | ",
        ),
        (
            "service: a, cookie: {name: a, value: true}",
            f'4:93 {LEAD}.cookie.value | expected text, got `true` | if you mean the word, quote it: "true"',
        ),
    ],
)
def test_what_is_refused(override: str, line: str) -> None:
    assert lines_of(weighted(override)) == [line]


def test_tcp_has_nothing_to_look_at() -> None:
    text = "tcp:\n  services:\n    a: {loadBalancer: {servers: [{address: 'a:1'}]}}\n"
    [line] = lines_of(f"{WEB}{text}    s: {{weighted: {{services: [{{name: a}}], overrides: []}}}}\n")
    assert "tcp.services.s.weighted.overrides | only HTTP requests have fields and cookies" in line
