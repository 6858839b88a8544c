"""One way to write a configuration: what `streamlb fmt` makes of a file.

What lives here: the usual spelling of keys and words, quotes of rules, order at the root, indentation, blank lines; and
the proof that nothing of it changes what the file means.
What must not: files, checks. Called by the command line. Specified by docs/reference.md (`streamlb fmt`).

Only what is to be changed is touched, by its position in the text, so comments and anchors stay where they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from streamlb.config import shape
from streamlb.config.kinds import fields_of, is_shape, keys_by_lower, kind_of, words_of
from streamlb.config.load import parse
from streamlb.config.model import Config, Router
from streamlb.config.outline import Unclear, outline
from streamlb.config.reading import Reading
from streamlb.config.tree import Mapping, Node, Scalar, Sequence, Source
from streamlb.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlb.config.outline import Item, Outline

STEP = 2  # spaces per level
COMMENT = re.compile(r"(\s+)(#.*)")
BLANK_RUN = re.compile(r"\n{3,}")


class Edit(NamedTuple):
    """A piece of a line to be written otherwise; line and columns are counted from 0."""

    line: int
    start: int
    end: int
    text: str


def format_source(source: Source) -> str:
    """The text of a file as it should be written. Raises ConfigError when that cannot be said, or done safely."""
    problems: list[Problem] = []
    trees = parse(source, problems)
    if problems:
        raise ConfigError(problems)
    text = "\n".join(source.lines)
    try:
        if _is_ours(trees):
            text = _respell(text, trees[0])
            text = _reorder(text)
        text = _tidy(_indent(text))
    except Unclear as error:
        reason = f"{error.reason}: this is not touched"
        raise ConfigError([source.problem(max(1, error.line), 1, "", reason)]) from None
    if _meaning(Source(source.name, text)) != _meaning(source):
        reason = "to format this would change what it means; the file is left as it is"
        raise ConfigError([source.problem(1, 1, "", reason)])
    return text


def _is_ours(trees: list[Node]) -> bool:
    """Whether this is a configuration, and not a document of Kubernetes or the like."""
    return len(trees) == 1 and isinstance(trees[0], Mapping) and not {"apiVersion", "kind"} <= trees[0].entries.keys()


# --- what it means -----------------------------------------------------------------------------------------------


def _meaning(source: Source) -> object:
    """What must stay: the configuration, what is wrong with it, and all the values in their order."""
    problems: list[Problem] = []
    trees = parse(source, problems)
    plain = [_plain(tree, {}) for tree in trees]
    if not _is_ours(trees):
        return plain, None, [problem.reason for problem in problems]
    reading = Reading()
    config = shape.read(trees[0], Config, reading)
    wrong = sorted((problem.path, problem.reason) for problem in reading.problems)
    return sorted(plain[0], key=repr), config, [problem.reason for problem in problems], _without_lines(wrong)


def _without_lines(wrong: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(path.lower(), re.sub(r"line \d+", "line", reason).lower()) for path, reason in wrong]


def _plain(node: Node, known: dict[int, Any]) -> Any:
    """A tree without positions and without upper case; mappings are lists of pairs, since their order counts."""
    if id(node) not in known:
        if isinstance(node, Mapping):
            known[id(node)] = [(key.lower(), _plain(entry.value, known)) for key, entry in node.entries.items()]
        elif isinstance(node, Sequence):
            known[id(node)] = tuple(_plain(item, known) for item in node.items)
        else:
            value = node.value
            known[id(node)] = value.lower() if isinstance(value, str) else (type(value).__name__, node.text)
    return known[id(node)]


# --- spelling ----------------------------------------------------------------------------------------------------


def _respell(text: str, root: Node) -> str:
    """Keys and words as the reference writes them, rules in double quotes where that needs no escapes."""
    lines = text.split("\n")
    edits: dict[tuple[int, int], Edit] = {}
    disputed = set()
    for edit in _spellings(root, Config, lines):
        place = (edit.line, edit.start)
        if edits.setdefault(place, edit) != edit:
            disputed.add(place)  # An alias that is used as two things.
    found = outline(text)
    for edit in sorted(edits.values(), reverse=True):
        if (edit.line, edit.start) in disputed:
            continue
        line = lines[edit.line]
        if line[edit.start : edit.end] == edit.text:
            continue
        comment = COMMENT.fullmatch(line, found.ends.get(edit.line, len(line)))
        changed = line[: edit.start] + edit.text + line[edit.end :]
        if comment:
            grown = len(changed) - len(line)
            body = changed[: comment.start() + grown]
            changed = body + " " * max(1, len(comment[1]) - grown) + comment[2]
            found.ends[edit.line] += grown
        lines[edit.line] = changed
    return "\n".join(lines)


def _spellings(root: Node, cls: Any, lines: list[str]) -> Iterator[Edit]:
    todo: list[tuple[Node, Any]] = [(root, cls)]
    seen = set()
    while todo:
        node, hint = todo.pop()
        kind = kind_of(hint)
        if (id(node), hint) in seen:
            continue
        seen.add((id(node), hint))
        if isinstance(node, Mapping) and is_shape(kind.base):
            hints = fields_of(kind.base)
            written = {name.lower() for name in node.entries}
            for name, entry in node.entries.items():
                key = keys_by_lower(kind.base).get(name.lower())
                if key is None or len(written) < len(node.entries):
                    continue
                yield from _respelt(entry.key, key, lines)
                if kind.base is Router and key == "rule" and isinstance(entry.value, Scalar):
                    yield from _quoted(entry.value, lines)
                todo.append((entry.value, hints[key]))
        elif isinstance(node, Mapping) and kind.base is dict:
            todo.extend((entry.value, kind.args[1]) for entry in node.entries.values())
        elif isinstance(node, Sequence) and kind.base is list:
            todo.extend((item, kind.args[0]) for item in node.items)
        elif isinstance(node, Scalar) and isinstance(node.value, str):
            words = [word for word in words_of(kind) if word.lower() == node.text.lower()]
            if words and words[0] != node.text:
                yield from _respelt(node, words[0], lines)


def _respelt(scalar: Scalar, word: str, lines: list[str]) -> Iterator[Edit]:
    raw = _raw(scalar, lines)
    if raw is not None and (raw in (scalar.text, f'"{scalar.text}"', f"'{scalar.text}'")):
        yield Edit(scalar.line - 1, scalar.column - 1, scalar.end_column - 1, word)


def _quoted(scalar: Scalar, lines: list[str]) -> Iterator[Edit]:
    raw, text = _raw(scalar, lines), scalar.text
    is_plain = raw is not None and (raw == text or raw[:1] == scalar.style != "")
    if not is_plain or not isinstance(scalar.value, str) or not text.isprintable():
        return
    if not {'"', "\\"} & set(text):
        yield Edit(scalar.line - 1, scalar.column - 1, scalar.end_column - 1, f'"{text}"')
    elif "'" not in text:
        yield Edit(scalar.line - 1, scalar.column - 1, scalar.end_column - 1, f"'{text}'")


def _raw(scalar: Scalar, lines: list[str]) -> str | None:
    """A scalar as it was written; None if it goes over several lines, or is an alias."""
    if scalar.end_line != scalar.line or scalar.style in ("|", ">"):
        return None
    return lines[scalar.line - 1][scalar.column - 1 : scalar.end_column - 1]


# --- order -------------------------------------------------------------------------------------------------------

_ORDER = {key.lower(): place for place, key in enumerate(fields_of(Config))}


def _reorder(text: str) -> str:
    """The keys at the root in the order of the reference, each with the comment above it."""
    found = outline(text)
    roots = [item for item in found.items if item.depth == 0]
    if not roots or found.documents or found.has_directives or any(item.is_dash or item.key == "<<" for item in roots):
        return text
    ranks = [_ORDER.get(item.key.lower(), len(_ORDER)) for item in roots]
    if ranks == sorted(ranks):
        return text
    lines = text.split("\n")
    starts = [_start(item, lines, found) for item in roots]
    if starts[0] == 0:
        starts[0] = roots[0].line  # A comment at the top of a file is about the file.
    head = "\n".join(lines[: starts[0]])
    blocks = [
        "\n".join(lines[start:end]).rstrip("\n") for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)
    ]
    ordered = [block for _, block in sorted(zip(ranks, blocks, strict=True), key=lambda pair: pair[0])]
    gap = "\n\n" if any(not lines[start - 1].strip() for start in starts[1:]) else "\n"
    moved = (f"{head}\n" if head or starts[0] else "") + gap.join(ordered) + "\n"
    return moved if _keeps_anchors(moved) else text


def _start(item: Item, lines: list[str], found: Outline) -> int:
    """The first line of the comment right above a key, or the key's own."""
    line = item.line
    while line and lines[line - 1].startswith("#") and line - 1 not in found.scalar_lines:
        line -= 1
    return line


def _keeps_anchors(text: str) -> bool:
    """Whether every alias still has its anchor above."""
    problems: list[Problem] = []
    parse(Source("", text), problems)
    return not problems


# --- indentation -------------------------------------------------------------------------------------------------


def _indent(text: str) -> str:
    """Every level two spaces deeper than the one around it, lists too; one space behind a dash."""
    found = outline(text)
    by_line: dict[int, list[Item]] = {}
    for item in found.items:
        by_line.setdefault(item.line, []).append(item)
    lines = text.split("\n")
    written: list[str] = []
    trail: list[Item] = []  # the last item and those around it, the outermost first
    coming = _coming(found.items, len(lines))
    for number, line in enumerate(lines):
        if number in by_line and number not in found.scalar_lines and number not in found.flow_lines:
            for item in by_line[number]:
                trail = [*(each for each in trail if each.depth < item.depth), item]
            goes_on = number + 1 in found.scalar_lines  # A space at the end may be a part of it.
            written.append(_item_line(line if goes_on else line.rstrip(), by_line[number]))
        elif number in found.scalar_lines or number in found.flow_lines:
            is_text = number in found.scalar_lines
            written.append(_shifted(line, _shift(trail[-1]) if trail else 0, keep_end=is_text))
        elif not line.strip():
            written.append("")
        else:
            written.append(_comment_line(line, trail, coming[number]))
    return "\n".join(written)


def _coming(items: list[Item], count: int) -> list[Item | None]:
    """For each line the next item from there on."""
    found: list[Item | None] = [None] * (count + 1)
    firsts = {item.line: item for item in reversed(items)}
    for number in range(count - 1, -1, -1):
        found[number] = firsts.get(number, found[number + 1])
    return found


def _shift(item: Item) -> int:
    return item.depth * STEP - item.column


def _item_line(line: str, items: list[Item]) -> str:
    body = line
    for item in reversed(items):
        if item.is_dash and item.next_column >= 0:
            body = body[: item.column + 1] + " " + body[item.next_column :]
    return " " * (items[0].depth * STEP) + body[items[0].column :]


def _shifted(line: str, shift: int, *, keep_end: bool) -> str:
    body = line.lstrip(" ")
    depth = len(line) - len(body)
    if not body:
        return " " * max(0, depth + shift) if keep_end else ""
    return " " * max(0, depth + shift) + (body if keep_end else body.rstrip())


def _comment_line(line: str, trail: list[Item], following: Item | None) -> str:
    """A comment goes with what stands in its column: what follows, or what it comes behind."""
    body = line.strip()
    if not body.startswith("#"):
        return line.rstrip()  # `---` and the like.
    column = len(line) - len(line.lstrip())
    if following is not None and following.column == column:
        return " " * (following.depth * STEP) + body
    around = [item for item in trail if item.column <= column]
    if not around:
        return " " * (following.depth * STEP if following is not None and column else column) + body
    return " " * max(0, column + _shift(around[-1])) + body


def _tidy(text: str) -> str:
    """One blank line at most between others (but inside a text), none at the ends, a line break behind the last."""
    found = outline(text)
    kept: list[str] = []
    for number, line in enumerate(text.split("\n")):
        if line or number in found.scalar_lines or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).rstrip("\n") + "\n"
