"""From a file, or a text, to a validated configuration in one call.

What lives here: `load` and `load_text`. What must not: the steps (`assembly.py`), reading again (`sources.py`).
Called by tests and by whoever has one file and needs it once. Specified by docs/reference.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlb.config.assembly import MAX_PROBLEMS, Judges, Loaded
from streamlb.config.load import read_bytes
from streamlb.config.sources import Sources

if TYPE_CHECKING:
    import os

__all__ = ["MAX_PROBLEMS", "Judges", "Loaded", "load", "load_text"]


def load(path: str | os.PathLike[str], judges: Judges | None = None) -> Loaded:
    """The configuration of a file and what comes with it. Raises ConfigError with all its problems."""
    return Sources([path], judges).read()


def load_text(text: str, name: str = "config.yaml", judges: Judges | None = None) -> Loaded:
    """The same for text that is not in a file; `name` says how to call it and where relative paths begin."""
    raw = text.encode("utf-8", "surrogatepass")
    return Sources([name], judges, read=lambda path: raw if path == name else read_bytes(path)).read()
