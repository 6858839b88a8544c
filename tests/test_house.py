"""The rules of the house, so that nobody has to remember them.

What lives here: who may import whom, what the pure rooms must not touch, how long a file may be, which names are
banned, and that every pure module has its test. The reasons are in docs/architecture.md.
"""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "streamlb"
MODULES = sorted(SOURCE.rglob("*.py"))
TEST_MODULES = sorted((ROOT / "tests").rglob("*.py"))

ANNOTATIONS_ONLY = "TYPE_CHECKING"

RANKS = {
    "errors": 0,
    "config": 1,
    "routing": 1,
    "balance": 1,
    "wire": 1,
    "net": 1,
    "session": 2,
    "runtime": 4,
    "observe": 5,
    "admin": 6,
    "proxy": 6,
    "health": 6,
    "process": 7,
    "convert": 7,
    "cli": 8,
    "__main__": 9,
}

MODEL = {"config.model", "config.static", "config.tls", "config.observation", "config.quantities"}

MAY_IMPORT = {
    "errors": set(),
    "config": {"errors"},
    "routing": {"errors"},
    "balance": {"errors"},
    "wire": {"errors"},
    "net": {"errors"},
    "session": {"errors", "wire"},
    "runtime": {"errors", *MODEL, "routing", "balance", "wire.cookies"},
    "observe": {"errors", *MODEL, "runtime"},
    "proxy": {"errors", "net", "session", "runtime", "balance", "routing", "wire", "observe"},
    "health": {
        "errors",
        *MODEL,
        "config.health",
        "net",
        "routing.pattern",
        "runtime",
        "balance",
        "wire",
        "observe",
    },
    "admin": {"errors"},
    "convert": {"errors", "routing.pattern"},
    "whoami": set(),
}
"""Rooms not named here may import every room of a lower rank. Type annotations are held to ranks only."""

PURE = ("config", "routing", "balance", "wire", "session", "runtime", "convert")
IMPURE = {"asyncio", "logging", "random", "secrets", "select", "selectors", "signal", "socket", "ssl", "subprocess",
          "threading", "time", "uvloop"}  # fmt: skip
READS_FILES = {"config/load.py"}

ONLY_IN = {
    "h11": re.compile(r"wire/http1\w*\.py|whoami/\w+\.py"),
    "yaml": re.compile(r"config/(load|outline)\.py"),
    "click": re.compile(r"cli/\w+\.py"),
    "cryptography": re.compile(r"process/certificates\.py"),
    "prometheus_client": re.compile(r"admin/metrics\.py"),
    "starlette": re.compile(r"admin/\w+\.py"),
    "uvicorn": re.compile(r"admin/server\.py"),
    "uvloop": re.compile(r"process/\w+\.py|whoami/\w+\.py"),
    "pydantic": re.compile(r"config/\w+\.py"),
    "re2": re.compile(r"routing/pattern\.py"),
}

MAX_LINES = 600
BANNED_NAMES = re.compile(r"backend|frontend|manager|handler|helper|util|common", re.IGNORECASE)
FOREIGN_NAMES = {"set_exception_handler", "add_signal_handler", "remove_signal_handler"}
WORDS_OF_THE_CONFIGURATION = re.compile(r"common|CommonFormatter")
"""`common` is the name of a log format in Traefik's configuration."""

CHARACTERS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]")
GROUP_KEPT = re.compile(r"\)(?:[*+?]|\{[0-9,]*\})\+")
"""A group repeated without going back, as in `(?:a)*+`: the `re` of Python 3.11.2 (Debian 12) keeps what a failed round
has read, so such a pattern takes what it must not."""

OUTSIDE = re.compile(r"house\.md|/work/|/tmp/brief|\bissues? #?\d+|\bprototypes?\b", re.IGNORECASE)
"""Code speaks for itself: nothing in the tree refers to what is not in the tree."""


def place(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def room(path: Path) -> str:
    return place(path).partition("/")[0].removesuffix(".py")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(path: Path, *, annotations: bool) -> list[str]:
    """Every module imported, as `package.module` or `package.module.name`; those for annotations are left out or in."""
    found: list[str] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == ANNOTATIONS_ONLY:
            for statement in [*(node.body if annotations else []), *node.orelse]:
                visit(statement)
            return
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.extend(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree(path))
    return found


def ours(path: Path, *, annotations: bool) -> list[str]:
    """What a module imports of streamlb, without the `streamlb.`."""
    found = [name.removeprefix("streamlb.") for name in imports(path, annotations=annotations) if "streamlb" in name]
    return [name for name in found if name.partition(".")[0] in RANKS or name.partition(".")[0] == "whoami"]


def permits(allowed: set[str], name: str) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in allowed)


each_module = pytest.mark.parametrize("path", MODULES, ids=place)


@each_module
def test_who_may_import_whom(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        assert not ours(path, annotations=True)
        return
    for name in ours(path, annotations=False):
        there = name.partition(".")[0]
        if there == here:
            continue
        if here in MAY_IMPORT:
            assert permits(MAY_IMPORT[here], name), f"{place(path)} may not import {name}"
        else:
            assert there == "whoami" or RANKS[there] < RANKS[here], f"{place(path)} may not import {name}"
        assert there != "whoami" or here == "cli", f"{place(path)}: whoami is no part of the proxy"


@each_module
def test_annotations_look_down_the_ranks_too(path: Path) -> None:
    here = room(path)
    for name in ours(path, annotations=True):
        there = name.partition(".")[0]
        if there not in (here, "whoami") and here in RANKS:
            assert RANKS[there] < RANKS[here], f"{place(path)} annotates with {name}"


@each_module
def test_pure_rooms_have_no_loop_socket_clock_chance_or_log(path: Path) -> None:
    if room(path) not in PURE:
        return
    touched = {name.partition(".")[0] for name in imports(path, annotations=False)} & IMPURE
    assert not touched, f"{place(path)} imports {touched}"
    if place(path) in READS_FILES:
        return
    calls = {
        node.func.id for node in ast.walk(tree(path)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert "open" not in calls, f"{place(path)} opens files"


@each_module
def test_libraries_stay_where_they_belong(path: Path) -> None:
    for name in imports(path, annotations=False):
        library = name.partition(".")[0]
        if library in ONLY_IN:
            assert ONLY_IN[library].fullmatch(place(path)), f"{place(path)} imports {library}"


@each_module
def test_a_file_says_what_lives_in_it_and_is_not_too_long(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(tree(path)), f"{place(path)} has no docstring"
    assert text.count("\n") <= MAX_LINES, f"{place(path)} has more than {MAX_LINES} lines: a redesign"


@each_module
def test_every_class_that_others_see_says_what_it_is(path: Path) -> None:
    for node in tree(path).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            fields_only = all(isinstance(each, ast.AnnAssign | ast.Assign) for each in node.body)
            assert ast.get_docstring(node) or fields_only, f"{place(path)}: {node.name} has no docstring"


@each_module
def test_names_are_the_lexicon_s(path: Path) -> None:
    for node in ast.walk(tree(path)):
        name, line = "", getattr(node, "lineno", 0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr
        banned = BANNED_NAMES.search(WORDS_OF_THE_CONFIGURATION.sub("", name))
        if banned and name not in FOREIGN_NAMES:
            raise AssertionError(f"{place(path)}:{line}: the name {name} says nothing; see docs/lexicon.md")
    assert not BANNED_NAMES.search(place(path))


@each_module
def test_every_pure_module_has_its_test(path: Path) -> None:
    if room(path) not in PURE or path.name == "__init__.py":
        return
    test = ROOT / "tests" / "unit" / room(path) / f"test_{path.name}"
    assert test.is_file(), f"{place(path)} has no {test.relative_to(ROOT)}"


@pytest.mark.parametrize("path", TEST_MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_tests_are_documented_and_found(path: Path) -> None:
    if path.name == "__init__.py":
        return
    assert ast.get_docstring(tree(path)), "what does this file test?"
    assert (path.parent / "__init__.py").is_file(), f"{path.parent} has no __init__.py"
    if path.name.startswith("test_"):
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        names = [node.name for node in ast.walk(tree(path)) if isinstance(node, functions)]
        assert any(name.startswith("test") for name in names), "a test file without a test"


def test_the_tree_speaks_of_nothing_outside_it() -> None:
    for path in tracked():
        if path == Path(__file__) or path.suffix in (".png", ".ico"):
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            found = OUTSIDE.search(line)
            assert not found, f"{path.relative_to(ROOT)}:{number}: {found and found[0]!r} is not in the repository"


def tracked() -> list[Path]:
    """The files of the repository; without git, the sources."""
    try:
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=30).stdout.decode()
    except (OSError, subprocess.SubprocessError):
        return [*MODULES, *TEST_MODULES]
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


@each_module
def test_no_pattern_needs_a_newer_re(path: Path) -> None:
    for line in path.read_text().splitlines():
        if re.search(r"\brb?[\"']", line):
            assert not GROUP_KEPT.search(CHARACTERS.sub("x", line)), line


def test_the_rule_about_patterns_finds_what_it_is_for() -> None:
    assert GROUP_KEPT.search(CHARACTERS.sub("x", r"(?:/[a-z]*+)++"))
    assert not GROUP_KEPT.search(CHARACTERS.sub("x", r"(?:/[a-z()*+]*+)+"))


WALL_CLOCK = re.compile(r"\btime\.time(?:_ns)?\(|\bdatetime\.(?:now|utcnow|today)\(|CLOCK_REALTIME")


@each_module
def test_where_bytes_move_only_the_monotonic_clock_counts(path: Path) -> None:
    """A clock that is set must not end anybody's connection; the time of day is for logs and certificates."""
    if room(path) in ("net", "proxy", *PURE):
        assert not WALL_CLOCK.search(path.read_text())
