"""The errors of streamlb: whose fault it was, what to answer, whether a retry is safe.

Rank 0: imports nothing of ours. An outcome by design (no route, nobody up) is a value, not one of these.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class StreamlbError(Exception):
    """Everything streamlb raises on purpose."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a file: `file` as the user named it, `line` and `column` counted from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a configuration, ready to be shown.

    path: where in the tree, `http.routers.web.rule`; empty for the document itself.
    suggestion: what to write instead ("did you mean `http`?"); empty when there is no good guess.
    excerpt: the source line at `position`; `width` characters of it from the column on are marked.
    """

    position: Position
    path: str
    reason: str
    suggestion: str = ""
    excerpt: str = ""
    width: int = 1


class ConfigError(StreamlbError):
    """A configuration that cannot be used, with all its problems, sorted by position."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda p: p.position)
        super().__init__(f"{len(problems)} configuration error(s)")


class Retry(enum.Enum):
    """Whether the same request may be tried again on another server."""

    NEVER = "never"
    ALWAYS = "always"


class DownstreamError(StreamlbError):
    """The client broke a rule or a limit. `status` is what to answer before closing."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(f"{status}: {reason}")


class UpstreamError(StreamlbError):
    """The server, or the way to it, failed. `status` is what the client gets if nothing else can serve."""

    def __init__(self, status: int, reason: str, retry: Retry = Retry.NEVER) -> None:
        self.status = status
        self.reason = reason
        self.retry = retry
        super().__init__(f"{status}: {reason}")


class InternalError(StreamlbError):
    """Our own bug, caught at a border; logged with its traceback."""


class RefusedError(StreamlbError):
    """What an operator asks for cannot be done: a name that means nothing, or too much.

    suggestion: what might be meant; empty when there is no good guess.
    """

    def __init__(self, reason: str, suggestion: str = "") -> None:
        self.reason = reason
        self.suggestion = suggestion
        super().__init__(f"{reason}; {suggestion}" if suggestion else reason)


class StartError(StreamlbError):
    """The process cannot start (an address in use, a privileged port): one clear line and exit 1."""
