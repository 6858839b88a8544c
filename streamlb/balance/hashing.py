"""The same client, the same server: rendezvous hashing (highest random weight), without a cookie.

What lives here: `Rendezvous` and what it hashes: the client's address, a field or a cookie of the request.
What must not: secrets; the hash spreads evenly and is the same in every worker and after each start, no more.
Chosen by `runtime/build.py`, called by `tree.py`. Specified by Traefik's `hrw` strategy and docs/reference.md.
"""

from __future__ import annotations

from hashlib import blake2b
from math import log
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from streamlb.balance.cookies import NamedCookie

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from streamlb.balance.selection import Selection

T = TypeVar("T")

_MASK: Final = 2**64 - 1


def digest(data: bytes) -> int:
    """64 bits of a good hash."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def mix(number: int) -> int:
    """64 bits scattered over 64 bits, one to one (the finisher of SplitMix64)."""
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB & _MASK
    return number ^ (number >> 31)


class Draws:
    """An endless row of numbers in [0, 1) that look random; the same row for the same `seed`."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = mix(seed & _MASK)

    def __call__(self) -> float:
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        return (mix(self._state) >> 11) / 2**53


# --- what is hashed ----------------------------------------------------------------------------------------------


def client_key(want: Selection) -> bytes:
    """The client's address."""
    if want.hash_key:
        return want.hash_key
    return want.request.client.packed if want.request is not None else b""


def header_key(name: str) -> Callable[[Selection], bytes]:
    """The first value of a field; the client's address when the request has none."""
    field = name.lower().encode("ascii")

    def key(want: Selection) -> bytes:
        values = want.request.values(field) if want.request is not None else ()
        return (values[0] if values else b"") or client_key(want)

    return key


def cookie_key(name: str) -> Callable[[Selection], bytes]:
    """The value of a cookie; the client's address when the request has none."""
    cookie = NamedCookie(name)

    def key(want: Selection) -> bytes:
        return (cookie.value(want.cookie_header) if want.cookie_header else b"") or client_key(want)

    return key


# --- who is chosen -----------------------------------------------------------------------------------------------


class Rendezvous(Generic[T]):
    """Every child bids for every key, and the highest bid wins; O(children) a pick.

    A child that goes takes nothing but its own keys away, one that comes takes its share of everybody's. Shares are
    as the weights: of children with weights w, each wins w / sum(w) of the keys.
    """

    __slots__ = ("_children", "_even", "_key", "_usable")

    def __init__(self, children: Sequence[tuple[str, T, int]], key: Callable[[Selection], bytes]) -> None:
        """children: by name, which is what decides their bids."""
        # snapshot
        self._key = key
        self._children = [(digest(name.encode()), child, weight) for name, child, weight in children if weight > 0]
        self._even = len({weight for _, _, weight in self._children}) < 2
        # health
        self._usable = self._children

    def use(self, usable: Collection[T]) -> None:
        self._usable = [each for each in self._children if each[1] in usable]

    def next(self, want: Selection) -> T | None:
        usable = self._usable
        if len(usable) < 2:
            return usable[0][1] if usable else None
        key = digest(self._key(want))
        if not self._even:
            return min(usable, key=lambda each: _wait(key, each[0], each[2]))[1]
        highest, winner = -1, None
        for seed, child, _ in usable:
            # `mix`, written out: a call for each child would cost as much again.
            bid = key ^ seed
            bid = (bid ^ (bid >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
            bid = (bid ^ (bid >> 27)) * 0x94D049BB133111EB & _MASK
            bid ^= bid >> 31
            if bid > highest:
                highest, winner = bid, child
        return winner

    def upcoming(self, want: Selection) -> list[T]:
        key = digest(self._key(want))
        return [each[1] for each in sorted(self._usable, key=lambda each: _wait(key, each[0], each[2]))]

    def skip_to(self, child: T) -> None:
        """There is no order to keep."""


def _wait(key: int, seed: int, weight: int) -> float:
    """How long a child of this weight lets the key wait, exponentially distributed; the shortest wait wins."""
    # 52 bits and a half: never 0 and never 1.
    return -log(((mix(key ^ seed) >> 12) + 0.5) / 2**52) / weight
