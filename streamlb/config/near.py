"""What the user may have meant.

What lives here: the guess at a misspelt word, in one place so that all messages guess alike.
What must not: which words are known. Called by all checks of this room.
Specified by nothing but taste: a wrong guess is worse than none.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_CANDIDATES = 2_000  # comparing is quadratic in the length of a word; a report need not be exhaustive
MAX_WORD = 200  # characters


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word most like `word`; empty when none is like it."""
    if len(word) > MAX_WORD:
        return ""
    candidates: dict[str, str] = {}
    for candidate in known:
        if len(candidates) >= MAX_CANDIDATES:
            break
        if len(candidate) <= MAX_WORD:
            candidates.setdefault(candidate.lower(), candidate)
    found = difflib.get_close_matches(word.lower(), candidates, n=1, cutoff=0.6)
    return candidates[found[0]] if found else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The guess as a suggestion; empty when there is none."""
    guess = nearest(word, known)
    return f"did you mean `{guess}`?" if guess else ""
