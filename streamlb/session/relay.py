"""The life of one TCP conversation: two directions, each ending on its own.

What lives here: the automaton that says when to read, when to pass an end on, when to close and when to reset.
What must not: sockets, buffers, pipes; `proxy/plain_pump.py` moves the bytes and only counts them here.
Specified by RFC 9293 3.6 (half-close) and 3.10.7 (reset). No time limit: who has half-closed still gets the answer.

    OPEN --end seen, nothing pending--> SHUT
    OPEN --end seen, bytes pending--> DRAINING --all written--> SHUT
    OPEN or DRAINING --the target takes no more--> BROKEN
"""

from __future__ import annotations

import enum

MAX_PENDING = 256 * 1024
"""Bytes held for a slow reader before the other side is read no further."""


class State(enum.Enum):
    """Where one direction stands. BROKEN: its target is lost, what the target said before may still be read."""

    OPEN = "open"
    DRAINING = "draining"
    SHUT = "shut"
    BROKEN = "broken"


class Verdict(enum.Enum):
    """What follows from an event, besides `wants_read` and `wants_write`."""

    GO_ON = "go on"
    SHUT = "shut the target's write half"
    CLOSE = "close both"
    ABORT = "reset both"


class Direction:
    """One way of a relay: what was read from its source and is not yet written to its target.

    pending: bytes read and not written. limit: reading stops at this many pending bytes.
    A chunk that is written as soon as it is read changes nothing here and need not be reported.
    """

    __slots__ = ("limit", "other", "pending", "state")

    other: Direction

    def __init__(self) -> None:
        # conversation
        self.state = State.OPEN
        self.pending = 0
        self.limit = MAX_PENDING

    @property
    def wants_read(self) -> bool:
        return self.state is State.OPEN and self.pending < self.limit

    @property
    def wants_write(self) -> bool:
        return self.pending > 0

    def on_pending(self, count: int) -> None:
        """`count` bytes were read that the target did not take at once."""
        self.pending += count

    def on_written(self, count: int) -> Verdict:
        """The target took `count` pending bytes."""
        self.pending -= count
        assert self.pending >= 0, "more was written than was read"
        if self.state is State.DRAINING and not self.pending:
            return self._shut()
        return Verdict.GO_ON

    def on_end(self) -> Verdict:
        """The source will say no more."""
        if self.state is not State.OPEN:
            return Verdict.GO_ON
        if self.pending:
            self.state = State.DRAINING
            return Verdict.GO_ON
        return self._shut()

    def on_source_lost(self) -> Verdict:
        """Reading failed: the source is gone, for both directions."""
        return Verdict.ABORT

    def on_target_lost(self) -> Verdict:
        """Writing failed. A server may refuse the rest of an upload and have answered: that answer still goes out."""
        self.state = State.BROKEN
        self.pending = 0
        if self.other.state in (State.OPEN, State.DRAINING):
            return Verdict.GO_ON
        return Verdict.ABORT

    def _shut(self) -> Verdict:
        self.state = State.SHUT
        if self.other.state is State.SHUT:
            return Verdict.CLOSE
        return Verdict.ABORT if self.other.state is State.BROKEN else Verdict.SHUT


class Relay:
    """Both directions of one conversation, side `a` being the client."""

    __slots__ = ("a_to_b", "b_to_a")

    def __init__(self) -> None:
        # conversation
        self.a_to_b = Direction()
        self.b_to_a = Direction()
        self.a_to_b.other = self.b_to_a
        self.b_to_a.other = self.a_to_b

    def dissolve(self) -> None:
        """The conversation is over: the directions forget each other."""
        del self.a_to_b.other, self.b_to_a.other
