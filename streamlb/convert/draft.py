"""A configuration of ours in the making, with where each part of it comes from and what has no place in it.

What lives here: `Draft`, `Left`, and how a draft is written as YAML with comments.
What must not: what other proxies' words mean (`nginx.py`, `haproxy.py`), files, checks.
Filled by the modules of this room, printed by the command line.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
NAME = re.compile(r"[^A-Za-z0-9_.-]+")
MAX_LINE = 100  # characters of a foreign line in a comment

PARTS = ("routers", "services", "serversTransports")

Path = tuple[str | int, ...]


class ConvertError(Exception):
    """The foreign configuration cannot be read; `line` is counted from 1."""

    def __init__(self, line: int, reason: str) -> None:
        self.line = line
        self.reason = reason
        super().__init__(f"line {line}: {reason}")


@dataclass(frozen=True, slots=True)
class Left:
    """A line that was not carried over, where it stands, and why."""

    place: str
    text: str
    reason: str

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= MAX_LINE else self.text[: MAX_LINE - 3] + "..."
        return f"{self.place}: {shown}  ({self.reason})"


class Inline(dict[str, Any]):
    """A mapping to be written in one line."""


@dataclass(slots=True)
class Draft:
    """What becomes the YAML file: the root as plain data. origins: by path, where it comes from."""

    source: str
    root: dict[str, Any] = field(default_factory=dict)
    origins: dict[Path, str] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)

    def at(self, *path: str) -> dict[str, Any]:
        """The mapping at a path, made where there is none."""
        here = self.root
        for part in path:
            here = here.setdefault(part, {})
        return here

    def put(self, path: Path, value: Any, origin: str) -> None:
        """A value, and where it comes from."""
        self.at(*(str(part) for part in path[:-1]))[str(path[-1])] = value
        self.origins.setdefault(path, origin)

    def free_name(self, wanted: str, *path: str) -> str:
        """A name that is not taken yet in the mapping at a path."""
        base = NAME.sub("-", wanted).strip("-") or "unnamed"
        taken, name, number = self.at(*path), base, 1
        while name in taken:
            number += 1
            name = f"{base}-{number}"
        return name

    def text(self) -> str:
        """The YAML, with what was left at the end."""
        lines = [f"# Made by `streamlb convert` from {self.source}: read it, try it, then trust it."]
        order = ("entryPoints", "http", "tcp", "udp", "tls")
        for key in order:
            section = _without_empty(self.root.get(key, {}))
            if section and key in ("http", "tcp", "udp"):
                section = {part: section[part] for part in PARTS if part in section}
            if section:
                lines.append("")
                _write(lines, key, section, (key,), 0, self.origins)
        if self.left:
            lines += ["", f"# Not carried over from {self.source}:"]
            lines += [f"#   {_printable(str(each))}" for each in self.left]
        return "\n".join(lines) + "\n"


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: _without_empty(each) for key, each in value.items()}
        kept = {key: each for key, each in kept.items() if each not in ({}, []) or isinstance(each, Inline)}
        return Inline(kept) if isinstance(value, Inline) else kept
    return value


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _write(lines: list[str], key: str, value: Any, path: Path, depth: int, origins: dict[Path, str]) -> None:
    head = "  " * depth + _key(key) + ":"
    note = f"  # {origins[path]}" if path in origins else ""
    if isinstance(value, dict) and value and not isinstance(value, Inline):
        lines.append(head + note)
        for inner, each in value.items():
            _write(lines, inner, each, (*path, inner), depth + 1, origins)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        lines.append(head + note)
        for index, each in enumerate(value):
            item = f"  # {origins[(*path, index)]}" if (*path, index) in origins else ""
            lines.append("  " * (depth + 1) + "- " + _inline(each) + item)
    else:
        lines.append(f"{head} {_inline(value, is_rule=key == 'rule')}{note}")


def _key(text: str) -> str:
    return text if PLAIN.fullmatch(text) and text.lower() not in WORDS else json.dumps(text)


def _inline(value: Any, *, is_rule: bool = False) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)}: {_inline(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(each) for each in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    text = str(value).replace("${", "$${")
    if is_rule and text.isprintable() and ('"' in text or "\\" in text):
        return "'" + text.replace("'", "''") + "'"
    if not is_rule and (re.fullmatch(r"[0-9]+m?s", text) or (PLAIN.fullmatch(text) and text.lower() not in WORDS)):
        return text
    return json.dumps(text, ensure_ascii=False)


def duration(seconds: float) -> str:
    """Seconds as YAML has them: whole, or in milliseconds."""
    if seconds == int(seconds):
        return f"{int(seconds)}s"
    return f"{max(1, round(seconds * 1000))}ms"
