"""Which files of a directory belong to a configuration.

What lives here: walking a directory by name, what is passed over, loops of links.
What must not: opening files (`load.py`). Called by `sources.py`. Specified by docs/reference.md ("Sources").
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

ENDINGS = (".yaml", ".yml")
MAX_FILES = 10_000
MAX_FOLDERS = 10_000
MAX_DEPTH = 32  # folders inside folders


@dataclass(slots=True)
class Listing:
    """files: in the order of their names. folders: all that were looked into, the first one among them."""

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)


class TooMuch(OSError):
    """A directory that nobody can mean to be a configuration."""


def is_folder(path: str) -> bool:
    return "\0" not in path and os.path.isdir(path)


def walk(path: str) -> Listing:
    """The YAML files of a directory and of those inside it. Raises OSError.

    Passed over: names that begin with a dot (editors' and Kubernetes' own), other endings (`web.yaml~`,
    `web.yaml.bak`), and folders that a link leads back to.
    """
    listing = Listing()
    _walk(path, listing, set(), 0)
    return listing


def _walk(path: str, listing: Listing, seen: set[tuple[int, int]], depth: int) -> None:
    with os.scandir(path) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    identity = os.stat(path)
    if (identity.st_dev, identity.st_ino) in seen:
        return
    seen.add((identity.st_dev, identity.st_ino))
    listing.folders.append(path)
    if len(listing.folders) > MAX_FOLDERS or depth > MAX_DEPTH:
        raise TooMuch(f"more than {MAX_FOLDERS} folders, or {MAX_DEPTH} inside each other")
    for entry in found:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            _walk(entry.path, listing, seen, depth + 1)
        elif entry.name.endswith(ENDINGS) and (entry.is_file() or not os.path.exists(entry.path)):
            # A link that leads nowhere counts: it says so when it is read. A pipe would say nothing for ever.
            listing.files.append(entry.path)
            if len(listing.files) > MAX_FILES:
                raise TooMuch(f"more than {MAX_FILES} files")
