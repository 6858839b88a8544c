"""How long a server's last answers took, and how many of them were any good.

What lives here: `Latency`, a bounded memory with an estimate that costs nothing to read.
What must not: clocks; whoever sends measures. Filled by `proxy`, read by `load.py`.
Other than Traefik's `leasttime`, an answer that failed is no fast answer: see `expected`.
"""

from __future__ import annotations

from math import inf
from typing import Final

SAMPLES: Final = 100
"""Answers remembered per server, as in Traefik."""


class Latency:
    """The last answers of one server.

    expected: seconds until a good answer, None while nothing is known. It is the mean of the good answers divided by
    their share: a server that fails every second time needs two tries, one that only fails is never worth one.
    """

    __slots__ = ("_good", "_next", "_samples", "_sum", "expected")

    def __init__(self) -> None:
        # across snapshots
        self._samples: list[float | None] = []
        self._next = 0
        self._sum = 0.0
        self._good = 0
        self.expected: float | None = None

    def add(self, seconds: float | None) -> None:
        """Note an answer that began after so many seconds; None is one that failed."""
        samples = self._samples
        if len(samples) < SAMPLES:
            samples.append(seconds)
        else:
            self._take_out(samples[self._next])
            samples[self._next] = seconds
        self._next = (self._next + 1) % SAMPLES
        if seconds is not None:
            self._sum += seconds
            self._good += 1
        if self._next == 0:
            # Once a round exactly, so that rounding errors do not add up.
            self._sum = sum(sample for sample in samples if sample is not None)
        good = self._good
        self.expected = self._sum * len(samples) / (good * good) if good else inf

    def _take_out(self, sample: float | None) -> None:
        if sample is not None:
            self._sum -= sample
            self._good -= 1

    def forget(self) -> None:
        """Know nothing, as in the beginning."""
        self._samples.clear()
        self._next = 0
        self._sum = 0.0
        self._good = 0
        self.expected = None
