"""The rule language: text to a tree and back.

What lives here: the grammar (`&&`, `||`, `!`, parentheses, matchers with quoted values), the tree, `parse`, `render`.
What must not: what a matcher means (`matchers.py`) or which values it takes (`vocabulary.py`).
Called by `router.py` and, through the command line, by the configuration check. Specified by Traefik's reference
page on rules and priority, and the Go specification on string literals.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from streamlb.errors import StreamlbError
from streamlb.routing import vocabulary

MAX_LENGTH = 65_536
"""Characters in a rule."""
MAX_DEPTH = 64
"""Parentheses and `!` around a matcher. A named limit, so that no rule can exhaust the stack."""


class RuleError(StreamlbError):
    """A rule that cannot be used.

    column: where in the rule, counted in characters from 0. width: how many characters are wrong.
    suggestion: what to write instead; empty when there is no good guess.
    """

    def __init__(self, message: str, column: int, suggestion: str = "", width: int = 1) -> None:
        self.message = message
        self.column = column
        self.suggestion = suggestion
        self.width = width
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition: `name` in its canonical spelling; `column` is where it stood and no part of its meaning.

    Octets that are not UTF-8 (`"\\xff"`) are kept in `values` as surrogates; see `octets`.
    """

    name: str
    values: tuple[str, ...]
    column: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    operand: Rule


@dataclass(frozen=True, slots=True)
class And:
    """At least two operands, all of which must match."""

    operands: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least two operands, one of which must match."""

    operands: tuple[Rule, ...]


Rule = Matcher | Not | And | Or


def octets(value: str) -> bytes:
    """A matcher's value as it is compared with what is on the wire."""
    return value.encode("utf-8", "surrogateescape")


def parse(text: str, protocol: str = "http", syntax: str = "v3") -> Rule:
    """The tree of a rule for an `http` or `tcp` router; raises RuleError.

    With syntax `v2` the tree has Traefik 2's matchers, which `v2.py` turns into those of today.
    """
    if len(text) > MAX_LENGTH:
        raise RuleError(f"the rule is longer than {MAX_LENGTH} characters", MAX_LENGTH)
    return _Parser(text, protocol, syntax).parse()


def render(rule: Rule) -> str:
    """A text that parses to `rule`."""
    match rule:
        case Matcher(name, values):
            return f"{name}({', '.join(_quote(value) for value in values)})"
        case Not(operand):
            return f"!{_render_operand(operand)}"
        case And(operands):
            return " && ".join(_render_operand(operand) for operand in operands)
        case Or(operands):
            # `&&` binds tighter, so it needs no parentheses here.
            return " || ".join(render(o) if isinstance(o, And) else _render_operand(o) for o in operands)


def _render_operand(rule: Rule) -> str:
    return render(rule) if isinstance(rule, Matcher | Not) else f"({render(rule)})"


def _quote(value: str) -> str:
    if "`" not in value and "\r" not in value and not any("\ud800" <= c <= "\udfff" for c in value):
        return f"`{value}`"
    return '"' + "".join(_ESCAPED.get(c, c) if c < "\ud800" or c > "\udfff" else _escape(c) for c in value) + '"'


_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"}


def _escape(surrogate: str) -> str:
    return f"\\x{ord(surrogate) - 0xDC00:02x}"


# --- reading -----------------------------------------------------------------------------------------------------

_BLANK = " \t\r\n"
_BLANKS = re.compile(f"[{_BLANK}]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BARE_VALUE = re.compile(r"[^\s,()`\"&|!]+")
_SIMPLE_ESCAPE = {
    "a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, '"': 34,
}  # fmt: skip
_NUMBER_ESCAPE = re.compile(
    r"x(?P<hex>[0-9A-Fa-f]{2})|u(?P<short>[0-9A-Fa-f]{4})|U(?P<long>[0-9A-Fa-f]{8})|(?P<octal>[0-7]{3})"
)
_CONJUNCTIONS = {"and": "&&", "or": "||", "not": "!"}


class _Parser:
    """A descent over the text; `_at` is the place of the next character to read."""

    __slots__ = ("_at", "_depth", "_protocol", "_syntax", "_text")

    def __init__(self, text: str, protocol: str, syntax: str) -> None:
        self._text = text
        self._protocol = protocol
        self._syntax = syntax
        self._at = 0
        self._depth = 0

    def parse(self) -> Rule:
        for column, character in enumerate(self._text):
            if "\ud800" <= character <= "\udfff":
                raise RuleError("the rule is not valid Unicode", column)
        self._skip_blanks()
        if self._at == len(self._text):
            raise RuleError("the rule is empty", 0, "write for example Host(`example.com`)")
        rule = self._read_or()
        if self._at < len(self._text):
            raise self._unexpected("expected `&&`, `||` or the end of the rule")
        return rule

    # Reading leaves `_at` behind the blanks that follow.

    def _read_or(self) -> Rule:
        operands = [self._read_and()]
        while self._take("||"):
            operands.append(self._read_and())
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def _read_and(self) -> Rule:
        operands = [self._read_operand()]
        while self._take("&&"):
            operands.append(self._read_operand())
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def _read_operand(self) -> Rule:
        start = self._at
        depth_before = self._depth
        while self._text.startswith("!", self._at):
            self._enter()
            self._take("!")
        negations = self._depth - depth_before
        opening = self._at
        if self._take("("):
            self._enter()
            rule = self._read_or()
            if not self._take(")"):
                if self._at == len(self._text):
                    raise RuleError("this `(` is never closed", opening)
                raise self._unexpected("expected `&&`, `||` or `)`")
        else:
            rule = self._read_matcher(after=start if negations else None)
        self._depth = depth_before
        for _ in range(negations):
            rule = Not(rule)
        return rule

    def _read_matcher(self, after: int | None) -> Matcher:
        column = self._at
        found = _NAME.match(self._text, column)
        if found is None:
            raise self._unexpected("expected a matcher such as Host(`example.com`)", after)
        name = found[0]
        self._advance(found.end())
        if not self._take("("):
            self._complain_about_bare_name(name, column)
        word = vocabulary.look_up(name, self._protocol, self._syntax)
        if isinstance(word, vocabulary.Fault):
            raise RuleError(word.message, column, word.suggestion, len(name))
        values, spans = self._read_values(name, opening=column + len(name))
        fault = vocabulary.check(word, tuple(values))
        if fault is not None:
            start, end = (column, column + len(name)) if fault.value is None else self._spot(fault, spans[fault.value])
            raise RuleError(fault.message, start, fault.suggestion, end - start)
        return Matcher(word.name, tuple(values), column)

    def _spot(self, fault: vocabulary.Fault, span: tuple[int, int]) -> tuple[int, int]:
        """The characters of a value that are wrong, or all of it where escapes make counting them difficult."""
        start, end = span
        raw = self._text[start + 1 : end - 1]
        if not fault.width or "\r" in raw or (self._text[start] == '"' and "\\" in raw):
            return span
        first = start + 1 + fault.column
        return first, first + fault.width

    def _read_values(self, name: str, opening: int) -> tuple[list[str], list[tuple[int, int]]]:
        """The values up to and with the closing parenthesis, and where each of them starts and ends."""
        values: list[str] = []
        spans: list[tuple[int, int]] = []
        if self._take(")"):
            return values, spans
        while True:
            start = self._at
            values.append(self._read_value(name, opening))
            spans.append((start, start + len(self._text[start : self._at].rstrip(_BLANK))))
            if self._take(")"):
                return values, spans
            if not self._take(","):
                if self._at == len(self._text):
                    raise RuleError(f"the `(` of {name} is never closed", self._text.index("(", opening))
                raise self._unexpected("expected `,` or `)`")

    def _read_value(self, name: str, opening: int) -> str:
        start = self._at
        quote = self._text[start : start + 1]
        if quote == "`":
            end = self._text.find("`", start + 1)
            if end < 0:
                raise RuleError("this backtick is never closed", start)
            self._advance(end + 1)
            return self._text[start + 1 : end].replace("\r", "")
        if quote == '"':
            return self._read_escaped()
        if not quote:
            raise RuleError(f"the `(` of {name} is never closed", self._text.index("(", opening))
        bare = _BARE_VALUE.match(self._text, start)
        if bare is None:
            raise self._unexpected("expected a value in backticks")
        value = bare[0].strip("'")
        raise RuleError("a value needs backticks or double quotes", start, f"write `{value}`", len(bare[0]))

    def _read_escaped(self) -> str:
        """A value in double quotes with the escapes of a Go string."""
        text, start = self._text, self._at
        out = bytearray()
        at = start + 1
        while True:
            character = text[at : at + 1]
            if character in ("", "\n"):
                raise RuleError("this double quote is never closed", start)
            if character == '"':
                break
            if character != "\\":
                out += character.encode()
                at += 1
                continue
            octets_read, at = self._read_escape(at)
            out += octets_read
        self._advance(at + 1)
        return out.decode("utf-8", "surrogateescape")

    def _read_escape(self, at: int) -> tuple[bytes, int]:
        """The octets of the escape whose backslash is at `at`, and the place behind it."""
        simple = _SIMPLE_ESCAPE.get(self._text[at + 1 : at + 2])
        if simple is not None:
            return bytes((simple,)), at + 2
        number = _NUMBER_ESCAPE.match(self._text, at + 1)
        if number is not None:
            if number["hex"] or number["octal"]:
                value = int(number["hex"], 16) if number["hex"] else int(number["octal"], 8)
                if value < 256:
                    return bytes((value,)), number.end()
            else:
                value = int(number["short"] or number["long"], 16)
                if value < 0xD800 or 0xDFFF < value < 0x110000:
                    return chr(value).encode(), number.end()
        raise RuleError("unknown escape in a value", at, "use backticks, where a backslash is just that")

    # --- small steps ---

    def _advance(self, at: int) -> None:
        found = _BLANKS.match(self._text, at)
        self._at = found.end() if found else at

    def _skip_blanks(self) -> None:
        self._advance(self._at)

    def _take(self, symbol: str) -> bool:
        if not self._text.startswith(symbol, self._at):
            return False
        self._advance(self._at + len(symbol))
        return True

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise RuleError(f"nested deeper than {MAX_DEPTH} levels", self._at)

    def _complain_about_bare_name(self, name: str, column: int) -> None:
        symbol = _CONJUNCTIONS.get(name.lower())
        if symbol:
            raise RuleError(f"`{name}` is not an operator", column, f"write `{symbol}`", len(name))
        raise RuleError(f"`{name}` lacks its values", column, f"write {name}(`...`)", len(name))

    def _unexpected(self, message: str, after: int | None = None) -> RuleError:
        """What stands at `_at` does not belong there."""
        rest = self._text[self._at :]
        if not rest:
            column = len(self._text.rstrip()) if after is None else after
            return RuleError(f"{message}, but the rule ends", column)
        if rest[0] in "&|" and rest[:2] not in ("&&", "||"):
            return RuleError(f"`{rest[0]}` alone is not an operator", self._at, f"write `{rest[0] * 2}`")
        found = _NAME.match(rest)
        if found:
            symbol = _CONJUNCTIONS.get(found[0].lower())
            suggestion = f"write `{symbol}`" if symbol else ""
            return RuleError(f"unexpected `{found[0]}`: {message}", self._at, suggestion, len(found[0]))
        symbol = rest[:2] if rest[:2] in ("&&", "||") else rest[0]
        return RuleError(f"unexpected `{symbol}`: {message}", self._at, "", len(symbol))
