"""HAProxy's configuration language: text to sections of lines.

What lives here: words, quotes, sections, what a section has from its `defaults`. What must not: what lines mean
(`haproxy.py`). Specified by chapter 2 of HAProxy's Configuration Manual.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from streamlb.convert.draft import ConvertError

SECTIONS = {
    "global": 0, "defaults": 0, "frontend": 1, "backend": 1, "listen": 1, "peers": 1, "resolvers": 1, "userlist": 1,
    "mailers": 1, "program": 1, "http-errors": 1, "ring": 1, "cache": 1, "fcgi-app": 1, "log-forward": 1,
    "crt-store": 0, "traces": 0,
}  # fmt: skip
"""With how many words behind them."""

WORD = re.compile(
    r"""(?P<space>[ \t]+)|(?P<comment>\#.*)
    |(?P<word>(?:\\.|'[^']*'|"(?:[^"\\]|\\.)*"|[^\s#'"\\])+)""",
    re.VERBOSE,
)
PART = re.compile(r"""\\x([0-9a-fA-F]{2})|\\(.)|'([^']*)'|"((?:[^"\\]|\\.)*)\"|([^\\'"]+)""", re.VERBOSE)
TIME = re.compile(r"([0-9]{1,12})(us|ms|s|m|h|d)?")
UNITS = {"us": 1e-6, "ms": 1e-3, "": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(slots=True, eq=False)
class Line:
    """A line: its keyword and its words. used: whether it has a part in the result. reason: why not."""

    number: int
    words: list[str]
    text: str
    used: bool = False
    reason: str = ""

    @property
    def place(self) -> str:
        return f"line {self.number}"

    @property
    def rest(self) -> list[str]:
        """The words behind the keyword."""
        return self.words[1:]

    def word(self, at: int) -> str:
        """A word by its number. Raises ConvertError when the line is too short."""
        if at >= len(self.words):
            raise ConvertError(self.number, f"`{self.words[0]}` says too little")
        return self.words[at]


@dataclass(slots=True, eq=False)
class Section:
    """A section: `kind` such as `global`, `name`, its lines, and the `defaults` it goes by."""

    kind: str
    name: str
    head: Line
    lines: list[Line] = field(default_factory=list)
    defaults: Section | None = None

    def all(self, *keywords: str) -> list[Line]:
        """Its own lines that begin with these words, each of them one word or several: `timeout client`."""
        return [line for line in self.lines if any(_begins(line, keyword) for keyword in keywords)]

    def inherited(self, *keywords: str) -> list[Line]:
        """Its own lines, else those of its defaults."""
        found = self.all(*keywords)
        return found or (self.defaults.inherited(*keywords) if self.defaults is not None else [])

    def last(self, *keywords: str) -> Line | None:
        """The one that counts of those that may be given again."""
        return next(reversed(self.inherited(*keywords)), None)

    @property
    def mode(self) -> str:
        line = self.last("mode")
        if line is None:
            return "tcp"
        line.used = True
        return line.word(1)


def _begins(line: Line, keyword: str) -> bool:
    words = keyword.split()
    return line.words[: len(words)] == words


def parse(text: str) -> list[Section]:
    """The sections of a file. Raises ConvertError."""
    sections: list[Section] = []
    defaults: Section | None = None
    named: dict[str, Section] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        words = _words(raw, number)
        if not words:
            continue
        line = Line(number, words, " ".join(raw.split()))
        if words[0] in SECTIONS:
            if len(words) <= SECTIONS[words[0]]:
                raise ConvertError(number, f"`{words[0]}` lacks its name")
            section = Section(words[0], words[1] if len(words) > 1 else "", line)
            if "from" in words[2:] and words[-1] in named:
                section.defaults = named[words[-1]]
            elif section.kind != "defaults":
                section.defaults = defaults
            if section.kind == "defaults":
                defaults = section
                named[section.name] = section
            sections.append(section)
        elif not sections:
            raise ConvertError(number, f"`{words[0]}` is no section: `global`, `frontend` and the like come first")
        else:
            sections[-1].lines.append(line)
    return sections


def _words(raw: str, number: int) -> list[str]:
    words: list[str] = []
    at = 0
    while at < len(raw):
        found = WORD.match(raw, at)
        if found is None:
            raise ConvertError(number, "a quote that does not end")
        if found.lastgroup == "word":
            words.append("".join(_plain(part) for part in PART.finditer(found[0])))
        at = found.end()
    return words


def _plain(part: re.Match[str]) -> str:
    if part[1]:
        return chr(int(part[1], 16))
    if part[4] is not None:
        return re.sub(r"\\([\\\"$])", r"\1", part[4])
    return next((each for each in (part[2], part[3], part[5]) if each is not None), "")


def seconds(text: str, line: Line) -> float:
    """A time; without a unit it is milliseconds. Raises ConvertError."""
    found = TIME.fullmatch(text)
    if not found:
        raise ConvertError(line.number, f"`{text}` is no time")
    return float(int(found[1]) * UNITS[found[2] or ""])


def whole(text: str, line: Line) -> int:
    """A whole number. Raises ConvertError."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ConvertError(line.number, f"`{text}` is no whole number")
    return int(text)
