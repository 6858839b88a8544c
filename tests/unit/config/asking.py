"""How the tests of this room ask: problems of a text as short lines, and configurations from a few lines."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

from streamlb.config import check
from streamlb.config.load import parse
from streamlb.config.tree import Source
from streamlb.errors import ConfigError

if TYPE_CHECKING:
    from streamlb.config.model import Config
    from streamlb.config.routers import CheckRule
    from streamlb.config.tree import Node
    from streamlb.errors import Problem

WEB = 'entryPoints: {web: {address: ":80"}}\n'
UDP = 'entryPoints: {dns: {address: ":53/udp"}}\n'


def problems_of(text: str, check_rule: CheckRule | None = None) -> list[Problem]:
    """All problems; empty when the configuration is valid."""
    try:
        check.load_text(dedent(text), "lb.yaml", check.Judges(check_rule=check_rule))
    except ConfigError as error:
        return error.problems
    return []


def lines_of(text: str, check_rule: CheckRule | None = None) -> list[str]:
    """`line:column path | reason | suggestion` of each problem."""
    return [line_of(problem) for problem in problems_of(text, check_rule)]


def line_of(problem: Problem) -> str:
    place = f"{problem.position.line}:{problem.position.column}"
    return f"{place} {problem.path} | {problem.reason} | {problem.suggestion}"


def notes_of(text: str) -> list[str]:
    return [line_of(note) for note in check.load_text(dedent(text), "lb.yaml").notes]


def config_of(text: str) -> Config:
    return check.load_text(dedent(text), "lb.yaml").config


def tree_of(text: str) -> Node:
    """The one tree of a text that must be free of problems."""
    problems: list[Problem] = []
    [node] = parse(Source("x.yaml", text), problems)
    assert not problems
    return node
