"""Rules through the installed command: patterns, wildcards, Traefik 2's words, and what `check` says about them.

The story: a rule is copied from Traefik's documentation, of any version, and does what is written there.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.configs import entry_point
from tests.support.http import Client
from tests.support.programs import ROOT, running_streamlb, running_whoami

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RULES = {
    "wildcard": ("Host(`*.example.com`)", "v3"),
    "any": ("Host(`*`)", "v3"),
    "host-pattern": (r"HostRegexp(`^shop[0-9]+\.[a-z]+\.example\.com$`)", "v3"),
    "pictures": (r"Host(`*.example.com`) && PathRegexp(`\.(jpe?g|png)$`)", "v3"),
    "agents": ("Host(`*.example.com`) && HeaderRegexp(`User-Agent`, `(?i)bot`)", "v3"),
    "numbers": ("Host(`*.example.com`) && QueryRegexp(`id`, `^[0-9]+$`)", "v3"),
    "articles": ("Host(`old.example.com`) && Path(`/articles/{id:[0-9]+}`) && Method(`GET`, `HEAD`)", "v2"),
    "old-hosts": ("HostRegexp(`{sub:[a-z]+}.old.example.com`, `older.com`)", "v2"),
    "old-fields": ("Headers(`X-Old`, `1`) && Query(`a=1`, `b={n:[0-9]+}`) && PathPrefix(`/x`, `/y`)", "v2"),
}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A proxy whose services stand for the routers that lead to them; a field of the answer tells which it was."""
    port, address = entry_point()
    routers = "".join(
        f"    {name}: {{rule: '{rule}', service: {name}, ruleSyntax: {syntax}}}\n"
        for name, (rule, syntax) in RULES.items()
    )
    with running_whoami("v1") as whoami:
        servers = f"servers: [{{url: 'http://127.0.0.1:{whoami.http_port}'}}]"
        services = "".join(
            f"    {name}: {{loadBalancer: {{{servers}, sticky: {{cookie: {{name: router-{name}}}}}}}}}\n"
            for name in RULES
        )
        head = f'entryPoints: {{web: {{address: "{address}"}}}}\n'
        with running_streamlb(f"{head}http:\n  routers:\n{routers}  services:\n{services}"):
            yield port


@pytest.mark.parametrize(
    ("host", "target", "fields", "router"),
    [
        ("a.example.com", "/", {}, "wildcard"),
        ("A.Example.COM:8080", "/", {}, "wildcard"),
        ("example.com", "/", {}, "any"),
        ("a.b.example.com", "/", {}, "any"),
        ("shop12.eu.example.com", "/", {}, "host-pattern"),
        ("SHOP12.EU.example.com", "/", {}, "host-pattern"),
        ("shop.eu.example.com", "/", {}, "any"),
        ("a.example.com", "/cat.png", {}, "pictures"),
        ("a.example.com", "/cat%2Epng?x", {}, "pictures"),
        ("a.example.com", "/cat.png/", {}, "wildcard"),
        ("a.example.com", "/", {"User-Agent": "GoogleBot/2"}, "agents"),
        ("a.example.com", "/?id=x&id=12", {}, "numbers"),
        ("a.example.com", "/?id=x", {}, "wildcard"),
        ("old.example.com", "/articles/17", {}, "articles"),
        ("old.example.com", "/articles/x", {}, "wildcard"),
        ("x.old.example.com", "/", {}, "old-hosts"),
        ("X.OLD.example.com", "/", {}, "old-hosts"),
        ("older.com", "/", {}, "old-hosts"),
        ("x1.old.example.com", "/", {}, "any"),
        ("a.b", "/y?b=2&a=1", {"X-Old": "1"}, "old-fields"),
        ("a.b", "/y?b=x&a=1", {"X-Old": "1"}, "any"),
    ],
)
def test_who_gets_a_request(port: int, host: str, target: str, fields: dict[str, str], router: str) -> None:
    with Client(port) as client:
        reply = client.request(target, host=host, headers=list(fields.items()))
    assert reply.status == 200
    cookies = [value.partition(b"=")[0].decode() for value in reply.values("Set-Cookie")]
    assert cookies == [f"router-{router}"]


def checked(text: str, tmp_path: Path) -> tuple[int, str]:
    path = tmp_path / "lb.yaml"
    path.write_text(text)
    command = [sys.executable, "-m", "streamlb", "check", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout.replace(str(path), "lb.yaml")


SERVED = """entryPoints: {web: {address: ":80"}}
http:
  services: {app: {loadBalancer: {servers: [{url: "http://127.0.0.1:1"}]}}}
  routers:
"""


@pytest.mark.parametrize(
    ("router", "place", "reason"),
    [
        ("{rule: 'Host(`a`) && PathRegexp(`^/x[z-a]`)', service: app}", "5:45", "runs backwards"),
        ("{rule: 'PathRegexp(`(?=x)`)', service: app}", "5:28", "neither ahead nor back"),
        ("{rule: 'Host(`*a.com`)', service: app}", "5:21", "whole first label"),
        ("{rule: 'Path(`/{id:[0-9]+}`)', service: app}", "5:21", "write PathRegexp(`^/(?:[0-9]+)$`), or give"),
        ("{rule: 'Path(`/{id:[0-9}`)', service: app, ruleSyntax: v2}", "5:27", "`[` of the pattern is never closed"),
    ],
)
def test_a_wrong_pattern_is_marked(router: str, place: str, reason: str, tmp_path: Path) -> None:
    code, said = checked(f"{SERVED}    r: {router}\n", tmp_path)
    assert code == 1
    assert said.startswith(f"lb.yaml:{place}: error: http.routers.r.rule: ")
    assert reason in said


def test_a_router_that_no_request_can_reach_is_noted(tmp_path: Path) -> None:
    routers = (
        "    all: {rule: 'Host(`a.com`)', service: app, priority: 100}\n"
        "    api: {rule: 'Host(`a.com`) && PathPrefix(`/api`)', service: app}\n"
        "    fine: {rule: 'Host(`b.com`)', service: app}\n"
        "    never: {rule: 'Host(`a.com`) && Host(`b.com`)', service: app}\n"
    )
    code, said = checked(SERVED + routers, tmp_path)
    assert code == 0
    notes = [line for line in said.splitlines() if ": note: " in line]
    assert notes == [
        "lb.yaml:6:5: note: http.routers.api: no request reaches this router: `all` (line 5) is tried before it and "
        "takes all that it would match",
        "lb.yaml:8:19: note: http.routers.never.rule: no request can match this rule: Host(`a.com`) and Host(`b.com`) "
        "exclude each other",
    ]
    assert "lb.yaml is valid" in said


def test_ten_thousand_routers_are_checked_in_seconds(tmp_path: Path) -> None:
    routers = "".join(
        f"    r{n}: {{rule: 'Host(`h{n}.com`) && PathPrefix(`/`)', service: app}}\n" for n in range(10_000)
    )
    code, said = checked(SERVED + routers, tmp_path)
    assert (code, "10000 routers" in said) == (0, True)
