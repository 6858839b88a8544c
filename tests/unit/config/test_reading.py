"""Where problems are put, and that none is reported twice."""

from __future__ import annotations

import pytest

from streamlb.config.reading import Place, Reading, join
from streamlb.config.tree import Mapping
from tests.unit.config.asking import line_of, tree_of


def reading_of(text: str) -> Reading:
    """A reading that knows the root and its keys."""
    root = tree_of(text)
    assert isinstance(root, Mapping)
    reading = Reading()
    reading.places[()] = Place("", None, root)
    for name, entry in root.entries.items():
        reading.places[(name,)] = Place(name, entry.key, entry.value)
    return reading


def test_labels() -> None:
    assert join("", "http") == "http"
    assert join("http", "routers") == "http.routers"
    assert join("servers", 0) == "servers[0]"


def test_a_problem_marks_the_value_or_the_key() -> None:
    reading = reading_of("a: 1\nb: 2\nc: {d: 1}\n")
    reading.error(("a",), "one")
    reading.error(("b",), "two", at_key=True)
    reading.error(("c",), "three")
    assert [line_of(problem) for problem in reading.problems] == [
        "1:4 a | one | ",
        "2:1 b | two | ",
        "3:1 c | three | ",
    ]


def test_what_was_not_written_is_reported_at_what_is_around_it() -> None:
    reading = reading_of("a: {}\n")
    reading.error(("a", "x", 0, "y"), "missing")
    reading.note(("z",), "nowhere")
    assert line_of(reading.problems[0]) == "1:1 a.x[0].y | missing | "
    assert line_of(reading.notes[0]) == "1:1 z | nowhere | "


def test_one_problem_per_path_and_none_below_it() -> None:
    reading = reading_of("a: 1\nb: 2\n")
    for path in [("a",), ("a",), ("a", "x"), ("b",)]:
        reading.error(path, "wrong")
    assert [problem.path for problem in reading.problems] == ["a", "b"]
    assert reading.is_broken(("a", "deep", 1))
    assert not reading.is_broken(("c",))


def test_places() -> None:
    reading = reading_of("a: 1\nb: 2\n")
    assert reading.has(("b",))
    assert not reading.has(("b", "c"))
    assert reading.line_of(("b",), ()) == "line 2"
    assert reading.line_of(("b", "c"), ()) == "line 2"
    assert reading.line_of((), ()) == "line 1"
    assert reading.node(("c",)) is None
    with pytest.raises(KeyError):
        Reading().place(("a",))
