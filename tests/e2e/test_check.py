"""`streamlb check` as a user starts it: every mistake at once, each at its place; text, JSON, exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BAD = """\
entryPoints:
  web:
    address: ":8080"
  admin:
    address: "127.0.0.1:8080"
  ssh:
    address: 22:22
htpp:
  routers: {}
http:
  routers:
    web:
      rule: "Host(`a.example`) && PathPrefx(`/x`)"
      service: ap
      entryPoints: [wbe]
    web:
      service: app
    bare:
      rule: "Path(`/`)"
      middlewares: [auth]
  services:
    app:
      loadBalancer:
        servers:
          - url: "http://127.0.0.1:8081"
            weight: -1
        sticky:
          cookie:
            httpOnly: on
    a: {weighted: {services: [{name: b}]}}
    b: {mirroring: {service: a, mirrors: [{name: app, percent: 150}]}}
tcp:
  routers:
    db: {rule: "HostSNI(`*`)", service: db}
  services:
    db: {loadBalancer: {servers: [{address: db}], sticky: {}}}
"""

# line, path, what is marked, part of the reason, suggestion
MISTAKES = [
    (5, "entryPoints.admin.address", '"127.0.0.1:8080"', "is part of `:8080`, used by entry point `web` in line 2", ""),
    (7, "entryPoints.ssh.address", "22:22", "`22` is not an IPv4 address", "write `:22`"),
    (8, "htpp", "htpp", "unknown key", "did you mean `http`?"),
    (13, "http.routers.web.rule", "PathPrefx", "PathPrefx", "did you mean `PathPrefix`?"),
    (14, "http.routers.web.service", "ap", "unknown service `ap`", "did you mean `app`?"),
    (15, "http.routers.web.entryPoints[0]", "wbe", "unknown entry point `wbe`", "did you mean `web`?"),
    (16, "http.routers.web", "web", "given twice; the first is in line 12", "remove one of the two"),
    (18, "http.routers.bare.service", "bare", "`service` is missing", ""),
    (20, "http.routers.bare.middlewares", "middlewares", "not supported by streamlb yet", ""),
    (26, "http.services.app.loadBalancer.servers[0].weight", "-1", "expected a whole number", ""),
    (29, "http.services.app.loadBalancer.sticky.cookie.httpOnly", "on", "`true` or `false`", "did you mean `true`?"),
    (31, "http.services.b.mirroring.service", "a", "cycle: `a` -> `b` -> `a`", "one of them must end in servers"),
    (31, "http.services.b.mirroring.mirrors[0].percent", "150", "from 0 to 100", ""),
    (36, "tcp.services.db.loadBalancer.servers[0].address", "db", "the port is missing", "write `db:80`"),
    (36, "tcp.services.db.loadBalancer.sticky", "sticky", "HTTP only", ""),
]

GOOD = """\
entryPoints: {web: {address: ":8080"}}
http:
  routers: {r: {rule: "Path(`/`)", service: s}}
  services: {s: {loadBalancer: {servers: []}}}
"""


def check(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "streamlb", "check", *map(str, arguments)]
    environment = {**os.environ, **(env or {})}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=30, check=False
    )


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    return path


def test_json_lists_every_mistake_at_its_place(bad: Path) -> None:
    done = check(bad, "--format", "json")
    assert (done.returncode, done.stderr) == (1, "")
    problems = json.loads(done.stdout)
    found = [(problem["line"], problem["path"]) for problem in problems]
    assert found == [(line, path) for line, path, *_ in MISTAKES]
    source = BAD.split("\n")
    for problem, (line, _, marked, reason, suggestion) in zip(problems, MISTAKES, strict=True):
        start = problem["column"] - 1
        assert source[line - 1][start : start + problem["width"]] == marked
        assert problem["excerpt"] == source[line - 1]
        assert problem["file"] == str(bad)
        assert reason in problem["reason"]
        assert problem["suggestion"] == suggestion
        assert problem["severity"] == "error"


def test_text_shows_each_with_excerpt_and_caret(bad: Path) -> None:
    done = check(bad)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[-1] == f"{len(MISTAKES)} errors"
    at = lines.index(f"{bad}:14:16: error: http.routers.web.service: unknown service `ap`")
    assert lines[at + 1 : at + 3] == [" 14 |       service: ap", "    |                ^^ did you mean `app`?"]
    for line, path, *_ in MISTAKES:
        assert any(text.startswith(f"{bad}:{line}:") and f" {path}: " in text for text in lines)
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_valid_file(tmp_path: Path, form: str) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD.replace("[]", "[{url: 'http://127.0.0.1:8081'}]"))
    done = check(path, "--format", form)
    expected = "[]" if form == "json" else f"{path} is valid: 1 entry point, 1 router, 1 service, 1 server"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected + "\n", "")


def test_what_is_allowed_but_hardly_meant_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    done = check(path)
    assert done.returncode == 0
    assert f"{path}:4:18: note: http.services.s.loadBalancer: the load balancer has no servers" in done.stdout
    assert done.stdout.splitlines()[-1] == f"{path} is valid: 1 entry point, 1 router, 1 service, 0 servers"


def test_strict_is_not_happy_with_notes(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    assert check("--strict", path).returncode == 3
    assert check("--strict", ROOT / "conf" / "lb.yaml").returncode == 0
    path.write_text("entryPoints: 5\n")
    assert check("--strict", path).returncode == 1


def test_validate_is_check() -> None:
    conf = str(ROOT / "conf" / "lb.yaml")
    command = [sys.executable, "-m", "streamlb", "validate", conf]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30)
    assert (done.returncode, done.stdout) == (0, check(conf).stdout)


def test_names_are_looked_up_if_one_wants(tmp_path: Path) -> None:
    path = tmp_path / "names.yaml"
    servers = '[{url: "http://localhost:1"}, {url: "http://nowhere.invalid:1"}, {url: "http://127.0.0.1:1"}]'
    path.write_text(GOOD.replace("servers: []", f"servers: {servers}"))
    assert "no address" not in check(path).stdout
    done = check("--resolve", "--strict", path)
    assert done.returncode == 3
    assert "note: http.services.s.loadBalancer.servers[1].url: `nowhere.invalid` has no address here: " in done.stdout
    assert done.stdout.count("no address") == 1


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "gone.yaml"
    done = check(path)
    expected = f"{path}:1:1: error: cannot read the file: No such file or directory\n1 error\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, expected, "")
    expected = f"{tmp_path}:1:1: error: there is no YAML file in the directory\n  names end in `.yaml` or `.yml`\n"
    assert check(tmp_path).stdout == expected + "1 error\n"


def test_several_files_and_directories(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    main, more = tmp_path / "lb.yaml", tmp_path / "conf.d" / "shop.yaml"
    main.write_text('entryPoints: {web: {address: ":8080"}}\n')
    more.write_text("http: {routers: {shop: {rule: 'Host(`a`)', service: shop}}}\n")
    done = check(main, more.parent)
    assert done.returncode == 1
    assert f"{more}:1:53: error: http.routers.shop.service: unknown service `shop`" in done.stdout
    main.write_text('entryPoints: {more: {address: ":8081"}}\n')
    more.write_text(GOOD)
    done = check(main, more.parent)
    summary = "2 entry points, 1 router, 1 service, 0 servers"
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"{main}, {more.parent} is valid: {summary}")


@pytest.mark.parametrize("arguments", [[], ["--format", "xml", "a.yaml"], ["--colour", "a.yaml"]])
def test_wrong_usage(arguments: list[str]) -> None:
    done = check(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Usage: " in done.stderr


ODD = ["a: [", "rule: `x`", "\t", "{" * 100_000, "&a [*a]", "a: \x07", "- ", "!x", "entryPoints: 5", "80", "\ufeff"]


@pytest.mark.parametrize("text", ODD)
def test_never_a_traceback(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text, encoding="utf-8")
    done = check(path)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].endswith(("1 error", "errors"))
    assert done.stderr == ""


def test_a_rule_without_quotes_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "rule.yaml"
    services = "  services: {app: {loadBalancer: {servers: [{url: 'http://127.0.0.1:1'}]}}}\n"
    routers = "  routers:\n    r:\n      rule: !Host(`a`) && Pth(`/x`)\n      service: ap\n"
    path.write_text('entryPoints: {web: {address: ":80"}}\nhttp:\n' + services + routers)
    assert check(path).stdout == (
        f"{path}:6:13: error: a rule that begins with `!` must be quoted\n"
        " 6 |       rule: !Host(`a`) && Pth(`/x`)\n"
        '   |             ^ quote the rule: rule: "Host(`example.com`)"\n'
        f"{path}:6:27: error: http.routers.r.rule: unknown matcher `Pth`\n"
        " 6 |       rule: !Host(`a`) && Pth(`/x`)\n"
        "   |                           ^^^ did you mean `Path`?\n"
        f"{path}:7:16: error: http.routers.r.service: unknown service `ap`\n"
        " 7 |       service: ap\n"
        "   |                ^^ did you mean `app`?\n"
        "3 errors\n"
    )


def test_output_in_a_plain_locale(tmp_path: Path) -> None:
    path = tmp_path / "wide.yaml"
    path.write_text("entryPoints: {中文: {adress: ':80'}}\n", encoding="utf-8")
    done = check(path, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 1
    assert "unknown key `adress`" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(("env", "coloured"), [({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_on_a_terminal_only(bad: Path, env: dict[str, str], coloured: bool) -> None:
    command = [sys.executable, "-m", "streamlb", "check", str(bad)]
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "TERM": "xterm", **env}, stdout=theirs) as child:
        os.close(theirs)
        output = b""
        with contextlib.suppress(OSError):  # EIO is how a terminal says that the other side has gone.
            while chunk := os.read(ours, 65536):
                output += chunk
        os.close(ours)
    assert child.returncode == 1
    assert b"15 errors" in output
    assert (b"\x1b[31m" in output) is coloured
