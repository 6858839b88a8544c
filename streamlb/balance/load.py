"""Strategies that look at how busy servers are.

What lives here: `TwoChoices` (Traefik's `p2c`), `LeastBusy` (`leastconn`) and `LeastTime` (`leasttime`).
What must not: measuring (`latency.py` is filled by `proxy`), chance of its own: random numbers come from outside.
Chosen by `runtime/build.py`, called by `tree.py`. Specified by Traefik's load-balancing strategies and, where it is
other, docs/reference.md.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from streamlb.balance.latency import Latency
    from streamlb.balance.selection import Selection, Server

PASSED_OVER: Final = 1000
"""Picks a server may be passed over before what is known of it is too old to count."""


class TwoChoices:
    """Two servers at random, the one with less under way for its weight; the first drawn of two equals.

    One draw of two is nearly as good as knowing the least loaded of all, and many proxies in front of the same
    servers do not all run to the same one.
    """

    __slots__ = ("_children", "_random", "_usable")

    def __init__(self, children: Sequence[tuple[Server, int]], random: Callable[[], float]) -> None:
        """random: the next number in [0, 1)."""
        # snapshot
        self._children = [(server, weight) for server, weight in children if weight > 0]
        self._random = random
        # health
        self._usable = self._children

    def use(self, usable: Collection[Server]) -> None:
        self._usable = [child for child in self._children if child[0] in usable]

    def next(self, want: Selection | None = None) -> Server | None:
        usable = self._usable
        count = len(usable)
        if count < 2:
            return usable[0][0] if usable else None
        first = int(self._random() * count)
        second = int(self._random() * (count - 1))
        server, weight = usable[first]
        other, other_weight = usable[second + (second >= first)]
        return server if server.state.active * other_weight <= other.state.active * weight else other

    def upcoming(self, want: Selection | None = None) -> list[Server]:
        return [server for server, _ in sorted(self._usable, key=lambda child: child[0].state.active / child[1])]

    def skip_to(self, child: Server) -> None:
        """There is no order to keep."""


class _Counted:
    """A server and the number of the pick that chose it last."""

    __slots__ = ("chosen_at", "server", "weight")

    def __init__(self, server: Server, weight: int, chosen_at: int) -> None:
        # snapshot
        self.server = server
        self.weight = weight
        # pick
        self.chosen_at = chosen_at

    @property
    def load(self) -> float:
        """What is under way for its weight, this one included: an idle server of weight 2 is before one of 1."""
        return (self.server.state.active + 1) / self.weight


class LeastBusy:
    """The server with the least under way for its weight, O(servers) a pick; of equals the one chosen longest ago."""

    __slots__ = ("_children", "_picks", "_usable")

    def __init__(self, children: Sequence[tuple[Server, int]], worker: int = 0, workers: int = 1) -> None:
        """Worker k of N begins k/N of the way down the row, so that they do not all run to the first."""
        positive = [(server, weight) for server, weight in children if weight > 0]
        count = len(positive)
        first = count * worker // workers
        # snapshot
        self._children = [
            _Counted(server, weight, (index - first) % count - count) for index, (server, weight) in enumerate(positive)
        ]
        # pick
        self._picks = 0
        # health
        self._usable = self._children

    def resume(self, former: LeastBusy) -> None:
        """Go on where a predecessor stands."""
        known = {child.server.name: child.chosen_at for child in former._children}
        self._picks = former._picks
        for child in self._children:
            child.chosen_at = known.get(child.server.name, child.chosen_at)

    def use(self, usable: Collection[Server]) -> None:
        self._usable = [child for child in self._children if child.server in usable]

    def next(self, want: Selection | None = None) -> Server | None:
        best: _Counted | None = None
        least = inf
        for child in self._usable:
            load = (child.server.state.active + 1) / child.weight
            if load < least or (load == least and best is not None and child.chosen_at < best.chosen_at):
                best, least = child, load
        if best is None:
            return None
        self._picks += 1
        best.chosen_at = self._picks
        return best.server

    def upcoming(self, want: Selection | None = None) -> list[Server]:
        return [child.server for child in sorted(self._usable, key=lambda child: (child.load, child.chosen_at))]

    def skip_to(self, child: Server) -> None:
        self._picks += 1
        next(each for each in self._usable if each.server is child).chosen_at = self._picks


class _Timed:
    """A server, what is known of it, and the number of the pick that chose it last."""

    __slots__ = ("chosen_at", "latency", "server", "weight")

    def __init__(self, server: Server, weight: int, latency: Latency) -> None:
        # snapshot
        self.server = server
        self.weight = weight
        self.latency = latency
        # pick
        self.chosen_at = 0


class LeastTime:
    """The server that is expected to answer first: expected seconds * (1 + under way) / weight; O(servers) a pick.

    Nobody is known at first: a new server gets one request, and until it has answered it counts as an average one, so
    that not everybody runs to it. A server passed over for too long is a new one again: it may have recovered.
    Between equals the one that was chosen longest ago is next.
    """

    __slots__ = ("_children", "_limit", "_picks", "_usable")

    def __init__(self, children: Sequence[tuple[Server, int, Latency]]) -> None:
        # snapshot
        self._children = [_Timed(server, weight, latency) for server, weight, latency in children if weight > 0]
        self._limit = max(PASSED_OVER, 10 * len(self._children))
        # pick
        self._picks = 0
        # health
        self._usable = list(self._children)
        """In the order of their last picks, the longest ago first."""

    def resume(self, former: LeastTime) -> None:
        """Go on where a predecessor stands."""
        known = {child.server.name: child.chosen_at for child in former._children}
        self._picks = former._picks
        for child in self._children:
            child.chosen_at = known.get(child.server.name, child.chosen_at)
        self.use({child.server for child in self._usable})

    def use(self, usable: Collection[Server]) -> None:
        self._usable = [child for child in self._children if child.server in usable]
        self._usable.sort(key=lambda child: child.chosen_at)
        for child in self._usable:
            # Being away is not being passed over.
            child.chosen_at = max(child.chosen_at, self._picks - self._limit)

    def next(self, want: Selection | None = None) -> Server | None:
        usable = self._usable
        if len(usable) < 2:
            return usable[0].server if usable else None
        self._picks += 1
        if self._picks - usable[0].chosen_at > self._limit:
            usable[0].latency.forget()
        best, least = 0, inf
        for index, child in enumerate(usable):
            active = child.server.state.active
            expected = child.latency.expected
            if expected is None:
                if not active:
                    best = index
                    break
                expected = self._typical()
            score = expected * (1 + active) / child.weight
            if score < least:
                best, least = index, score
        return self._take(best)

    def _take(self, index: int) -> Server:
        child = self._usable.pop(index)
        self._usable.append(child)
        child.chosen_at = self._picks
        return child.server

    def _typical(self) -> float:
        """What an unknown server is thought to take: the mean of those that are known."""
        known = [child.latency.expected for child in self._usable]
        finite = [seconds for seconds in known if seconds is not None and seconds < inf]
        return sum(finite) / len(finite) if finite else 0.0

    def upcoming(self, want: Selection | None = None) -> list[Server]:
        def score(child: _Timed) -> float:
            expected = child.latency.expected
            return (self._typical() if expected is None else expected) * (1 + child.server.state.active) / child.weight

        return [child.server for child in sorted(self._usable, key=score)]

    def skip_to(self, child: Server) -> None:
        self._take(next(index for index, each in enumerate(self._usable) if each.server is child))
