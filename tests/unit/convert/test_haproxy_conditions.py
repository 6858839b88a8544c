"""ACLs and conditions as rules."""

from __future__ import annotations

import pytest

from streamlb.convert.haproxy_conditions import Conditions
from streamlb.convert.haproxy_text import parse
from streamlb.convert.rules import NoRule
from streamlb.process.configuration import check_rule


def read(condition: str, acls: str = "", protocol: str = "http", is_tls: bool = False) -> str:
    """The rule, or `always` or `never`."""
    [section] = parse(f"frontend x\n{acls}\n  use_backend b {condition}\n")
    answer = Conditions(section, protocol, is_tls).read(section.lines[-1].words[2:])
    if answer.rule is None:
        return "always" if answer.certain else "never"
    assert check_rule(str(answer.rule), protocol, "v3", True) is None
    return str(answer.rule)


@pytest.mark.parametrize(
    ("condition", "rule"),
    [
        ("if { path /a /b }", "Path(`/a`) || Path(`/b`)"),
        ("if { path_beg /a }", "PathPrefix(`/a`)"),
        ("if { path -m beg /a }", "PathPrefix(`/a`)"),
        ("if { path_beg -i /a }", "PathRegexp(`(?i)^/a`)"),
        ("if { path_end .png }", "PathRegexp(`\\.png$`)"),
        ("if { path_reg ^/a[0-9] }", "PathRegexp(`^/a[0-9]`)"),
        ("if { path_sub x }", "PathRegexp(`x`)"),
        ("if { path_dir /x/ }", "PathRegexp(`(?:^|/)x(?:/|$)`)"),
        ("if { hdr(host) -i A.test b.test }", "Host(`a.test`, `b.test`)"),
        ("if { hdr_beg(Host) a. }", "HostRegexp(`^a\\.`)"),
        ("if { hdr_dom(host) a.test }", "HostRegexp(`(?:^|\\.)a\\.test(?:\\.|$)`)"),
        ("if { req.hdr(x-key) v }", "Header(`x-key`, `v`)"),
        ("if { hdr(x-key) -i v }", "HeaderRegexp(`x-key`, `(?i)^v$`)"),
        ("if { hdr(x-key) -m found }", "HeaderRegexp(`x-key`, ``)"),
        ("if { hdr_sub(user-agent) bot }", "HeaderRegexp(`user-agent`, `bot`)"),
        ("if { url_param(a) 1 }", "Query(`a`, `1`)"),
        ("if { method GET }", "Method(`GET`)"),
        ("if METH_GET", "Method(`GET`) || Method(`HEAD`)"),
        ("if { src 10.0.0.0/8 ::1 }", "ClientIP(`10.0.0.0/8`) || ClientIP(`::1`)"),
        ("if !{ path /a } { path /b }", "!Path(`/a`) && Path(`/b`)"),
        ("if { path /a } or { path /b } { path /c }", "Path(`/a`) || Path(`/b`) && Path(`/c`)"),
        ("unless { path /a } || { path /b }", "!(Path(`/a`) || Path(`/b`))"),
        ("if ! { path /a }", "!Path(`/a`)"),
        ("", "always"),
        ("if TRUE", "always"),
        ("unless TRUE", "never"),
        ("if { ssl_fc }", "never"),
        ("if !{ ssl_fc }", "always"),
        ("if { ssl_fc } { path /a }", "never"),
        ("if !{ ssl_fc } { path /a }", "Path(`/a`)"),
        ("if { ssl_fc } or { path /a }", "Path(`/a`)"),
        ("if !{ ssl_fc } or { path /a }", "always"),
    ],
)
def test_conditions(condition: str, rule: str) -> None:
    assert read(condition) == rule


def test_what_is_over_tls_is_known() -> None:
    assert read("if { ssl_fc }", is_tls=True) == "always"
    assert read("unless { ssl_fc }", is_tls=True) == "never"


def test_acls_of_one_name_are_alternatives() -> None:
    acls = "  acl a path /a\n  acl a path_beg /b\n  acl c method POST"
    assert read("if a !c", acls) == "(Path(`/a`) || PathPrefix(`/b`)) && !Method(`POST`)"


@pytest.mark.parametrize(
    ("condition", "rule"),
    [
        ("if { req_ssl_sni -i A.test }", "HostSNI(`a.test`)"),
        ("if { req.ssl_sni -m end .a.test }", "HostSNIRegexp(`\\.a\\.test$`)"),
        ("if { req_ssl_hello_type 1 }", "always"),
        ("if { src 10.0.0.1 }", "ClientIP(`10.0.0.1`)"),
    ],
)
def test_tcp(condition: str, rule: str) -> None:
    assert read(condition, protocol="tcp") == rule


@pytest.mark.parametrize(
    "condition",
    [
        "if nobody",
        "if { lua.x }",
        "if { path -f /etc/list }",
        "if { path -m len 3 }",
        "if { path_reg (?=x) }",
        "if { path /a",
        "if { }",
        "if or { path /a }",
        "if { path /a } or",
        "when { path /a }",
        "if { path,lower -m beg /a }",
        "if { hdr_cnt(x) 1 }",
        "if !",
    ],
)
def test_what_has_no_rule(condition: str) -> None:
    with pytest.raises(NoRule):
        read(condition)
