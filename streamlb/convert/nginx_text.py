"""nginx's configuration language: text to directives.

What lives here: words, quotes, blocks, comments, the output of `nginx -T` taken apart
into its files, and includes within it.
What must not: what directives mean (`nginx.py`). Specified by nginx's "Beginner's
Guide" and the core module's `include`.
"""

from __future__ import annotations

import fnmatch
import os.path
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlb.convert.draft import ConvertError

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = re.compile(r"^# configuration file (.+):$", re.MULTILINE)
TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)|(?P<comment>\#[^\n]*)|(?P<end>;)|(?P<open>\{)|(?P<close>\})
    |"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'
    |(?P<word>(?:\\.|\$\{[^}]*\}|[^\s;{}\\])+)""",
    re.VERBOSE | re.DOTALL,
)
ESCAPE = re.compile(r"\\([\"' \\;{}])")
MAX_DEPTH = 20
WORDS = {
    "listen": 1,
    "location": 1,
    "upstream": 1,
    "split_clients": 2,
    "map": 2,
    "proxy_pass": 1,
    "proxy_set_header": 2,
    "mirror": 1,
    "ssl_certificate": 1,
    "ssl_certificate_key": 1,
    "ssl_verify_client": 1,
    "ssl_client_certificate": 1,
    "keepalive_requests": 1,
    "set_real_ip_from": 1,
    "return": 1,
}
"""How many words directives need that are looked at."""


@dataclass(slots=True, eq=False)
class Directive:
    """A directive with its words and, of a block, what is inside.

    place: `12`, or `file:12` out of several files. used: whether it has a part in the result. reason: why not.
    """

    name: str
    args: list[str]
    place: str
    inside: list[Directive] | None = None
    around: Directive | None = None
    used: bool = False
    reason: str = ""

    @property
    def text(self) -> str:
        """It, in one line."""
        return " ".join([self.name, *(_shown(arg) for arg in self.args)]) + (" {" if self.inside is not None else ";")

    @property
    def line(self) -> int:
        """Its line, counted from 1."""
        return int(self.place.rpartition(":")[2].removeprefix("line "))

    def all(self, *names: str) -> list[Directive]:
        """The directives inside that are called so."""
        return [each for each in self.inside or [] if each.name in names]

    def first(self, name: str) -> Directive | None:
        """The one inside that is called so, or None."""
        return next(iter(self.all(name)), None)

    def inherited(self, name: str) -> list[Directive]:
        """Those of the innermost block around it, itself included, that has any."""
        here: Directive | None = self
        while here is not None:
            if found := here.all(name):
                return found
            here = here.around
        return []

    def walk(self) -> Iterator[Directive]:
        """It and all inside, from top to bottom."""
        yield self
        for each in self.inside or []:
            yield from each.walk()


def _shown(word: str) -> str:
    return f'"{word}"' if not word or re.search(r"[\s;{}\"']", word) else word


@dataclass(slots=True)
class _Files:
    """What `nginx -T` prints: the files by path; with a single one the path is empty."""

    texts: dict[str, tuple[str, int]]
    main: str
    trail: list[str] = field(default_factory=list)


def parse(text: str) -> Directive:
    """The directives of a file, or of what `nginx -T` prints, below one without a name. Raises ConvertError."""
    marks = list(FILE.finditer(text))
    files = _Files({"": (text, 1)}, "")
    if marks:
        ends = [*(mark.start() for mark in marks[1:]), len(text)]
        found = {mark[1]: (text[mark.end() + 1 : end], 1) for mark, end in zip(marks, ends, strict=True)}
        files = _Files(found, marks[0][1])
    root = Directive("", [], "", [], used=True)
    _read(root, files.main, files)
    return root


def _read(into: Directive, path: str, files: _Files) -> None:
    if path in files.trail or len(files.trail) > MAX_DEPTH:
        raise ConvertError(1, f"{path} includes itself")
    files.trail.append(path)
    text, line = files.texts[path]
    here, start = into, line
    words: list[str] = []
    for kind, word, number in _tokens(text, line):
        if kind in ("word", "single", "double"):
            start = start if words else number
            words.append(word)
        elif kind == "end":
            if words:
                _add(here, Directive(words[0], words[1:], _place(path, start), around=here), files)
            words = []
        elif kind == "open":
            if not words:
                raise ConvertError(number, "a `{` without a name")
            block = Directive(words[0], words[1:], _place(path, start), [], around=here)
            assert here.inside is not None
            here.inside.append(block)
            _count(block)
            here, words = block, []
        elif words or here is into or here.around is None:
            raise ConvertError(number, "a `;` is missing before this `}`" if words else "a `}` too many")
        else:
            here = here.around
    if words or here is not into:
        raise ConvertError(line + text.count("\n"), "the file ends in the middle of something")
    files.trail.pop()


def _place(path: str, line: int) -> str:
    return f"{path}:{line}" if path else f"line {line}"


def _add(here: Directive, directive: Directive, files: _Files) -> None:
    assert here.inside is not None
    here.inside.append(directive)
    _count(directive)
    if directive.name != "include" or not directive.args:
        return
    wanted = os.path.join(os.path.dirname(files.main), directive.args[0])
    found = sorted(path for path in files.texts if path and fnmatch.fnmatchcase(path, wanted))
    for path in found:
        _read(here, path, files)
    directive.used = bool(found)
    directive.reason = "other files are not read: convert what `nginx -T` prints"
    if files.main:
        directive.reason = "no such file was printed"


def _count(directive: Directive) -> None:
    least = WORDS.get(directive.name, 0)
    if directive.name == "server" and directive.inside is None:
        least = 1
    elif directive.name == "location" and directive.args[:1] in (["="], ["~"], ["~*"], ["^~"]):
        least = 2
    if len(directive.args) < least:
        raise ConvertError(directive.line, f"`{directive.name}` says too little")


def _tokens(text: str, line: int) -> Iterator[tuple[str, str, int]]:
    at = 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            raise ConvertError(line, "a quote that does not end")
        kind = found.lastgroup or ""
        if kind not in ("space", "comment"):
            yield kind, ESCAPE.sub(r"\1", found[kind]) if kind in ("single", "double") else found[kind], line
        line += found[0].count("\n")
        at = found.end()
