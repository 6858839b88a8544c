"""Where keys, dashes and scalars stand."""

from __future__ import annotations

import pytest

from streamlb.config.outline import Unclear, outline


def items(text: str) -> list[tuple[int, int, int, str]]:
    return [(item.line, item.column, item.depth, item.key) for item in outline(text).items]


def test_keys_and_dashes_with_their_depth() -> None:
    assert items("a:\n- b: 1\n  c: 2\n-   - 3\nd:\n    e: 4\n") == [
        (0, 0, 0, "a"),
        (1, 0, 1, ""),
        (1, 2, 2, "b"),
        (2, 2, 2, "c"),
        (3, 0, 1, ""),
        (3, 4, 2, ""),
        (4, 0, 0, "d"),
        (5, 4, 1, "e"),
    ]


def test_what_stands_behind_a_dash() -> None:
    found = outline("-   a\n-\n  b\n- - c\n").items
    assert [item.next_column for item in found] == [4, -1, 2, 4]


def test_flow_collections_are_no_items() -> None:
    found = outline("a: {b: 1,\n  c: [2,\n 3]}\n")
    assert [item.key for item in found.items] == ["a"]
    assert found.flow_lines == {1, 2}


def test_lines_of_scalars() -> None:
    assert outline("a: |\n  x\n\n  y\nb: 'c\n  d'\ne: f\n").scalar_lines == {1, 2, 3, 5}


def test_documents_and_directives() -> None:
    found = outline("%YAML 1.2\n---\na: 1\n")
    assert (found.documents, found.has_directives) == (1, True)


@pytest.mark.parametrize("text", ["? a\n: b\n", "? - a\n: b\n", "[a]: b\n", "{a: b}: c\n"])
def test_keys_that_are_no_words(text: str) -> None:
    with pytest.raises(Unclear):
        outline(text)


def test_anchored_keys() -> None:
    assert items("&a b: 1\n*a : 2\n") == [(0, 0, 0, "b"), (1, 0, 0, "")]
