"""Whose turn is it: what a strategy is, and weighted round robin over the usable children.

What lives here: `Strategy`; `Rotation`, earliest deadline first on a grid of integer virtual time.
What must not: what a child is, health, stickiness; strategies that look at load (`load.py`) or hash (`hashing.py`).
Called by `tree.py`.
Specified in docs/architecture.md ("one service tree").
"""

from __future__ import annotations

from heapq import heapify, heapreplace
from math import lcm
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from streamlb.balance.selection import Selection

T = TypeVar("T")


class Strategy(Protocol[T]):
    """Chooses among the usable children of one balancer; children of weight 0 are never among them."""

    def use(self, usable: Collection[T]) -> None:
        """From now on only `usable` children are chosen: O(children)."""

    def next(self, want: Selection) -> T | None:
        """The child for this pick; None when none is usable. Hot."""

    def upcoming(self, want: Selection) -> list[T]:
        """The usable children in the order of preference, for a pick whose first choice had nobody left."""

    def skip_to(self, child: T) -> None:
        """A child of `upcoming` was taken."""


class Rotation(Generic[T]):
    """The turns of weighted children, exact for ever and spread as evenly as the weights allow.

    Child i of n has its turns at `phase + k * stride` of a virtual time, stride being inverse to its weight and
    phase being i/n of the stride. So every `sum(weights)` successive turns hold each child exactly `weight` times,
    and all that has to be remembered is the last turn: the heap is nothing but the next turn of each usable child.
    Children that are away miss their turns and come back to the same grid: nobody gets a burst, nobody a penalty.

    shape: the weights in order.
    """

    __slots__ = ("_heap", "_last", "_next_only", "_period", "_turns", "shape")

    def __init__(self, children: Sequence[tuple[T, int]], worker: int = 0, workers: int = 1) -> None:
        """Children with their weights in configuration order; worker k of N starts k/N of a block later."""
        positive = [(child, weight) for child, weight in children if weight > 0]
        count = len(positive)
        block = lcm(*(weight for _, weight in positive)) if positive else 0
        # snapshot
        self.shape = tuple(weight for _, weight in children)
        self._period = block * count
        # One turn is (time, index, stride, child); times are scaled by `count` to keep phases integer. No two
        # turns have the same time and index, so to compare them never compares children.
        self._turns: list[tuple[int, int, int, T]] = [
            (block // weight * index, index, block // weight * count, child)
            for index, (child, weight) in enumerate(positive)
        ]
        # pick
        self._last: tuple[int, int] = (block * count * worker // workers - 1, count)
        self._heap: list[tuple[int, int, int, T]] = []
        self._next_only: T | None = None
        self.use({child for child, _ in positive})

    def use(self, usable: Collection[T]) -> None:
        """From now on only `usable` children have turns: O(children)."""
        last = self._last
        self._heap = [_next_turn(turn, last) for turn in self._turns if turn[3] in usable]
        heapify(self._heap)
        self._next_only = self._heap[0][3] if len(self._heap) == 1 else None

    def resume(self, former: Rotation[T]) -> None:
        """Go on where another rotation stands; of other weights or children, at the same part of the block.

        So changed weights do not send everybody to the first child, however often they change.
        """
        time, index = former._last
        if self.shape == former.shape:
            self._last = former._last
        elif time >= 0 and self._period:
            at, rest = divmod(time % former._period * self._period, former._period)
            # Turns of a moment before that one have been; of the same moment, those behind the last one are still due.
            self._last = at, len(self._turns) if rest else index
        self.use({turn[3] for turn in self._heap})

    def next(self, want: Selection | None = None) -> T | None:
        """The child whose turn it is, O(log children); None when none is usable."""
        heap = self._heap
        if len(heap) < 2:
            return self._next_only
        time, index, stride, child = heap[0]
        heapreplace(heap, (time + stride, index, stride, child))
        self._last = (time, index)
        return child

    def upcoming(self, want: Selection | None = None) -> list[T]:
        """The usable children in the order of their next turns, O(children)."""
        return [turn[3] for turn in sorted(self._heap)]

    def skip_to(self, child: T) -> None:
        """Take the next turn of a usable child; the others miss their turns before it. O(children)."""
        time, index, _, _ = min(turn for turn in self._heap if turn[3] == child)
        self._last = (time, index)
        self._heap = [_next_turn(turn, self._last) for turn in self._heap]
        heapify(self._heap)


def _next_turn(turn: tuple[int, int, int, T], last: tuple[int, int]) -> tuple[int, int, int, T]:
    """The first turn of the child of `turn` that comes after the turn `last`."""
    time, index, stride, child = turn
    earliest = last[0] if index > last[1] else last[0] + 1
    missed = -((time - earliest) // stride)
    return time + missed * stride, index, stride, child
