"""Testers choose for themselves: a field or a cookie that leads to a certain child, whatever the weights say.

What lives here: `Overridden`, a balancer with such exceptions, and what they look at.
What must not: the balancing itself (`tree.py`). Compiled by `runtime/build.py`, called by `proxy`.
Specified by docs/reference.md ("Overrides"); Traefik has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlb.balance.cookies import NamedCookie

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlb.balance.selection import Selection, Server
    from streamlb.balance.tree import Balancer, TreeNode


def by_header(name: str, value: str | None) -> Callable[[Selection], bool]:
    """Whether one of the field's values is this; None: whether the request has the field."""
    field, wanted = name.lower().encode("ascii"), None if value is None else value.encode()

    def matches(want: Selection) -> bool:
        values = want.request.values(field) if want.request is not None else ()
        return bool(values) if wanted is None else wanted in values

    return matches


def by_cookie(name: str, value: str | None) -> Callable[[Selection], bool]:
    """Whether the cookie has this value; None: whether the request has the cookie."""
    cookie, wanted = NamedCookie(name), None if value is None else value.encode()

    def matches(want: Selection) -> bool:
        found = cookie.value(want.cookie_header) if want.cookie_header else None
        return found is not None and (wanted is None or found == wanted)

    return matches


class Overridden:
    """Chooses the child of the first override that matches and has somebody, else what its balancer chooses.

    An override leaves weights, rotation and sticky cookies alone: it is an exception for one request.
    """

    __slots__ = ("_overrides", "balancer", "name", "parents")

    def __init__(self, balancer: Balancer, overrides: Sequence[tuple[Callable[[Selection], bool], TreeNode]]) -> None:
        # snapshot
        self.balancer = balancer
        self.name = balancer.name
        self._overrides = tuple(overrides)
        # One list: who is our parent hears of the balancer's health from the balancer itself.
        self.parents = balancer.parents

    @property
    def up(self) -> bool:
        return self.balancer.up

    @property
    def opens(self) -> bool:
        return self.balancer.opens

    def pick(self, want: Selection) -> Server | None:
        for matches, child in self._overrides:
            if child.up and matches(want):
                server = child.pick(want)
                if server is not None or want.queue is not None:
                    return server
        return self.balancer.pick(want)

    def __repr__(self) -> str:
        return f"Overridden({self.name})"
