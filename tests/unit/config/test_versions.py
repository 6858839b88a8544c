"""Files read into versions: the same content is the same version, whatever was touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamlb.config.tree import text_of
from streamlb.config.versions import Shelf

if TYPE_CHECKING:
    from streamlb.config.versions import Version


class Disk:
    """Files in memory, and how often each was opened."""

    def __init__(self, **files: bytes) -> None:
        self.files = files
        self.shelf = Shelf({"X": "1"}, self.read)

    def read(self, path: str) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]

    def take(self, name: str = "a") -> Version:
        return self.shelf.take(name)


def test_the_same_content_is_the_same_version() -> None:
    disk = Disk(a=b"x: 1\n")
    first = disk.take()
    assert disk.take() is first
    disk.files["a"] = b"x: 2\n"
    second = disk.take()
    assert second is not first
    disk.files["a"] = b"x: 1\n"
    assert disk.take() is not second


def test_what_it_names_belongs_to_it() -> None:
    disk = Disk(a=b"${file:b}\n", b=b"one\n")
    first = disk.take()
    assert (text_of(first.documents[0]), set(first.named), first.secrets) == ("one", {"b"}, {"one"})
    assert disk.take() is first
    disk.files["b"] = b"two\n"
    second = disk.take()
    assert text_of(second.documents[0]) == "two"
    del disk.files["b"]
    third = disk.take()
    assert [problem.reason for problem in third.problems] == ["cannot read `b`: b"]
    assert disk.take() is third
    disk.files["b"] = b"three\n"
    assert text_of(disk.take().documents[0]) == "three"


def test_as_it_is() -> None:
    disk = Disk(a=b"${X}\n")
    assert text_of(disk.shelf.take("a", as_it_is=True).documents[0]) == "${X}"
    assert text_of(disk.take().documents[0]) == "1"


def test_what_is_no_text() -> None:
    disk = Disk(a=b"\xff", b=b"a: [\n", c=b"a: 1\na: 2\n")
    assert [len(disk.take(name).problems) for name in "abc"] == [1, 1, 1]
    with pytest.raises(OSError, match="gone"):
        disk.take("gone")


@pytest.mark.parametrize(
    ("text", "is_hollow"),
    [
        (b"", True),
        (b"# x\n", True),
        (b"---\n", True),
        (b"{}\n", True),
        (b"http:\n", True),
        (b"http:\ntcp:\n", True),
        (b"http: {}\n", False),
        (b"http: {routers: {}}\n", False),
        (b"---\n---\na: 1\n", False),
        (b"[]\n", False),
    ],
)
def test_what_says_nothing(text: bytes, is_hollow: bool) -> None:
    assert Disk(a=text).take().is_hollow is is_hollow


def test_what_nobody_asks_for_is_forgotten() -> None:
    disk = Disk(a=b"1\n", b=b"2\n")
    first, second = disk.take("a"), disk.take("b")
    disk.shelf.keep_only({"a"})
    assert disk.take("a") is first
    assert disk.take("b") is not second
