"""What a file held at one time, parsed.

What lives here: `Version`, and `Shelf`, which reads a file again only as far as it has changed.
What must not: which files there are and which version counts (`sources.py`).
Called by `sources.py`. Specified by docs/reference.md ("Sources").
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

from streamlb.config.interpolation import SIGN, Interpolation, ReadText
from streamlb.config.load import decode, parse
from streamlb.config.tree import Mapping, Node, is_empty
from streamlb.errors import ConfigError, Problem

if TYPE_CHECKING:
    import collections.abc


@dataclass(slots=True, eq=False)
class Version:
    """What a file held at one time. Two reads of the same content give the same object.

    digest: of its bytes. named: digests of what `${file:}` names in it, by path; None where there was nothing.
    """

    path: str
    digest: bytes
    documents: list[Node] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    named: dict[str, bytes | None] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)

    @property
    def is_hollow(self) -> bool:
        """Whether it says nothing at all, not even that there is nothing (as `http: {}` does)."""
        return all(_is_hollow(document) for document in self.documents)


def _is_hollow(node: Node) -> bool:
    if isinstance(node, Mapping):
        return all(is_empty(entry.value) for entry in node.entries.values())
    return is_empty(node)


class Shelf:
    """The newest version of every file that was read."""

    def __init__(self, environ: collections.abc.Mapping[str, str], read: ReadText) -> None:
        self._environ = environ
        self._read = read
        self._versions: dict[tuple[str, bool], Version] = {}

    def take(self, path: str, *, as_it_is: bool = False) -> Version:
        """The file as it is now; with `as_it_is` nothing is put in for `${...}`. Raises OSError."""
        raw = self._read(path)
        digest = blake2b(raw).digest()
        known = self._versions.get((path, as_it_is))
        if known is None or known.digest != digest or any(self.digest(at) != was for at, was in known.named.items()):
            known = self._versions[path, as_it_is] = self._parse(Version(path, digest), raw, as_it_is)
        return known

    def keep_only(self, paths: collections.abc.Container[str]) -> None:
        """Forget files that nobody asks for any more."""
        self._versions = {key: each for key, each in self._versions.items() if key[0] in paths}

    def digest(self, path: str) -> bytes | None:
        """Of what a file holds now; None if it cannot be read."""
        try:
            return blake2b(self._read(path)).digest()
        except OSError:
            return None

    def _parse(self, version: Version, raw: bytes, as_it_is: bool) -> Version:
        try:
            source = decode(version.path, raw)
        except ConfigError as error:
            version.problems = error.problems
            return version
        version.documents = parse(source, version.problems)
        if as_it_is or SIGN not in source.text:
            return version
        interpolation = Interpolation(self._environ, self._read, os.path.dirname(version.path))
        for document in version.documents:
            interpolation.fill(document, version.problems)
        version.secrets = interpolation.secrets
        version.named = {
            path: None if content is None else blake2b(content).digest()
            for path, content in interpolation.files.items()
        }
        return version
