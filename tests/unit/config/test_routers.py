"""Rules for routers: services, entry points, rules, UDP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamlb.config.check import Judges, load, load_text
from streamlb.config.routers import HiddenRouter, RuledRouter, RuleFault, entry_points_of
from tests.unit.config.asking import UDP, WEB, config_of, line_of, lines_of, notes_of

if TYPE_CHECKING:
    from pathlib import Path

BASE = """\
entryPoints: {web: {address: ":80"}, alt: {address: ":81"}, dns: {address: ":53/udp"}}
http: {services: {app: {loadBalancer: {servers: [{url: "http://a"}]}}}, routers: {%s}}
tcp: {services: {db: {loadBalancer: {servers: [{address: "a:1"}]}}}, routers: {%s}}
udp: {services: {ns: {loadBalancer: {servers: [{address: "a:1"}]}}}, routers: {%s}}
"""


def found(http: str = "", tcp: str = "", udp: str = "") -> list[str]:
    """Problems, each without its column."""
    return [line.split(" ", 1)[1] for line in lines_of(BASE % (http, tcp, udp))]


def test_good_routers() -> None:
    assert found("r: {rule: Path(`/`), service: app}", "r: {rule: HostSNI(`*`), service: db}", "r: {service: ns}") == []


@pytest.mark.parametrize(
    ("router", "key", "reason", "suggestion"),
    [
        ("{service: app}", "rule", "the router has no rule", 'to match everything: rule: "PathPrefix(`/`)"'),
        ("{service: app, rule: ' '}", "rule", "the rule is empty", 'to match everything: rule: "PathPrefix(`/`)"'),
        ("{rule: x, service: ap}", "service", "unknown service `ap`", "did you mean `app`?"),
        (
            "{rule: x, service: db}",
            "service",
            "`db` is a TCP service; an HTTP one is needed here",
            "services for this are under `http.services`",
        ),
        ("{rule: x}", "service", "`service` is missing", ""),
        (
            "{rule: x, service: app, entryPoints: [wbe]}",
            "entryPoints[0]",
            "unknown entry point `wbe`",
            "did you mean `web`?",
        ),
        (
            "{rule: x, service: app, entryPoints: [zebra]}",
            "entryPoints[0]",
            "unknown entry point `zebra`",
            "there are: `web`, `alt`, `dns`",
        ),
        (
            "{rule: x, service: app, entryPoints: [dns]}",
            "entryPoints[0]",
            "`dns` is a UDP entry point; an HTTP router needs a TCP one",
            "",
        ),
        (
            "{rule: x, service: app, middlewares: []}",
            "middlewares",
            "Traefik's `middlewares` is not supported by streamlb yet",
            "",
        ),
        (
            "{rule: x, service: app, ruleSyntax: v4}",
            "ruleSyntax",
            'expected one of `v3`, `v2`, `default`, got the text "v4"',
            "",
        ),
        ("{rule: x, service: app, priority: high}", "priority", 'expected a whole number, got the text "high"', ""),
    ],
)
def test_http_routers(router: str, key: str, reason: str, suggestion: str) -> None:
    assert found(f"r: {router}") == [f"http.routers.r.{key} | {reason} | {suggestion}"]


def test_udp_routers() -> None:
    assert found(udp="r: {service: ns, rule: x, priority: 1, ruleSyntax: v2}") == [
        "udp.routers.r.rule | a UDP router has no rule: it takes every datagram of its entry point | remove it",
        "udp.routers.r.priority | a UDP router has no priority: it is the only one of its entry point | remove it",
        "udp.routers.r.ruleSyntax | a UDP router has no rule that could be written in any syntax | remove it",
    ]
    assert found(udp="r: {service: ns, entryPoints: [web]}") == [
        "udp.routers.r.entryPoints[0] | `web` is a TCP entry point; a UDP router needs a UDP one | "
    ]


@pytest.mark.parametrize("second", ["{service: ns}", "{service: ns, entryPoints: [dns]}"])
def test_a_udp_entry_point_has_one_router(second: str) -> None:
    [line] = found(udp=f"one: {{service: ns}}, two: {second}")
    assert line.startswith("udp.routers.two")
    assert "a UDP entry point has one router; `dns` already has `one` in line 4" in line


def test_no_entry_point_of_the_kind() -> None:
    services = "  services: {s: {loadBalancer: {servers: [{address: 'a:1'}]}}}\n"
    assert lines_of(WEB + "udp:\n  routers: {r: {service: s}}\n" + services) == [
        "3:13 udp.routers.r.entryPoints | a UDP router needs a UDP entry point; there is none | "
        'add one with an address like ":53/udp"'
    ]
    assert lines_of(UDP + "tcp:\n  routers: {r: {rule: x, service: s}}\n" + services) == [
        "3:13 tcp.routers.r.entryPoints | a TCP router needs a TCP entry point; there is none | "
        'add one with an address like ":80"'
    ]


def test_a_broken_entry_point_is_reported_once() -> None:
    text = (BASE % ("r: {rule: x, service: app, entryPoints: [web]}", "", "")).replace('":80"', "80")
    assert len(lines_of(text)) == 1


def test_entry_points_of_a_router() -> None:
    config = config_of(BASE % ("r: {rule: x, service: app}", "r: {rule: x, service: db, entryPoints: [alt]}", ""))
    assert entry_points_of("http", config.http.routers["r"], config) == ["web", "alt"]
    assert entry_points_of("tcp", config.tcp.routers["r"], config) == ["alt"]
    assert entry_points_of("udp", config.http.routers["r"], config) == ["dns"]


def fault(rule: str, protocol: str, syntax: str, _is_tls: bool) -> RuleFault | None:
    assert syntax == "v3"
    """A rule language in which `bad` is a mistake."""
    at = rule.find("bad")
    return RuleFault(f"{protocol} knows no bad", at, "good", 3) if at >= 0 else None


@pytest.mark.parametrize(
    ("rule", "place", "remark"),
    [
        ("x bad", "3:23", ""),
        ("'x''y bad'", "3:27", ""),
        ('"x\\ty bad"', "3:27", ""),
        ("|\n        x bad", "3:21", " (at character 3 of the rule)"),
        (">-\n        x bad", "3:21", " (at character 3 of the rule)"),
        ("x\n        bad", "3:21", " (at character 3 of the rule)"),
    ],
)
def test_the_column_inside_a_rule_becomes_one_of_the_file(rule: str, place: str, remark: str) -> None:
    text = (
        "entryPoints: {web: {address: ':80'}}\nhttp:\n  routers: {}\n"
        "  services: {s: {loadBalancer: {servers: [{url: 'http://a'}]}}}\n"
    ).replace("  routers: {}\n", f"  routers: \n    r:\n      service: s\n      rule: {rule}\n")
    line, column = place.split(":")
    [problem] = lines_of(text, fault)
    expected = f"{int(line) + 3}:{int(column) - 8} http.routers.r.rule | http knows no bad{remark} | good"
    assert problem == expected


def test_the_syntax_of_a_rule() -> None:
    asked: list[tuple[str, str, str]] = []
    said = "service: app, ruleSyntax"
    routers = f"a: {{rule: A, service: app}}, b: {{rule: B, {said}: v2}}, c: {{rule: C, {said}: v3}}"
    text = (
        BASE % (routers, "t: {rule: T, service: db, ruleSyntax: default}", "")
    ) + "\ncore: {defaultRuleSyntax: v2}\n"
    assert lines_of(text, lambda *rule: asked.append(rule[:3])) == []
    assert asked == [("A", "http", "v2"), ("B", "http", "v2"), ("C", "http", "v3"), ("T", "tcp", "v2")]


def test_without_a_rule_language_rules_are_taken_as_they_are() -> None:
    assert found("r: {rule: bad, service: app}") == []


def test_a_tcp_router_that_takes_everything_is_noted() -> None:
    http = "r: {rule: x, service: app}, s: {rule: x, service: app, entryPoints: [alt]}"
    notes = notes_of(BASE % (http, "t: {rule: HostSNI(`*`), service: db, entryPoints: [web]}", ""))
    assert [note.split(" ", 1)[1] for note in notes] == [
        "http.routers.r | no request reaches this router on `web`: TCP router `t` takes every connection there | "
        "give the routers separate `entryPoints`"
    ]
    assert notes_of(BASE % (http, "t: {rule: ClientIP(`::1`), service: db}", "")) == []


# --- routers that are never reached ------------------------------------------------------------------------------


def hidden_notes(routers: str, hidden: dict[str, HiddenRouter], tcp: str = "") -> list[str]:
    """The notes, without their places, when these routers are hidden wherever they are."""

    def find(ruled: list[RuledRouter], _protocol: str) -> list[HiddenRouter]:
        return [hidden[each.name] for each in ruled if each.name in hidden]

    loaded = load_text(BASE % (routers, tcp, ""), "lb.yaml", judges=Judges(find_hidden=find))
    return [line_of(note).split(" ", 1)[1] for note in loaded.notes]


TWO = "a: {rule: A, service: app}, b: {rule: B, service: app}"


def test_a_router_that_is_never_reached() -> None:
    assert hidden_notes(TWO, {"b": HiddenRouter("b", (("a", 7),))}) == [
        "http.routers.b | no request reaches this router: `a` (line 2) is tried before it and takes all that it "
        "would match | a `priority` above 7 puts it first"
    ]
    assert hidden_notes(TWO.replace("B", "A"), {"b": HiddenRouter("b", (("a", 7),))}) == [
        "http.routers.b | no request reaches this router: `a` (line 2) has the same rule | remove one of the two"
    ]
    [line] = hidden_notes(TWO, {"b": HiddenRouter("b", (("a", 7),), but_asterisk=True)})
    assert "no request but `OPTIONS *` reaches this router: `a`" in line


def test_several_hide_it_together() -> None:
    by = tuple((name, number) for number, name in enumerate("avwxy"))
    [line] = hidden_notes(TWO, {"b": HiddenRouter("b", by)})
    assert "`a`, `v`, `w` and 2 more are tried before it" in line
    assert "a `priority` above 4 puts it first" in line


def test_a_rule_that_cannot_match() -> None:
    assert hidden_notes(TWO, {"b": HiddenRouter("b", (), ("Host(`x`)", "Host(`y`)"))}) == [
        "http.routers.b.rule | no request can match this rule: Host(`x`) and Host(`y`) exclude each other | "
        "`||` if one of them is enough"
    ]
    tcp = "t: {rule: T, service: db}"
    assert hidden_notes("", {"t": HiddenRouter("t")}, tcp) == [
        "tcp.routers.t.rule | no connection can match this rule | `||` if one of them is enough"
    ]


def test_a_router_reached_on_one_entry_point_is_not_reported() -> None:
    def find(ruled: list[RuledRouter], _protocol: str) -> list[HiddenRouter]:
        return [HiddenRouter("b", (("a", 7),))] if [each.name for each in ruled] == ["a", "b"] else []

    only = TWO.replace("rule: A", "entryPoints: [web], rule: A")
    assert load_text(BASE % (only, "", ""), judges=Judges(find_hidden=find)).notes == []
    assert len(load_text(BASE % (TWO, "", ""), judges=Judges(find_hidden=find)).notes) == 1


def test_what_the_search_is_given() -> None:
    given: list[tuple[str, list[RuledRouter]]] = []

    def find(ruled: list[RuledRouter], protocol: str) -> list[HiddenRouter]:
        given.append((protocol, ruled))
        return []

    routers = "a: {rule: A, service: app, priority: 3, ruleSyntax: v2}, b: {rule: B, service: app, entryPoints: [alt]}"
    load_text(BASE % (routers, "", ""), judges=Judges(find_hidden=find))
    a, b = RuledRouter("a", "A", 3, "v2"), RuledRouter("b", "B", 0, "v3")
    assert [ruled for protocol, ruled in given if protocol == "http" and len(ruled) == 1] == [[a]]
    assert [ruled for protocol, ruled in given if protocol == "http" and len(ruled) == 2] == [[a, b]]


def test_the_other_router_may_be_in_another_file(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "apiVersion: traefik.io/v1alpha1\nkind: IngressRoute\nmetadata: {name: r}\nspec:\n  routes:\n"
        "  - {match: K, services: [{name: a, port: 80}]}\n"
    )
    main = tmp_path / "lb.yaml"
    main.write_text(
        WEB + "providers: {kubernetesManifests: {paths: [m.yaml], endpoints: {default/a: ['127.0.0.1:1']}}}\n"
        "http: {services: {s: {loadBalancer: {servers: [{url: 'http://a'}]}}}, routers: {b: {rule: B, service: s}}}\n"
    )

    def find(ruled: list[RuledRouter], _protocol: str) -> list[HiddenRouter]:
        return [HiddenRouter("b", ((each.name, 7),)) for each in ruled if each.name != "b"]

    [note] = [note for note in load(main, judges=Judges(find_hidden=find)).notes if "reaches" in note.reason]
    assert f"(line 6 of {tmp_path}/m.yaml) is tried before it" in note.reason


def test_passthrough() -> None:
    text = """
        entryPoints: {web: {address: ":80"}}
        http:
          routers: {a: {rule: "A", service: s, tls: {passthrough: true}}}
          services: {s: {loadBalancer: {servers: [{url: "http://a"}]}}}
        """
    assert lines_of(text) == [
        "4:59 http.routers.a.tls.passthrough | an HTTP router has to see the requests | "
        "make it a TCP router with HostSNI"
    ]
    text = """
        entryPoints: {web: {address: ":80"}}
        tcp:
          routers: {a: {rule: "A", service: s, tls: {passthrough: true, options: default}}}
          services: {s: {loadBalancer: {servers: [{address: "a:1"}]}}}
        """
    assert notes_of(text) == [
        "4:65 tcp.routers.a.tls.options | with `passthrough` the server decides about TLS: options have no effect | "
    ]


def test_udp_knows_no_tls() -> None:
    text = """
        entryPoints: {dns: {address: ":53/udp"}}
        udp:
          routers: {a: {service: s, tls: {}}}
          services: {s: {loadBalancer: {servers: [{address: "a:1"}]}}}
        """
    assert [line.split(" ", 1)[1] for line in lines_of(text)] == [
        "udp.routers.a.tls | TLS is for TCP connections | remove it"
    ]
