"""YAML to trees: the resolver, duplicates, aliases, merges, limits, and files that are no text."""

from __future__ import annotations

import math
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlb.config import load
from streamlb.config.load import MAX_DEPTH, MAX_FILE_SIZE, MAX_MENDED, decode, find_files, parse, read_source, resolve
from streamlb.config.tree import Mapping, Node, Scalar, Sequence, Source
from streamlb.errors import ConfigError, Problem
from tests.unit.config.asking import line_of, tree_of

if TYPE_CHECKING:
    from pathlib import Path


def plain(node: Node) -> Any:
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Mapping):
        return {key: plain(entry.value) for key, entry in node.entries.items()}
    return [plain(item) for item in node.items]


def complaints(text: str) -> list[str]:
    problems: list[Problem] = []
    parse(Source("x.yaml", dedent(text)), problems)
    return [line_of(problem) for problem in problems]


@pytest.fixture(params=["C", "Python"])
def _either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "Python":
        monkeypatch.setattr(load, "_LOADER", yaml.SafeLoader)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("22:22", "22:22"),
        ("10:53", "10:53"),
        ("on", "on"),
        ("No", "No"),
        ("yes", "yes"),
        ("2026-11-23", "2026-11-23"),
        ("0777", 777),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("-7", -7),
        ("+7", 7),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1e999", math.inf),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("null", None),
        ("~", None),
        ("", None),
        ("=", "="),
        ("<<", "<<"),
        ("-", "-"),
        (".", "."),
        ("9" * 5000, "9" * 5000),
        ("1.2.3.4", "1.2.3.4"),
    ],
)
def test_resolver_follows_yaml_1_2(text: str, value: object) -> None:
    found = resolve(text)
    assert found == value
    assert type(found) is type(value)


def test_nan_is_a_number() -> None:
    assert math.isnan(resolve(".nan"))  # type: ignore[arg-type]


@given(st.text(max_size=30))
def test_resolver_takes_any_text(text: str) -> None:
    assert isinstance(resolve(text), str | int | float | bool | None)


@pytest.mark.usefixtures("_either_parser")
def test_tree_and_positions() -> None:
    node = tree_of("a:\n  - 'x'\n  - {b: 1}\nc: \"22:22\"\n80: on\n")
    assert plain(node) == {"a": ["x", {"b": 1}], "c": "22:22", "80": "on"}
    assert isinstance(node, Mapping)
    key, value = node.entries["c"].key, node.entries["c"].value
    assert (key.line, key.column, key.width) == (4, 1, 1)
    assert (value.line, value.column, value.width) == (4, 4, 7)


@pytest.mark.usefixtures("_either_parser")
def test_anchors_aliases_and_merge_keys() -> None:
    node = tree_of("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [{y: 4}, *a]}\nd: *a\ne: {'<<': 5}\n")
    assert plain(node) == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": {"x": 1, "y": 4},
        "d": {"x": 1, "y": 2},
        "e": {"<<": 5},
    }


@pytest.mark.usefixtures("_either_parser")
@pytest.mark.parametrize("text", ["a: !!str 5\n", "a: ! 5\n"])
def test_the_core_tags_are_understood(text: str) -> None:
    assert plain(tree_of(text)) == {"a": "5"}


def test_documents_and_empty_documents() -> None:
    problems: list[Problem] = []
    documents = parse(Source("x", "a: 1\n---\n---\nb: 2\n"), problems)
    assert [plain(node) for node in documents] == [{"a": 1}, None, {"b": 2}]
    assert parse(Source("x", "# nothing\n"), problems) == []
    assert not problems


@pytest.mark.usefixtures("_either_parser")
@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "a:\n  b: 1\n  c: 2\n  b: 3\n",
            "4:3 a.b | the key `b` is given twice; the first is in line 2 | remove one of the two",
        ),
        (
            "a: *x\n",
            '1:4  | there is no anchor `&x` above for the alias `*x` | if you mean text, quote it: "..."',
        ),
        ("a: &x [*x]\n", "1:8  | the alias `*x` stands inside what it stands for | "),
        ("a: {<<: 5}\n", "1:9  | `<<` takes a mapping or a list of mappings | "),
        ("[a]: b\n", "1:1  | a key must be a single word or text | "),
        ("{'': b}\n", "1:2  | a key is missing | "),
        (
            "rule: !Host x\n",
            "1:7  | the tag `!Host` means nothing here; a text that begins with `!` must be quoted | "
            'quote the rule: rule: "Host(`example.com`)"',
        ),
        (
            "a: !!binary eA==\n",
            "1:4  | the tag `tag:yaml.org,2002:binary` means nothing here; "
            'a text that begins with `!` must be quoted | quote it: "..."',
        ),
    ],
)
def test_what_a_tree_cannot_hold(text: str, line: str) -> None:
    assert complaints(text) == [line]


def test_all_duplicates_are_named_and_the_first_wins() -> None:
    problems: list[Problem] = []
    [node] = parse(Source("x", "a: 1\na: 2\na: 3\nb: {c: 1, c: 2}\n"), problems)
    assert [problem.position.line for problem in problems] == [2, 3, 4]
    assert plain(node) == {"a": 1, "b": {"c": 1}}


def test_depth_is_bounded() -> None:
    assert not complaints("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    for text in ("[" * 100_000, "- " * 100_000, "{a: " * 50_000, "? " * 50_000):
        assert "nested deeper than" in complaints(text)[0]


def test_depth_through_aliases_is_bounded() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 200)]
    assert "nested deeper than" in complaints("\n".join(lines))[0]


def test_an_alias_bomb_is_defused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert "more than 1000000 values" in complaints("\n".join(lines))[0]


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"a: \xff\n", "1:4  | the file is not UTF-8 text | "),
        (b"a: 1\nb: \x00\n", "2:4  | the character U+0000 is not allowed in YAML | "),
        (b"a: \x1b[31m\n", "1:4  | the character U+001B is not allowed in YAML | "),
        ("中: \x07\n".encode(), "1:4  | the character U+0007 is not allowed in YAML | "),
        (b"#" * (MAX_FILE_SIZE + 1), "1:1  | the file is bigger than 16 MiB | "),
    ],
)
def test_files_that_are_no_text(raw: bytes, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode("x.yaml", raw)
    assert [line_of(problem) for problem in caught.value.problems] == [line]


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert decode("x", b"\xef\xbb\xbfa: 1\n").text == "a: 1\n"


def test_half_a_surrogate_pair_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_LOADER", yaml.SafeLoader)
    assert complaints('a: "\\ud800"\n') == ["1:4  | half a surrogate pair is no character | "]


@pytest.mark.parametrize("name", ["gone.yaml", "", "a\0b"])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"
    with pytest.raises(ConfigError) as caught:
        read_source(path)
    [problem] = caught.value.problems
    assert problem.position.file == path
    assert problem.reason.startswith("cannot read the file: ")


def test_the_files_of_a_directory_by_name(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", "c.json", ".d.yaml", "e.txt"):
        (tmp_path / name).touch()
    (tmp_path / "sub.d").mkdir()
    assert [path.rpartition("/")[2] for path in find_files(str(tmp_path))] == ["a.yaml", "b.yml", "c.json"]
    assert find_files("gone.yaml") == ["gone.yaml"]


SCRAPS = st.sampled_from(
    [
        *"[]{}'\"`|>#%@\\",
        "a",
        "1",
        "b: ",
        "- ",
        "\n",
        "  ",
        ", ",
        ": ",
        "? ",
        "\t",
        "&x ",
        "*x",
        "<<: ",
        "!t ",
        "---\n",
        "...\n",
        "中",
        "\x85",
    ]
)


@settings(max_examples=300)
@given(st.lists(SCRAPS, max_size=25).map("".join))
def test_any_text_is_a_tree_or_a_problem(text: str) -> None:
    problems: list[Problem] = []
    documents = parse(Source("x", text), problems)
    for problem in problems:
        assert problem.reason
        assert problem.position.line >= 1
        assert problem.position.column >= 1
    for node in documents:
        plain(node)


# --- values without their quotes ---------------------------------------------------------------------------------


def read_all(text: str) -> tuple[list[Node], list[str]]:
    problems: list[Problem] = []
    return parse(Source("x.yaml", text), problems), [line_of(problem) for problem in problems]


def test_reading_goes_on_behind_a_value_without_quotes() -> None:
    text = """\
a: @x  # not text
b: [1, 2]
c:
  - !Host(`a`) && Path(`/it's: b`)
  - `Host(`b`)`
  - d: 1: 2
    d: 3
    e: "y"
"""
    [document], lines = read_all(text)
    assert plain(document) == {
        "a": "@x",
        "b": [1, 2],
        "c": ["!Host(`a`) && Path(`/it's: b`)", "Host(`b`)", {"d": "1: 2", "e": "y"}],
    }
    assert [line.split(" ")[0] for line in lines] == ["1:4", "4:5", "5:5", "6:9", "7:5"]
    assert isinstance(document, Mapping)
    value = document.entries["c"].value
    assert isinstance(value, Sequence)
    rule = value.items[1]
    assert isinstance(rule, Scalar)
    assert (rule.line, rule.column, rule.end_column, rule.width, rule.spot(5)) == (5, 6, 15, 9, (5, 11))


@pytest.mark.parametrize("text", ["a: @x\n  y\nb: 1\n", "a: {b: @x}\nc: 1\n", "a: 1\n@x\n"])
def test_where_its_end_is_not_certain_reading_ends(text: str) -> None:
    documents, lines = read_all(text)
    assert documents == []
    assert len(lines) == 1


def test_reading_again_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"k{number}: @x\n" for number in range(MAX_MENDED + 2))
    documents, lines = read_all(text)
    assert (documents, len(lines)) == ([], MAX_MENDED + 1)
    monkeypatch.setattr(load, "MAX_MENDED_TEXT", 40)
    assert len(read_all("a: @x\nb: @x\nc: @x\nd: @x\ne: 1234567890\n")[1]) == 3


BARE_VALUES = st.text("@`%!&*:# '\"[]{}ab,-?|>\\é", min_size=1, max_size=12).map(str.strip).filter(bool)


@given(st.lists(BARE_VALUES, min_size=1, max_size=4))
def test_any_values_are_read_or_refused(values: list[str]) -> None:
    text = "".join(f"k{number}: {value}\n" for number, value in enumerate(values)) + "last: 1\n"
    documents, lines = read_all(text)
    assert documents or lines
    bare = {int(line.partition(":")[0]) for line in lines if "| a value that " in line}
    for document in documents:
        assert isinstance(document, Mapping)
        for value in (entry.value for entry in document.entries.values()):
            if isinstance(value, Scalar) and value.line in bare:
                written = text.split("\n")[value.line - 1]
                assert written[value.column - 1 : value.end_column - 1] == value.text == value.value
