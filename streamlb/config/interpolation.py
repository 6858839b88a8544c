"""`${NAME}`, `${NAME:-default}` and `${file:path}` in the values of a configuration.

What lives here: the grammar, and putting in what it stands for after YAML was read, so that no value needs quotes.
What must not: reading files or the environment; both are handed in. Keys stay as they are.
Called by `versions.py`. Specified by docs/reference.md ("Sources"). What was put in is not looked at again; a `$`
that no `{` and name follow means nothing, so that rules and regular expressions are safe.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlb.config.load import NOT_TEXT, resolve
from streamlb.config.near import nearest
from streamlb.config.tree import Mapping, Node, Scalar, Sequence, problem_at

if TYPE_CHECKING:
    import collections.abc

    from streamlb.errors import Problem

SIGN = "${"
MAX_EXPANDED = 16 * 1024 * 1024  # characters put in, per file
OPENING = re.compile(r"\$\$\{|\$\{(?=[A-Za-z_])")
REFERENCE = re.compile(r"\$\{(?:file:(?P<file>[^{}\n]+)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?)\}")
SECRET_NAME = re.compile(r"pass|secret|token|credential|private|(?:^|_)key(?:$|_)|auth", re.IGNORECASE)
"""Names of variables whose values are not for everybody's eyes."""
ADVICE = "`${NAME}`, `${NAME:-default}` or `${file:path}`; for `${` itself write `$${`"

ReadText = Callable[[str], bytes]
"""The content of a file by its path. Raises OSError."""


class _Fault(Exception):
    """Something that cannot be put in: where in the text, how much of it, why."""

    def __init__(self, offset: int, width: int, reason: str, suggestion: str) -> None:
        self.offset, self.width, self.reason, self.suggestion = offset, width, reason, suggestion


@dataclass(slots=True)
class Interpolation:
    """Fills in the values of one file. `read` and `environ` are the world outside.

    files: what `${file:...}` named, by path as it is opened; None could not be read.
    secrets: values that must not be shown.
    """

    environ: collections.abc.Mapping[str, str]
    read: ReadText
    directory: str
    files: dict[str, bytes | None] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    _room: int = MAX_EXPANDED
    _seen: set[int] = field(default_factory=set)

    def fill(self, node: Node, problems: list[Problem]) -> None:
        """Replace what stands for something in all values of a tree, in place."""
        stack = [node]
        while stack:
            at = stack.pop()
            if id(at) in self._seen:
                continue  # An alias.
            self._seen.add(id(at))
            if isinstance(at, Mapping):
                stack.extend(entry.value for entry in at.entries.values())
            elif isinstance(at, Sequence):
                stack.extend(at.items)
            elif SIGN in at.text:
                self._fill(at, problems)

    def _fill(self, scalar: Scalar, problems: list[Problem]) -> None:
        try:
            text, origins, is_secret = self._expand(scalar.text)
        except _Fault as fault:
            problems.append(_problem(scalar, fault))
            return
        if text == scalar.text:
            return
        scalar.written = scalar.text
        scalar.origin = ", ".join(dict.fromkeys(origins))
        scalar.is_secret = is_secret
        scalar.text = text
        scalar.value = resolve(text) if scalar.is_plain else text

    def _expand(self, text: str) -> tuple[str, list[str], bool]:
        parts: list[str] = []
        origins: list[str] = []
        is_secret = False
        done = 0
        while opening := OPENING.search(text, done):
            parts.append(text[done : opening.start()])
            done = opening.end()
            if opening[0] == "$${":
                parts.append(SIGN)
                continue
            reference = REFERENCE.match(text, opening.start())
            if reference is None:
                raise _malformed(text, opening.start())
            value, origin, is_hidden = self._value(reference)
            self._room -= len(value)
            if self._room < 0:
                reason = f"more than {MAX_EXPANDED} characters would be put into this file"
                raise _Fault(reference.start(), len(reference[0]), reason, "")
            parts.append(value)
            origins.append(origin)
            is_secret = is_secret or is_hidden
            done = reference.end()
        return "".join([*parts, text[done:]]), origins, is_secret

    def _value(self, reference: re.Match[str]) -> tuple[str, str, bool]:
        """What a reference stands for, where that comes from, and whether it is a secret."""
        path, name, default = reference["file"], reference["name"], reference["default"]
        if path is not None:
            value = self._text_of(path.strip(), reference)
            self.secrets.add(value)
            return value, f"file {path.strip()}", True
        found = self.environ.get(name)
        if found is None or (not found and default is not None):
            if default is None:
                raise self._unset(name, reference)
            return default, f"default of ${name}", False
        _refuse_characters(found, f"the variable `{name}`", reference)
        if SECRET_NAME.search(name):
            self.secrets.add(found)
        return found, f"${name}", bool(SECRET_NAME.search(name))

    def _text_of(self, written: str, reference: re.Match[str]) -> str:
        path = os.path.join(self.directory, written)
        self.files[path] = None
        try:
            raw = self.files[path] = self.read(path)
            text = raw.decode("utf-8-sig")
        except OSError as error:
            reason = f"cannot read `{path}`: {error.strerror or error}"
            raise _Fault(reference.start(), len(reference[0]), reason, "") from None
        except UnicodeDecodeError:
            raise _Fault(reference.start(), len(reference[0]), f"`{path}` is not UTF-8 text", "") from None
        _refuse_characters(text, f"`{path}`", reference)
        return text.removesuffix("\n").removesuffix("\r")

    def _unset(self, name: str, reference: re.Match[str]) -> _Fault:
        guess = nearest(name, self.environ)
        other = f"or did you mean `{guess}`? " if guess else ""
        suggestion = f"set it, {other}or give a default: `${{{name}:-...}}`; for `${{` itself write `$${{`"
        reason = f"there is no variable `{name}` in the environment"
        return _Fault(reference.start(), len(reference[0]), reason, suggestion)


def _refuse_characters(value: str, what: str, reference: re.Match[str]) -> None:
    bad = NOT_TEXT.search(value)
    if bad:
        reason = f"{what} holds the character U+{ord(bad[0]):04X}, which no value may hold"
        raise _Fault(reference.start(), len(reference[0]), reason, "")


def _malformed(text: str, start: int) -> _Fault:
    end = text.find("}", start)
    inner = text[start + 2 : end if end >= 0 else len(text)]
    width = (end + 1 if end >= 0 else len(text)) - start
    if inner.startswith("env:"):
        return _Fault(start, width, "a variable of the environment needs no `env:`", f"write `${{{inner[4:]}}}`")
    if end < 0:
        return _Fault(start, width, "`${` has no `}`", ADVICE)
    if SIGN in inner:
        return _Fault(start, width, "`${...}` cannot stand inside another one", ADVICE)
    return _Fault(start, width, "`${...}` holds something that is no name", ADVICE)


def _problem(scalar: Scalar, fault: _Fault) -> Problem:
    spot = scalar.spot(fault.offset)
    if spot is None:
        return problem_at(scalar, "", fault.reason, fault.suggestion)
    return scalar.source.problem(*spot, "", fault.reason, fault.suggestion, fault.width)
