"""YAML text to trees with positions, by the rules of YAML 1.2 where PyYAML still follows 1.1.

What lives here: reading files, the resolver (`on`, `22:22` and dates are text), duplicate keys, aliases, merge keys.
What must not: the meaning of keys. The only module of this room that reads files and the only one that imports yaml.
Called by `check.py` and `kubernetes.py`. Specified by YAML 1.2.2, sections 3.2.1 and 10.3 (core schema).
"""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, Any

import yaml

from streamlb.config.traps import QUOTE, QUOTE_RULE, Bare, Complaint, Explanation, bare_value, explain
from streamlb.config.tree import Entry, Mapping, Node, Scalar, Sequence, Source, duplicate, problem_at
from streamlb.errors import ConfigError, Position, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_FILE_SIZE = 16 * 1024 * 1024  # bytes; 50,000 routers fit
MAX_DEPTH = 64  # nested lists and mappings; the deepest sensible configuration has about 10
MAX_MENDED = 100  # values without their quotes, after which the rest of the file is not read
MAX_MENDED_TEXT = 8 * 1024 * 1024  # characters read again because of them
MAX_NODES = 1_000_000  # per file, aliases counted as if written out: what an alias bomb runs into
MANIFEST_ENDINGS = (".yaml", ".yml", ".json")

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")

# YAML 1.2.2, section 10.3.2. Digits are limited so that no number is too big to be one.
INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
OCTAL = re.compile(r"0o[0-7]{1,20}")
HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,15}")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,3})?")
WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
CORE = "tag:yaml.org,2002:"


def read_source(path: str) -> Source:
    """Read a file. Raises ConfigError with one problem when it cannot be read or is no text."""
    try:
        raw = read_bytes(path)
    except OSError as error:
        raise _refused(path, f"cannot read the file: {error.strerror or error}") from None
    return decode(path, raw)


def read_bytes(path: str) -> bytes:
    """A file's bytes, not more than one beyond the limit. Raises OSError."""
    if "\0" in path:
        raise OSError(errno.EINVAL, "a path cannot hold a NUL")
    with open(path, "rb") as file:
        return file.read(MAX_FILE_SIZE + 1)


def find_files(path: str) -> list[str]:
    """The file itself, or the YAML files directly inside a directory by name. Raises OSError."""
    if "\0" in path or not os.path.isdir(path):
        return [path]
    names = sorted(name for name in os.listdir(path) if name.endswith(MANIFEST_ENDINGS) and not name.startswith("."))
    return [os.path.join(path, name) for name in names]


def decode(name: str, raw: bytes) -> Source:
    """Check size and encoding. Raises ConfigError."""
    if len(raw) > MAX_FILE_SIZE:
        raise _refused(name, f"the file is bigger than {MAX_FILE_SIZE // (1024 * 1024)} MiB")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8")
        source = Source(name, before)
        last = len(source.lines)
        problem = source.problem(last, len(source.line(last)) + 1, "", "the file is not UTF-8 text")
        raise ConfigError([problem]) from None
    bad = NOT_TEXT.search(text)
    if bad:
        lines = Source("", text[: bad.start()]).lines
        reason = f"the character U+{ord(bad[0]):04X} is not allowed in YAML"
        problem = Source(name, text).problem(len(lines), len(lines[-1]) + 1, "", reason)
        raise ConfigError([problem])
    return Source(name, text)


def parse(source: Source, problems: list[Problem]) -> list[Node]:
    """The documents of a file. Duplicate keys and the like are added to `problems`; after a syntax error
    the documents before it are returned, but for a value that only lacks its quotes: that is read as if it had them.
    """
    bare: dict[tuple[int, int], Bare] = {}
    text = source.text
    while True:
        builder = _Builder(source, [], bare)
        found = _read(text, builder)
        if found is None:
            break
        problems.append(source.problem(found.line, found.column, "", found.reason, found.suggestion))
        value = bare_value(found, source)
        place = (value.line, value.column) if value else (0, 0)
        if value is None or place in bare or len(bare) >= MAX_MENDED or len(text) * len(bare) > MAX_MENDED_TEXT:
            break
        bare[place] = value
        text = _quoted(source, bare.values())
    problems.extend(builder.problems)
    return builder.documents


def _read(text: str, builder: _Builder) -> Explanation | None:
    """Feed a text to the builder; what stopped it, if it was not the builder itself."""
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.feed(event)
    except _TooMuch:
        pass
    except yaml.MarkedYAMLError as error:
        return _explanation(builder.source, error)
    except yaml.YAMLError as error:
        return Explanation(1, 1, f"not valid YAML: {getattr(error, 'reason', error)}")
    return None


def _quoted(source: Source, bare: Iterable[Bare]) -> str:
    """The text with quotes around these values. Nothing else moves: each is the last thing of its line."""
    lines = source.lines.copy()
    for each in bare:
        inner = each.value.replace("'", "''")
        lines[each.line - 1] = f"{lines[each.line - 1][: each.column - 1]}'{inner}'"
    return "\n".join(lines)


def _refused(name: str, reason: str) -> ConfigError:
    return ConfigError([Problem(Position(name, 1, 1), "", reason)])


def _explanation(source: Source, error: yaml.MarkedYAMLError) -> Explanation:
    mark = error.problem_mark or error.context_mark
    since = error.context_mark or mark
    complaint = Complaint(
        error.problem or "",
        mark.line if mark else 0,
        mark.column if mark else 0,
        error.context or "",
        since.line if since else 0,
        since.column if since else 0,
    )
    return explain(complaint, source)


class _TooMuch(Exception):
    """A limit was hit; the problem is already noted."""


class _Open:
    """A list or mapping that is being read. `size` counts its nodes, `height` its deepest nesting."""

    __slots__ = ("anchor", "height", "key", "merges", "node", "size")

    def __init__(self, node: Mapping | Sequence, anchor: str | None) -> None:
        self.node = node
        self.anchor = anchor
        self.key: Scalar | None = None
        self.merges: list[Node] = []
        self.size = 1
        self.height = 1


class _Builder:
    """Trees from parser events; without recursion, so that depth is ours to limit."""

    def __init__(self, source: Source, problems: list[Problem], bare: dict[tuple[int, int], Bare]) -> None:
        self.source = source
        self.problems = problems
        self.bare = bare  # by line and column: values that were given the quotes they lack
        self.documents: list[Node] = []
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Node, int, int]] = {}  # node, size, height

    def feed(self, event: Any) -> None:
        if isinstance(event, yaml.ScalarEvent):
            scalar = self._scalar(event)
            self._finish(scalar, event.anchor, 1, 0)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            closed = self.stack.pop()
            if isinstance(closed.node, Mapping):
                self._merge(closed)
            self._finish(closed.node, closed.anchor, closed.size, closed.height)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.anchors.clear()

    # --- nodes -----------------------------------------------------------------------------------------------

    def _open(self, event: Any) -> None:
        mark = event.start_mark
        kind = Mapping if isinstance(event, yaml.MappingStartEvent) else Sequence
        node = kind(self.source, mark.line + 1, mark.column + 1)
        wanted = CORE + ("map" if kind is Mapping else "seq")
        if event.tag and event.tag not in (wanted, "!"):
            self._refuse_tag(node, event.tag)
        if len(self.stack) >= MAX_DEPTH:
            self._stop(node, f"lists and mappings are nested deeper than {MAX_DEPTH} levels")
        self.stack.append(_Open(node, event.anchor))

    def _scalar(self, event: Any) -> Scalar:
        start, end = event.start_mark, event.end_mark
        bare = self.bare.get((start.line + 1, start.column + 1))
        if bare is not None:
            column = bare.column + bare.skipped
            behind = column + len(bare.value)
            return Scalar(self.source, bare.line, column, bare.value, bare.value, end_line=bare.line, end_column=behind)
        style = event.style or ""
        scalar = Scalar(
            self.source,
            start.line + 1,
            start.column + 1,
            text=event.value,
            style=style,
            end_line=end.line + 1,
            end_column=end.column + 1,
        )
        if event.tag and event.tag != "!":
            scalar.tagged = event.tag.removeprefix(CORE)
            scalar.value = self._tagged(scalar, event.tag)
        elif style or event.tag == "!":
            scalar.tagged = event.tag or ""
            scalar.value = scalar.text
        else:
            scalar.value = resolve(scalar.text)
        if not scalar.text.isascii() and any("\ud800" <= char <= "\udfff" for char in scalar.text):
            self.problems.append(problem_at(scalar, "", "half a surrogate pair is no character"))
            scalar.text = ""
        return scalar

    def _tagged(self, scalar: Scalar, tag: str) -> str | int | float | bool | None:
        kind = tag.removeprefix(CORE)
        if tag.startswith(CORE) and kind in ("str", "int", "float", "bool", "null"):
            return scalar.text if kind == "str" else resolve(scalar.text)
        self._refuse_tag(scalar, tag)
        return scalar.text

    def _refuse_tag(self, node: Node, tag: str) -> None:
        written = "!" + tag[1:] if tag.startswith("!") else tag
        is_rule = "(" in tag or (self.stack and self.stack[-1].key and self.stack[-1].key.text == "rule")
        reason = f"the tag `{written}` means nothing here; a text that begins with `!` must be quoted"
        self.problems.append(problem_at(node, "", reason, QUOTE_RULE if is_rule else QUOTE))

    def _alias(self, event: Any) -> None:
        mark = event.start_mark
        here = Scalar(self.source, mark.line + 1, mark.column + 1)
        here.end_line, here.end_column = event.end_mark.line + 1, event.end_mark.column + 1
        known = self.anchors.get(event.anchor)
        if known:
            node, size, height = known
            if len(self.stack) + height > MAX_DEPTH:
                self._stop(here, f"lists and mappings are nested deeper than {MAX_DEPTH} levels")
            self._finish(node, None, size, height)
            return
        if any(frame.anchor == event.anchor for frame in self.stack):
            self._stop(here, f"the alias `*{event.anchor}` stands inside what it stands for")
        reason = f"there is no anchor `&{event.anchor}` above for the alias `*{event.anchor}`"
        self.problems.append(problem_at(here, "", reason, f"if you mean text, {QUOTE}"))
        self._finish(here, None, 1, 0)

    # --- putting them together -------------------------------------------------------------------------------

    def _finish(self, node: Node, anchor: str | None, size: int, height: int) -> None:
        if anchor:
            self.anchors[anchor] = (node, size, height)
        if not self.stack:
            self.documents.append(node)
            return
        parent = self.stack[-1]
        parent.size += size
        parent.height = max(parent.height, height + 1)
        if parent.size > MAX_NODES:
            self._stop(node, f"the file holds more than {MAX_NODES} values once its aliases are written out")
        if isinstance(parent.node, Sequence):
            parent.node.items.append(node)
        elif parent.key is None:
            parent.key = self._key(node)
        else:
            self._add(parent, parent.key, node)
            parent.key = None

    def _key(self, node: Node) -> Scalar:
        if isinstance(node, Scalar) and node.text:
            return node
        reason = "a key is missing" if isinstance(node, Scalar) else "a key must be a single word or text"
        self.problems.append(problem_at(node, "", reason))
        return Scalar(self.source, node.line, node.column, end_line=node.line, end_column=node.column)

    def _add(self, parent: _Open, key: Scalar, value: Node) -> None:
        assert isinstance(parent.node, Mapping)
        if not key.text:
            return
        if key.text == "<<" and not key.style:
            parent.merges.append(value)
            return
        entries = parent.node.entries
        first = entries.get(key.text)
        if first:
            path = ".".join(frame.key.text for frame in self.stack if frame.key)
            self.problems.append(duplicate(key, first.key, path))
            return
        entries[key.text] = Entry(key, value)

    def _merge(self, closed: _Open) -> None:
        """`<<`: keys of other mappings for those not given here; among several mappings the first wins."""
        assert isinstance(closed.node, Mapping)
        for value in closed.merges:
            for other in value.items if isinstance(value, Sequence) else [value]:
                if not isinstance(other, Mapping):
                    self.problems.append(problem_at(other, "", "`<<` takes a mapping or a list of mappings"))
                    continue
                for key, entry in other.entries.items():
                    closed.node.entries.setdefault(key, entry)

    def _stop(self, node: Node, reason: str) -> None:
        self.problems.append(problem_at(node, "", reason))
        raise _TooMuch


def resolve(text: str) -> str | int | float | bool | None:
    """What a plain scalar means by the core schema: null, true/false, a number, or else text."""
    if text in WORDS:
        return WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if INTEGER.fullmatch(text):
        return int(text)
    if OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if HEXADECIMAL.fullmatch(text):
        return int(text[2:], 16)
    if FLOAT.fullmatch(text):
        return float(text)
    return text
