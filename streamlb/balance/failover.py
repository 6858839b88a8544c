"""A main service, and another one for when it fails.

What lives here: `Failover`, the node, and `fall_back`, the step from a main service that has failed to its fallback.
What must not: sending anything, judging an answer: the shell says what happened. Compiled by `runtime/build.py`, called
by `proxy`. Specified by Traefik's failover service; other than there, a main service that cannot be reached has failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlb.balance.selection import FallbackOrder, Node, Parent, Selection, Server
    from streamlb.balance.tree import TreeNode


class Failover:
    """Chooses what its main service chooses while that has somebody, else what its fallback chooses.

    up: whether one of them is. order: what a pick from the main service notes.
    """

    __slots__ = ("fallback", "main", "name", "order", "parents", "up")

    def __init__(self, name: str, main: TreeNode, fallback: TreeNode, order: FallbackOrder) -> None:
        # snapshot
        self.name = name
        self.main = main
        self.fallback = fallback
        self.order = order
        self.parents: list[Parent] = []
        # health
        self.up = main.up or fallback.up
        for child in {main, fallback}:
            child.parents.append(self)

    @property
    def opens(self) -> bool:
        return self.main.opens or self.fallback.opens

    def refresh(self) -> None:
        """Be up while one of them is."""
        up = self.main.up or self.fallback.up
        if self.up != up:
            self.up = up
            for parent in self.parents:
                parent.refresh()

    def pick(self, want: Selection) -> Server | None:
        if self.main.up or not self.fallback.up:
            server = self._pick_main(want)
            # A main service that is full is not one that fails: to wait there is what its queue is for.
            return server if server is not None or want.queue is not None else self.fallback.pick(want)
        # A main service that is down may still hold a client by a cookie, but then only if nobody else is left.
        server = self.fallback.pick(want)
        return server if server is not None or want.queue is not None else self.main.pick(want)

    def _pick_main(self, want: Selection) -> Server | None:
        place, cookies = len(want.fallbacks), len(want.cookies)
        server = self.main.pick(want)
        if server is not None:
            # In front of what inner services have noted, as they are walked.
            noted = (self.order, len(want.cookies) - cookies)
            want.fallbacks = (*want.fallbacks[:place], noted, *want.fallbacks[place:])
        return server

    def __repr__(self) -> str:
        return f"Failover({self.name})"


def fall_back(want: Selection, status: int | None = None) -> tuple[Node, Server] | None:
    """Where the request goes after its server has failed with this status, or could not be reached (None).

    The service is the one to pick from from now on. None if there is nobody: then nothing has changed, and the failure
    is the answer.
    """
    before = want.fallbacks, want.cookies, want._settled
    while (service := want.leave_main(status)) is not None:
        server = service.pick(want)
        if server is not None:
            return service, server
    want.fallbacks, want.cookies, want._settled = before
    want.queue = want.wanted = None
    return None
