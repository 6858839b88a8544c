"""Where a configuration comes from: the files it is read from, and read again from.

What lives here: `Sources`, which remembers the last good version of each file and finds out which change is to blame.
What must not: opening files (`load.py`), the checks (`assembly.py`), watching for changes (`process/watching.py`).
Called by the control process and the command line. Specified by docs/reference.md ("Sources").
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from streamlb.config.assembly import Judges, Loaded, Parts, assemble
from streamlb.config.kinds import field_named
from streamlb.config.load import read_bytes
from streamlb.config.selection import Look, Selected, select
from streamlb.config.versions import Shelf
from streamlb.errors import ConfigError, Position, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamlb.config.interpolation import ReadText
    from streamlb.config.model import Config
    from streamlb.config.reading import Path

MAX_TRIALS = 20
"""Changed files of which each is left out once, to see whether it is the one that others cannot live with."""


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
    """All files of a configuration. `read` comes first, once; then `reread` as often as something has changed.

    paths: files and directories. environ: for `${NAME}`. read: what opens files.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        judges: Judges | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        read: ReadText = read_bytes,
    ) -> None:
        self._paths = [os.fspath(path) for path in paths]
        self._judges = judges or Judges()
        self._shelf = Shelf(environ or {}, read)
        self._look = Look(self._paths, self._shelf)
        # what is in use
        self._good: Selected | None = None
        self._loaded: Loaded | None = None
        self._certificates: dict[str, bytes | None] = {}

    def read(self) -> Loaded:
        """The configuration. Raises ConfigError with all problems of all files."""
        self._look = Look(self._paths, self._shelf)
        selected = select(self._look, None)
        problems = [*selected.refused, *selected.problems]
        loaded = assemble(_parts(selected, problems), self._judges)
        self._accept(selected, loaded)
        return loaded

    def reread(self) -> Reread:
        """The configuration as it is now, as far as it is good; never raises for what files hold."""
        good, loaded = self._good, self._loaded
        assert good, "read() comes first"
        assert loaded
        self._look = Look(self._paths, self._shelf)
        held: set[str] = set()
        blamed: list[Problem] = []
        while True:
            selected = select(self._look, good, held)
            if not held and not selected.refused and selected.is_like(good) and self._are_as_before(loaded):
                return Reread(loaded)
            fresh, problems = self._try(selected)
            if fresh is not None:
                break
            changed = selected.changed_since(good) - held
            guilty = {problem.position.file for problem in problems} & changed
            if not guilty and changed:
                guilty, problems = self._search(good, held, changed, problems)
            if not guilty:
                # Not one of the files: something that they name is not good any more.
                return Reread(loaded, [*blamed, *selected.refused, *problems], sorted(good.versions))
            held |= guilty
            blamed += problems
        suspects = set(held)
        selected, fresh = self._release(good, held, selected, fresh)
        blamed = [problem for problem in blamed if problem.position.file not in suspects - held]
        # What was complained of while something else was not right either may be right now.
        self._accept(selected, fresh)
        kept = {*selected.kept, *(path for path in held if path in good.versions), *fresh.spared}
        found = [*selected.refused, *blamed, *fresh.spared.values()]
        return Reread(fresh, sorted(dict.fromkeys(found), key=lambda each: each.position), sorted(kept))

    @property
    def watched(self) -> frozenset[str]:
        """The paths whose change calls for `reread`: files, and directories whose files count; certificates are
        looked at by who renews them."""
        return self._look.watched

    def _try(self, selected: Selected) -> tuple[Loaded | None, list[Problem]]:
        try:
            return assemble(_parts(selected, selected.problems, self._texts()), self._judges), []
        except ConfigError as error:
            return None, error.problems

    def _search(
        self, good: Selected, held: set[str], changed: set[str], problems: list[Problem]
    ) -> tuple[set[str], list[Problem]]:
        """Which changes are to blame for problems in files that have not changed themselves."""
        guilty: set[str] = set()
        left = len(problems)
        for path in sorted(changed)[:MAX_TRIALS]:
            _, others = self._try(select(self._look, good, {*held, *guilty, path}))
            if len(others) < left:
                guilty.add(path)
                left = len(others)
            if not left:
                break
        guilty = guilty or changed
        return guilty, [*(self._consequence(path) for path in sorted(guilty)), *problems]

    def _release(self, good: Selected, held: set[str], selected: Selected, fresh: Loaded) -> tuple[Selected, Loaded]:
        """Take over what is held only because of another change that is held, too; what is `held` after that stays."""
        for path in sorted(held)[:MAX_TRIALS] if len(held) > 1 else ():
            more = select(self._look, good, held - {path})
            loaded, _ = self._try(more)
            if loaded is not None:
                held.discard(path)
                selected, fresh = more, loaded
        return selected, fresh

    def _consequence(self, path: str) -> Problem:
        reason = "this change is not taken over: other files do not go with it"
        if not self._look.has(path):
            reason = "the file is gone, and others do not go without it: what it said last stays in use"
        return Problem(Position(path, 1, 1), "", reason)

    def _are_as_before(self, loaded: Loaded) -> bool:
        """Whether the files with certificates, too, hold what they held when all was good."""
        return not loaded.spared and self._certificates == self._digests(loaded)

    def _digests(self, loaded: Loaded) -> dict[str, bytes | None]:
        return {path: self._shelf.digest(path) for path in set(loaded.pem.values())}

    def _texts(self) -> dict[str, str]:
        """What files with certificates held when they were good."""
        if self._loaded is None:
            return {}
        return {path: text for place, path in self._loaded.pem.items() if (text := _at(self._loaded.config, place))}

    def _accept(self, selected: Selected, loaded: Loaded) -> None:
        self._good = selected
        self._loaded = loaded
        self._certificates = self._digests(loaded)
        self._shelf.keep_only({*selected.versions, *self._look.watched})


def _parts(selected: Selected, problems: list[Problem], fallback: dict[str, str] | None = None) -> Parts:
    versions = selected.versions.values()
    return Parts(
        roots=list(selected.roots),
        manifests=selected.manifests,
        files=list(selected.versions),
        problems=list(problems),
        secrets={secret for version in versions for secret in version.secrets},
        fallback=fallback or {},
        notes=selected.notes,
    )


def _at(config: Config, place: Path) -> str:
    """The text at a place of a configuration; empty if there is none."""
    value: Any = config
    for part in place:
        if isinstance(part, int):
            value = value[part] if isinstance(value, list) and part < len(value) else None
        elif isinstance(value, dict):
            value = value.get(part)
        else:
            cls: Any = type(value)
            value = getattr(value, field_named(cls, part), None)
    return value if isinstance(value, str) else ""
