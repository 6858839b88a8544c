"""Bodies of requests kept for a fallback, in case the main service's answer is a failure.

What lives here: `Replay`, one request's body so far, and `Replays`, the limits of all of them.
What must not: when a fallback is asked (`balance/failover.py`), sending (`forwarder.py`).
Traefik's `failover.errors`; other than there a body over the limit is not refused, it is only not kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from streamlb.balance.selection import FallbackOrder

MAX_HELD: Final = 64 * 1024 * 1024
"""Bytes of bodies kept at once, per entry point and worker; what comes on top is not kept."""


class Replays:
    """The bodies kept at one entry point of one worker. held: their bytes."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = 0

    def begin(self, fallbacks: tuple[tuple[FallbackOrder, int], ...], framing: int, early: bytes) -> Replay | None:
        """Keep what is sent of a request from now on; None when no answer matters, or its body is too large."""
        limit = max((order.max_body_size for order, _ in fallbacks if order.statuses), default=-1)
        if framing > limit:
            return None
        replay = Replay(self, limit)
        return replay if limit >= 0 and replay.add(early) else None


class Replay:
    """One request's body as it was sent, chunk framing and all."""

    __slots__ = ("_body", "_limit", "_replays")

    def __init__(self, replays: Replays, limit: int) -> None:
        # attempt
        self._replays = replays
        self._limit = limit
        self._body = bytearray()

    def add(self, data: bytes) -> bool:
        """Keep more of it; False, and nothing is kept, when that is too much."""
        if len(self._body) + len(data) > self._limit or self._replays.held + len(data) > MAX_HELD:
            self.drop()
            return False
        self._body += data
        self._replays.held += len(data)
        return True

    def take(self) -> bytes:
        """What was kept; nothing is from now on."""
        body = bytes(self._body)
        self.drop()
        return body

    def drop(self) -> None:
        """It is not needed any more."""
        self._replays.held -= len(self._body)
        self._body.clear()
