"""YAML's syntax errors in words that say what to write instead.

What lives here: the known traps (a rule without quotes, tabs, a missing space behind a colon) and their explanations.
What must not: YAML parsing itself. Called by `load.py` with what the parser complained about.
Specified by YAML 1.2, sections 5.3 (indicator characters) and 6.1 (indentation).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlb.config.tree import Source

GLUED = re.compile(r"\s*(?:- )?\s*([A-Za-z][A-Za-z0-9_.-]*):([^\s:/][^\s]*|:\d+\S*)\s*$")
"""`key:value`: a colon with no space behind it; `http://...` is not one."""

QUOTE = 'quote it: "..."'
QUOTE_RULE = """quote the rule: rule: "Host(`example.com`)" """.strip()


@dataclass(frozen=True, slots=True)
class Complaint:
    """What the YAML parser said; line and column are counted from 0, `since_*` is where the construct began."""

    text: str
    line: int
    column: int
    context: str = ""
    since_line: int = 0
    since_column: int = 0


@dataclass(frozen=True, slots=True)
class Explanation:
    """The same for people; line and column are counted from 1.

    lacks_quotes: all would be well if the value there had quotes around it.
    """

    line: int
    column: int
    reason: str
    suggestion: str = ""
    lacks_quotes: bool = False


@dataclass(frozen=True, slots=True)
class Bare:
    """A value that lacks its quotes; line and column are counted from 1.

    skipped: characters in front of the value proper, backticks that were meant as quotes.
    """

    line: int
    column: int
    value: str
    skipped: int = 0


BARE = re.compile(
    r"(?P<head> *(?:- +)*(?:(?P<key>[^\s:'\"{}\[\],#&*!|>%@`]+): +)?)(?P<value>[^\s'\"|>{\[#].*?)(?: +#.*)? *"
)
"""A list item, a key with its value, or both, alone on a line."""


def bare_value(found: Explanation, source: Source) -> Bare | None:
    """The value that should have had quotes, when it is certain where it begins and ends: it is the last thing of its
    line, in block style, and no line below goes on with it."""
    text = source.line(found.line)
    match = BARE.fullmatch(text) if found.lacks_quotes else None
    if match is None or not match["head"].strip() or not match.start("value") < found.column <= match.end("value"):
        return None
    indent = match.start("key") if match["key"] else len(match["head"])
    for number in range(found.line + 1, len(source.lines) + 1):
        below = source.line(number)
        if below.strip():
            if len(below) - len(below.lstrip(" ")) > indent:
                return None
            break
    value = match["value"]
    if len(value) > 2 and value[0] == value[-1] == "`":
        return Bare(found.line, match.start("value") + 1, value[1:-1], 1)
    return Bare(found.line, match.start("value") + 1, value)


def explain(complaint: Complaint, source: Source) -> Explanation:
    """Say what is wrong and what to write, in the words of the trap if it is a known one."""
    for trap in (_tab, _unquoted, _glued_colon, _open_quote, _open_bracket, _second_colon, _indentation):
        found = trap(complaint, source)
        if found:
            return found
    text = complaint.text or complaint.context or "the text cannot be read"
    return Explanation(complaint.line + 1, complaint.column + 1, f"not valid YAML: {text}")


def _tab(complaint: Complaint, source: Source) -> Explanation | None:
    for number in (complaint.line, complaint.line - 1):
        text = source.line(number + 1)
        indent = text[: len(text) - len(text.lstrip())]
        if "\t" in indent:
            return Explanation(
                number + 1,
                indent.index("\t") + 1,
                "a tab is used for indentation; YAML takes spaces only",
                "indent with spaces, two a level",
            )
    return None


def _unquoted(complaint: Complaint, source: Source) -> Explanation | None:
    """A value that begins with a character YAML keeps for itself."""
    line, column = complaint.line, complaint.column
    if "scanning a tag" in complaint.context or "scanning an a" in complaint.context:  # an anchor, an alias
        line, column = complaint.since_line, complaint.since_column
    elif "cannot start any token" not in complaint.text:
        return None
    text = source.line(line + 1)
    sign = text[column : column + 1]
    before = text[:column].rstrip()
    if before[-1:] in ('"', "'"):
        quote = before[-1]
        other = "'" if quote == '"' else '"'
        return Explanation(
            line + 1,
            column + 1,
            f"text goes on behind the closing quote {quote}",
            f"quote the whole value once; use {other} or backticks inside",
        )
    if not sign:
        return None
    return Explanation(line + 1, column + 1, *_sign_words(text, column, sign), lacks_quotes=True)


def _sign_words(text: str, column: int, sign: str) -> tuple[str, str]:
    if re.search(r"[{,]\s*(?:rule|match)\s*:[^\"'{}]*,\s*$", text[:column], re.IGNORECASE):
        return "a rule with a comma must be quoted inside `{...}`", QUOTE_RULE
    is_rule = re.search(r"(?:rule|match)\s*:\s*$", text[:column], re.IGNORECASE)
    what = "a rule" if is_rule else "a value"
    shown = "a backtick" if sign == "`" else f"`{sign}`"
    return f"{what} that begins with {shown} must be quoted", QUOTE_RULE if is_rule else QUOTE


def _glued_colon(complaint: Complaint, source: Source) -> Explanation | None:
    if "mapping values are not allowed" not in complaint.text and "could not find expected" not in complaint.text:
        return None
    for number in (complaint.line, complaint.line - 1, complaint.since_line):
        glued = GLUED.match(source.line(number + 1))
        if glued:
            return Explanation(
                number + 1,
                glued.start(2),
                "a space is missing behind the colon",
                f"{glued[1]}: {glued[2]}",
            )
    return None


def _open_quote(complaint: Complaint, source: Source) -> Explanation | None:
    if "quoted scalar" not in complaint.context:
        return None
    line, column = complaint.since_line + 1, complaint.since_column + 1
    if "end of stream" in complaint.text or "document" in complaint.text:
        return Explanation(line, column, "this quote is never closed", "add the closing quote")
    if "escape" in complaint.text:
        return Explanation(
            complaint.line + 1,
            complaint.column + 1,
            'this backslash is no escape that YAML knows inside "..."',
            "write \\\\ or use single quotes",
        )
    return None


def _open_bracket(complaint: Complaint, source: Source) -> Explanation | None:
    if "flow" not in complaint.context:
        return None
    bare = _bare_reference(source.line(complaint.line + 1))
    if bare >= 0:
        reason = "a value with `${...}` must be quoted inside `{...}` and `[...]`"
        return Explanation(complaint.line + 1, bare + 1, reason, QUOTE)
    if "flow node" in complaint.context:
        reason = "a value is missing here, or a `[` or `{` above is not closed"
        return Explanation(complaint.line + 1, complaint.column + 1, reason)
    sign = "]" if "sequence" in complaint.context else "}"
    opening = "[" if sign == "]" else "{"
    return Explanation(
        complaint.since_line + 1,
        complaint.since_column + 1,
        f"this `{opening}` is not closed where it should be (see line {complaint.line + 1})",
        f"separate items with `, ` and close with `{sign}`",
    )


def _bare_reference(text: str) -> int:
    """Where in a line a `${` stands inside brackets and no quotes; -1 if nowhere."""
    for match in re.finditer(r"\$\{", text):
        before = text[: match.start()]
        is_quoted = before.count('"') % 2 or before.count("'") % 2
        if not is_quoted and re.search(r"[{\[]", before.replace("${", "")):
            return match.start()
    return -1


def _second_colon(complaint: Complaint, source: Source) -> Explanation | None:
    if "mapping values are not allowed" not in complaint.text:
        return None
    line, column = complaint.line + 1, complaint.column + 1
    before = source.line(line)[: complaint.column]
    if re.match(r"\s*(?:- )?\s*[^\s:]+:\s+\S", before):
        return Explanation(line, column, "a value that holds `: ` must be quoted", QUOTE, lacks_quotes=True)
    return Explanation(
        line,
        column,
        "a key is not expected here: the line above already has a value, or the indentation is off",
        "give keys of the same mapping the same indentation",
    )


def _indentation(complaint: Complaint, source: Source) -> Explanation | None:
    if "did not find expected" not in complaint.text and "expected <block end>" not in complaint.text:
        return None
    if "could not find expected ':'" in complaint.text or "block" not in complaint.context:
        return None
    line, column = complaint.line + 1, complaint.column + 1
    if source.line(line)[column - 1 : column] == ":":
        return Explanation(line, column, "a key is missing in front of the colon")
    kind = "list" if "collection" in complaint.context or "sequence" in complaint.context else "mapping"
    began = complaint.since_line + 1
    return Explanation(
        line,
        column,
        f"this does not belong to the {kind} that began in line {began}: the indentation is off or a quote is missing",
        "give all its keys and items the same indentation",
    )
