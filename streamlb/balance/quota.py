"""How much is mirrored: a percentage as a deterministic sequence.

What lives here: `Quota`. What must not: what is mirrored and where to. Called by `tree.py`.
Specified by Traefik's mirroring service: the n-th request is mirrored if mirrored * 100 < n * percent.
"""

from __future__ import annotations


class Quota:
    """Admits `percent` of the calls, spread evenly, the first one first: 50 % is the calls 1, 3, 5 and so on.

    credit: `total * percent - admitted * 100`, always between -100 and 0, so it can count for ever.
    """

    __slots__ = ("credit", "percent")

    def __init__(self, percent: int, worker: int = 0, workers: int = 1) -> None:
        """Worker k of N starts k/N of a hundred behind, or every worker would mirror its first request."""
        self.percent = percent
        self.credit = -100 * worker // workers

    def resume(self, former: Quota) -> None:
        """Go on from what a quota of another percentage has left over."""
        self.credit = former.credit

    def admit(self) -> bool:
        """Count a call and say whether it is admitted."""
        credit = self.credit + self.percent
        if credit > 0:
            self.credit = credit - 100
            return True
        self.credit = credit
        return False
