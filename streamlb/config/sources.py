"""Where a configuration comes from: the files it is read from, and read again from.

What lives here: `Sources`, which remembers the last good version of what it has read.
What must not: opening files (`load.py`), the checks (`check.py`), watching for changes (`process/watching.py`).
Called by the control process and the command line. Specified by docs/reference.md ("Sources").
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlb.config.check import Judges, Loaded, load
from streamlb.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(slots=True)
class Reread:
    """What reading again has found.

    loaded: made of the newest good version of each file. problems: why others were refused.
    kept: the files whose last good version is used instead of what they hold.
    """

    loaded: Loaded
    problems: list[Problem] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


class Sources:
    """All files of a configuration. `read` comes first, once; then `reread` as often as something has changed."""

    def __init__(self, paths: Sequence[str | os.PathLike[str]], judges: Judges | None = None) -> None:
        self._paths = [os.fspath(path) for path in paths]
        self._judges = judges or Judges()
        self._loaded: Loaded | None = None

    def read(self) -> Loaded:
        """The configuration. Raises ConfigError with all problems of all files."""
        self._loaded = load(self._paths[0], self._judges)
        return self._loaded

    def reread(self) -> Reread:
        """The configuration as it is now, as far as it is good; never raises."""
        assert self._loaded is not None, "read() comes first"
        try:
            return Reread(self.read())
        except ConfigError as error:
            return Reread(self._loaded, error.problems, sorted(self._loaded.files))

    @property
    def watched(self) -> frozenset[str]:
        """The paths whose change calls for `reread`: files, and directories whose files count."""
        return frozenset([*self._paths, *(self._loaded.files if self._loaded else ())])
