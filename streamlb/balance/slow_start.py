"""A server that has come back gets its share little by little.

What lives here: `shares` (how much of its turns each child takes, by time), `Warming` (which of them it takes).
What must not: whose turn it is (`strategy.py`), the clock (ages are given), timers. Called by `tree.py` and `health`.
Specified in docs/reference.md (`slowStart`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

LEAST: Final = 0.05
"""The share to begin with: a server that gets nothing warms nothing up."""
MAX_SKIPS: Final = 64
"""Turns given on for one pick. More in a row cannot be where all have turns; a strategy that hashes has but one."""


def shares(ages: Mapping[T, float | None], window: float) -> dict[T, float]:
    """For each child that is warming up the part of its turns it takes, growing with time up to all of them.

    ages: seconds since each usable child came back, None for those that have been there. When all are warming up, the
    one that is furthest gets all of its turns and the others their part of that: somebody has to.
    """
    warmth = {child: 1.0 if age is None else min(1.0, max(LEAST, age / window)) for child, age in ages.items()}
    most = max(warmth.values(), default=1.0)
    return {child: part / most for child, part in warmth.items() if part < most}


class Warming(Generic[T]):
    """Whose turn it is while some are warming up: of their turns they take their share, evenly, and give on the rest.

    So the others keep their proportions among each other.

    base: whose turn it would be. shares: the part of its turns a child takes; those not in it take all.
    """

    __slots__ = ("_credit", "base", "shares")

    def __init__(self, base: Callable[..., T | None]) -> None:
        # snapshot
        self.base = base
        # pick
        self.shares: dict[T, float] = {}
        self._credit: dict[T, float] = {}

    def set(self, shares: dict[T, float]) -> None:
        self.shares = shares
        self._credit = {child: self._credit.get(child, 0.0) for child in shares}

    def next(self, *want: object) -> T | None:
        """The child whose turn it is, and who takes it."""
        child = self.base(*want)
        for _ in range(MAX_SKIPS):
            share = None if child is None else self.shares.get(child)
            if child is None or share is None:
                return child
            credit = self._credit[child] + share
            if credit >= 1.0:
                self._credit[child] = credit - 1.0
                return child
            self._credit[child] = credit
            child = self.base(*want)
        return child
