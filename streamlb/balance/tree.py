"""The service tree: nodes that choose a server, for HTTP, TCP and UDP alike.

What lives here: `Balancer` (load balancers and weighted services) and `Mirror`; the leaf is `selection.Server`.
What must not: sending anything, looking for a healthy child during a pick. A pick annotates its `Selection`, so it
can be repeated. Compiled by `runtime/build.py`, called by `proxy`. Specified in docs/architecture.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from streamlb.balance.selection import MirrorOrder, Node, Server
from streamlb.balance.slow_start import Warming
from streamlb.balance.strategy import Rotation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlb.balance.queue import Queue
    from streamlb.balance.quota import Quota
    from streamlb.balance.selection import Parent, Selection
    from streamlb.balance.sticky import Sticky
    from streamlb.balance.strategy import Strategy


class TreeNode(Node, Protocol):
    """A node that can be a child."""

    parents: list[Parent]

    @property
    def opens(self) -> bool:
        """Whether it, or a node below it, picks among all when nobody is up."""


class Child(NamedTuple):
    """An edge: `name` as written in the configuration; weight 0 is reached by name only (a cookie, an override)."""

    name: str
    node: TreeNode
    weight: int = 1


class Balancer:
    """Chooses one of several children: the one a sticky cookie names, else whom its strategy chooses.

    strategy: weighted round robin unless another one is given.
    queue: of a load balancer whose servers take only so many at once: where to wait when all are full.
    up: whether a child that may get new clients (weight above 0) is up.
    """

    __slots__ = (
        "_fail_open",
        "_next",
        "_sticky",
        "_warming",
        "children",
        "name",
        "opens",
        "parents",
        "queue",
        "strategy",
        "up",
    )

    def __init__(
        self,
        name: str,
        children: Sequence[Child],
        *,
        sticky: Sticky[TreeNode] | None = None,
        strategy: Strategy[TreeNode] | None = None,
        fail_open: bool = False,
        queue: Queue | None = None,
        worker: int = 0,
        workers: int = 1,
    ) -> None:
        """fail_open: pick among all children when none is up. worker, workers: where a rotation starts."""
        # snapshot
        self.name = name
        self.children = tuple(children)
        self.parents: list[Parent] = []
        self._sticky = sticky
        self._fail_open = fail_open
        self.opens = fail_open or any(child.node.opens for child in children)
        self.queue = queue
        # pick
        self.strategy: Strategy[TreeNode] = strategy or Rotation(
            [(c.node, c.weight) for c in children], worker, workers
        )
        self._next: Callable[[Selection], TreeNode | None] = self.strategy.next
        self._warming: Warming[TreeNode] | None = None
        # health
        self.up = False
        for child in self.children:
            if self not in child.node.parents:
                child.node.parents.append(self)
        self.refresh()

    def refresh(self) -> None:
        """Choose among the usable: called when the `up` of a child has changed."""
        usable = {child.node for child in self.children if child.weight > 0 and child.node.up}
        self.strategy.use(usable)
        if self.up != bool(usable):
            self.up = bool(usable)
            for parent in self.parents:
                parent.refresh()

    def warm(self, shares: dict[TreeNode, float]) -> None:
        """From now on these children take but their share of their turns; nobody in it: all as usual."""
        if self._warming is None:
            self._warming = Warming(self._next)
        self._warming.set(shares)
        self._next = self._warming.next if shares else self._warming.base

    def pick(self, want: Selection) -> Server | None:
        sticky = self._sticky
        place = 0
        if sticky is not None:
            place = len(want.cookies)
            server = self._pick_named(want, sticky)
            if server is not None or want.queue is not None:
                if want.stuck is None:
                    want.stuck = True
                return server
            want.stuck = False
        child = self._next(want)
        if child is None:
            return self._pick_open(want) if self.opens or want.fail_open else None
        server = child.pick(want)
        if server is None and want.queue is None:
            # Everybody below this child has been tried before, or is down since the last refresh.
            child, server = self._pick_another(want, child)
            if server is None and self.queue is not None:
                self._note_queue(want)
        if sticky is not None and server is not None:
            # In front of what inner services have set, as they are walked.
            want.cookies.insert(place, sticky.cookies[child])
        return server

    def _pick_another(self, want: Selection, failed: TreeNode) -> tuple[TreeNode, Server | None]:
        """The next child by turn that has somebody, and whom it has; each child is asked at most once."""
        spent = want.spent()
        spent.add(failed)
        for child in self.strategy.upcoming(want):
            if child in spent:
                continue
            server = child.pick(want)
            if server is not None:
                self.strategy.skip_to(child)
                return child, server
            if want.queue is not None:
                break  # To wait there keeps the shares; to go on would overflow into the next service.
            spent.add(child)
        return failed, None

    def _pick_open(self, want: Selection) -> Server | None:
        """Nobody is up, and this service, or one above or below it, tries all the same: O(children)."""
        everybody = {child.node for child in self.children if child.weight > 0}
        if not everybody:
            return None
        outer, want.fail_open = want.fail_open, want.fail_open or self._fail_open
        self.strategy.use(everybody)
        try:
            return self.pick(want)
        finally:
            self.strategy.use(())
            want.fail_open = outer

    def _note_queue(self, want: Selection, wanted: TreeNode | None = None) -> None:
        """Nobody could be picked: if that is for want of places only, it is worth to wait for one."""
        asked = [wanted] if wanted is not None else [child.node for child in self.children if child.weight > 0]
        if any(isinstance(each, Server) and each.up and each.is_full and each not in want.avoid for each in asked):
            want.queue = self.queue
            want.wanted = wanted if isinstance(wanted, Server) else None

    def _pick_named(self, want: Selection, sticky: Sticky[TreeNode]) -> Server | None:
        """The server of the child that the client's cookie names, None if it names nobody who can serve."""
        found = sticky.find(want.cookie_header) if want.cookie_header else None
        if found is None:
            return None
        child, old = found
        place = len(want.cookies)
        # Asked even if it is not up: one that takes no new clients may still hold this one.
        server = child.pick(want)
        if server is None and self.queue is not None:
            self._note_queue(want, child)
        if server is not None and old:
            want.cookies.insert(place, sticky.cookies[child])
        return server

    def __repr__(self) -> str:
        return f"Balancer({self.name})"


class Mirror:
    """Chooses what its main service chooses, and notes the mirrors that are to get a copy.

    up: the main service's; mirrors never influence it.
    """

    __slots__ = ("main", "mirrors", "name", "parents", "up")

    def __init__(self, name: str, main: TreeNode, mirrors: Sequence[tuple[MirrorOrder, Quota]]) -> None:
        # snapshot
        self.name = name
        self.main = main
        self.mirrors = tuple(mirrors)
        self.parents: list[Parent] = []
        # health
        self.up = main.up
        main.parents.append(self)

    @property
    def opens(self) -> bool:
        return self.main.opens

    def refresh(self) -> None:
        """Follow the main service."""
        if self.up != self.main.up:
            self.up = self.main.up
            for parent in self.parents:
                parent.refresh()

    def pick(self, want: Selection) -> Server | None:
        server = self.main.pick(want)
        # A retry is the same request: it has been counted and its mirrors are noted.
        if server is not None and not want.retried:
            for order, quota in self.mirrors:
                if quota.admit():
                    want.mirrors.append(order)
        return server

    def __repr__(self) -> str:
        return f"Mirror({self.name})"
