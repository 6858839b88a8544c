"""Which files make up a configuration, and which version of each.

What lives here: from the paths a user names to files; files that other files name (`providers`); for each file its
newest version or, where that cannot be read or says nothing any more, the last good one.
What must not: whether versions go together (`assembly.py`), who is to blame if not (`sources.py`).
Called by `sources.py`. Specified by docs/reference.md ("Sources").
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlb.config.folders import Listing, is_folder, walk
from streamlb.config.kinds import describe, describe_node, remedy
from streamlb.config.load import find_files
from streamlb.config.merging import without_static
from streamlb.config.model import Config
from streamlb.config.tree import Mapping, Node, Scalar, Sequence, is_empty, problem_at, text_of
from streamlb.errors import Position, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from streamlb.config.versions import Shelf, Version

MAX_MANIFESTS = 10_000  # files
DIRECTORY, FILENAME = "providers.file.directory", "providers.file.filename"
MANIFESTS = "providers.kubernetesManifests.paths"
INSTEAD = "to take away all that it said, delete the file or write `http: {}`"


class Look:
    """The files as they are now: whatever is asked twice is answered alike. `watched`: what was asked for."""

    def __init__(self, paths: list[str], shelf: Shelf) -> None:
        self.paths = paths
        self._shelf = shelf
        self._listings: dict[str, Listing | OSError] = {}
        self._versions: dict[str, Version | OSError] = {}
        self._watched: set[str] = set(paths)

    @property
    def watched(self) -> frozenset[str]:
        return frozenset(self._watched)

    def has(self, path: str) -> bool:
        return not isinstance(self._versions.get(path, OSError()), OSError)

    def files(self, folder: str, find: Callable[[str], Listing], *, watch: bool = True) -> list[str]:
        """The files of a directory. Raises OSError."""
        found = self._listings.get(folder)
        if found is None:
            try:
                found = find(folder)
            except OSError as error:
                found = error
            self._listings[folder] = found
        if watch:
            self._watched.update([folder, *([] if isinstance(found, OSError) else found.folders)])
        if isinstance(found, OSError):
            raise found
        return found.files

    def version(self, path: str, *, as_it_is: bool = False, watch: bool = True) -> Version:
        """A file. Raises OSError."""
        found = self._versions.get(path)
        if found is None:
            try:
                found = self._shelf.take(path, as_it_is=as_it_is)
            except OSError as error:
                found = error
            self._versions[path] = found
        if watch:
            self._watched.update([path, *([] if isinstance(found, OSError) else found.named)])
        if isinstance(found, OSError):
            raise found
        return found


@dataclass(slots=True)
class Selected:
    """The files of a configuration, each in the version that counts, by path and in their order.

    roots: their documents, but for Kubernetes'. members: the files of each directory.
    problems: of versions that count. refused: of versions that do not. kept: files whose older version counts.
    """

    versions: dict[str, Version] = field(default_factory=dict)
    roots: list[Node] = field(default_factory=list)
    manifests: list[Node] = field(default_factory=list)
    members: dict[str, list[str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    refused: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)

    def changed_since(self, other: Selected) -> set[str]:
        """The files that have another version, or are in one of the two only."""
        paths = self.versions.keys() | other.versions.keys()
        return {path for path in paths if self.versions.get(path) is not other.versions.get(path)}

    def is_like(self, other: Selected) -> bool:
        """Whether nothing at all has changed, not even what the same files say of each other."""
        return not self.changed_since(other) and not self.problems and self.members == other.members


def select(look: Look, good: Selected | None, held: Collection[str] = ()) -> Selected:
    """What counts of a look at the files.

    good: what counted last; with None, the first time, every problem counts. held: files whose last good version
    counts whatever they hold, which is none for a file that is new.
    """
    return _Selection(look, good, held).run()


@dataclass(frozen=True, slots=True)
class _Named:
    """A path that a configuration names: the value's node, where it leads, and how its place is called."""

    node: Node
    path: str
    label: str


class _Selection:
    def __init__(self, look: Look, good: Selected | None, held: Collection[str]) -> None:
        self.look = look
        self.good = good
        self.held = held
        self.result = Selected()
        self.seen: set[str] = set()  # real paths

    def run(self) -> Selected:
        result = self.result
        mains = [version for path in self.look.paths for version in self._main(path)]
        roots = [root for version in mains if isinstance(root := self._root(version), Mapping)]
        result.roots.extend(roots)
        if not roots and not result.problems and not result.refused:
            where = Position(mains[0].path if mains else self.look.paths[0], 1, 1)
            empty = Problem(where, "", "the file is empty", "begin with `entryPoints:`")
            none = Problem(where, "", "there is no YAML file in the directory", "names end in `.yaml` or `.yml`")
            result.problems.append(empty if mains else none)
            result.notes.clear()
        for root in roots:
            self._provided(root)
        for root in roots:
            self._add_manifests(root)
        return result

    # --- the files that streamlb is started with ------------------------------------------------------------------

    def _main(self, path: str) -> list[Version]:
        if not is_folder(path) and not self._was_folder(path):
            version = self._pick(path)
            return [version] if version else []
        return self._folder(path, walk)

    def _was_folder(self, path: str) -> bool:
        return self.good is not None and path in self.good.members

    def _root(self, version: Version) -> Node | None:
        """The one document of a file, if it is a configuration."""
        documents = version.documents
        if len(documents) > 1:
            reason = "the configuration is one YAML document; this file has a second one, behind `---`"
            self.result.problems.append(problem_at(documents[1], "", reason))
        if not documents or is_empty(documents[0]):
            if not version.problems:
                self.result.notes.append(Problem(Position(version.path, 1, 1), "", "the file is empty"))
            return None
        root = documents[0]
        if isinstance(root, Mapping) and {"apiVersion", "kind"} <= root.entries.keys():
            suggestion = f"name it in `{MANIFESTS}` of a streamlb configuration"
            reason = "this is a Kubernetes document, not a configuration"
            self.result.problems.append(problem_at(root, "", reason, suggestion))
            return None
        if not isinstance(root, Mapping):
            reason = f"expected {describe(Config)}, got {describe_node(root)}"
            if isinstance(root, Scalar):
                reason = "expected `key: value` lines, got a single value"
            self.result.problems.append(problem_at(root, "", reason, remedy(Config, root)))
            return None
        return root

    # --- the files that they name ---------------------------------------------------------------------------------

    def _provided(self, root: Mapping) -> None:
        """More files with dynamic configuration."""
        file = _below(root, "providers", "file")
        watched = _below(file, "watch")
        watch = not (isinstance(watched, Scalar) and watched.value is False)
        versions: list[Version] = []
        for named in _named(_below(file, "filename"), FILENAME):
            version = self._pick(named.path, watch=watch, named=named)
            versions += [version] if version else []
        for named in _named(_below(file, "directory"), DIRECTORY):
            versions += self._folder(named.path, walk, watch=watch, named=named)
        for version in versions:
            document = self._root(version)
            if isinstance(document, Mapping):
                self.result.roots.append(without_static(document, "providers.file", self.result.problems))

    def _add_manifests(self, root: Mapping) -> None:
        """Kubernetes documents."""
        for named in _named(_below(root, "providers", "kubernetesmanifests", "paths"), MANIFESTS):
            if is_folder(named.path) or self._was_folder(named.path):
                versions = self._folder(named.path, _manifests, named=named, as_it_is=True)
                if not versions and not self.result.members[named.path] and self.good is None:
                    reason = f"there is no YAML file in the directory `{text_of(named.node)}`"
                    self.result.problems.append(problem_at(named.node, named.label, reason))
            else:
                version = self._pick(named.path, named=named, as_it_is=True)
                versions = [version] if version else []
            for version in versions:
                self.result.manifests.extend(version.documents)

    # --- versions -------------------------------------------------------------------------------------------------

    def _folder(
        self,
        path: str,
        find: Callable[[str], Listing],
        *,
        watch: bool = True,
        named: _Named | None = None,
        as_it_is: bool = False,
    ) -> list[Version]:
        before = self.good.members.get(path, []) if self.good else []
        reason = ""
        try:
            found = self.look.files(path, find, watch=watch)
        except OSError as error:
            found = []
            reason = f"cannot read the directory{_called(named)}: {error.strerror or error}"
        if before and not found and not named and not reason:
            # Somebody has unmounted it, rather than wants nothing to be left.
            reason = "there is no YAML file left in the directory: what was there stays"
        if reason:
            self._refuse(path, reason, named)
            self.result.members[path] = before
            return [version for file in before if (version := self._pick(file, is_lost=True))]
        # A file that is gone may be held, because others need it.
        files = [*found, *(file for file in before if file in self.held and file not in found)]
        self.result.members[path] = files
        picked = [self._pick(file, watch=watch, as_it_is=as_it_is) for file in files]
        return [version for version in picked if version]

    def _pick(
        self,
        path: str,
        *,
        watch: bool = True,
        named: _Named | None = None,
        as_it_is: bool = False,
        is_lost: bool = False,
    ) -> Version | None:
        """The version of a file that counts, if one does and it does not count already.

        is_lost: its directory cannot be read, so that there is no newer one.
        """
        real = os.path.realpath(path) if "\0" not in path else path
        if real in self.seen:
            return None
        self.seen.add(real)
        before = self.good.versions.get(path) if self.good else None
        if is_lost:
            version = self._keep(path, before)
        elif path in self.held:
            version = before
        else:
            version = self._newest(path, before, watch, named, as_it_is)
        if version is not None:
            self.result.versions[path] = version
        return version

    def _newest(
        self, path: str, before: Version | None, watch: bool, named: _Named | None, as_it_is: bool
    ) -> Version | None:
        try:
            version = self.look.version(path, as_it_is=as_it_is, watch=watch)
        except OSError as error:
            what = f"`{path}`" if named else "the file"
            self._refuse(path, f"cannot read {what}: {error.strerror or error}", named)
            return self._keep(path, before)
        if version is before:
            return version
        if version.problems:
            if self.good is None:
                self.result.problems.extend(version.problems)
                return version
            self.result.refused.extend(version.problems)
            return self._keep(path, before)
        if before is not None and version.is_hollow and not before.is_hollow:
            problem = Problem(Position(path, 1, 1), "", "the file is empty now: what it said before stays", INSTEAD)
            self.result.refused.append(problem)
            return self._keep(path, before)
        return version

    def _keep(self, path: str, before: Version | None) -> Version | None:
        if before is not None:
            self.result.kept.add(path)
        return before

    def _refuse(self, path: str, reason: str, named: _Named | None) -> None:
        problem = problem_at(named.node, named.label, reason) if named else Problem(Position(path, 1, 1), "", reason)
        (self.result.problems if self.good is None else self.result.refused).append(problem)


def _called(named: _Named | None) -> str:
    return f" `{text_of(named.node)}`" if named else ""


def _manifests(path: str) -> Listing:
    return Listing(find_files(path)[:MAX_MANIFESTS], [path])


def _below(node: Node | None, *keys: str) -> Node | None:
    """What stands below keys whose case does not matter."""
    for wanted in keys:
        if not isinstance(node, Mapping):
            return None
        node = next((entry.value for key, entry in node.entries.items() if key.lower() == wanted), None)
    return node


def _named(node: Node | None, label: str) -> Iterator[_Named]:
    """The paths that a value, or each value of a list, stands for; they are seen from the file they stand in."""
    values = node.items if isinstance(node, Sequence) else [node]
    for index, each in enumerate(values):
        written = text_of(each)
        if each is not None and written:
            shown = f"{label}[{index}]" if isinstance(node, Sequence) else label
            yield _Named(each, os.path.join(os.path.dirname(each.source.name), written), shown)
