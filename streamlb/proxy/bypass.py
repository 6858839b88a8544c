"""Bodies and tunnels past the transports: one direction's bytes go from socket to socket by splice.

What lives here: `Bypass`, which moves a known number of bytes beside two transports that live on, and when that pays.
What must not: messages and their ends (`downstream.py` and `upstream.py` count what was moved).
Called by `forwarder.py` and `tunnel.py`. Specified by splice(2); what was measured: docs/decisions/0010.
"""

from __future__ import annotations

import enum
import os
from typing import TYPE_CHECKING, Final, Protocol

from streamlb.net.poller import READABLE, WRITABLE, poller_of
from streamlb.proxy.plain_pump import LARGE, MAX_SMALL_FILLS, NOT_SPLICEABLE
from streamlb.proxy.pump import workshop

if TYPE_CHECKING:
    import asyncio

    from streamlb.net.splice import Pipe

MIN_BODY: Final = 512 * 1024
"""Bytes of a body still to come from which on splicing is cheaper than copying."""
ENDLESS: Final = 1 << 62
"""What is left of a tunnel."""


class Source(Protocol):
    """The protocol whose transport is not read meanwhile.

    outflow: the bypass that reads instead. counted: bytes missing of the body that it sends, if their number is known.
    copies: splicing was refused here.
    """

    transport: asyncio.Transport
    outflow: Bypass | None
    copies: bool

    @property
    def counted(self) -> int: ...

    def on_bypass_start(self) -> None:
        """The transport must not be read until the end."""

    def on_bypassed(self, count: int) -> None:
        """`count` bytes were taken from the kernel, past the transport."""

    def on_bypass_end(self, error: OSError | None) -> None:
        """The transport has to be read again; error: no, the connection is lost."""


class Target(Protocol):
    """The protocol to whose transport nobody else writes meanwhile. inflow: the bypass that writes instead."""

    transport: asyncio.Transport
    inflow: Bypass | None
    copies: bool

    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def on_bypass_lost(self) -> None:
        """It takes no more; the bypass holds its source still until it is told to stop."""


class State(enum.Enum):
    """Where a bypass stands.

    WAITING: for what the transport has still to write. STUCK: for room at the target. LOST: the target takes no more,
    the source is still held.
    """

    WAITING = 0
    OPEN = 1
    STUCK = 2
    LOST = 3
    ENDED = 4


class Bypass:
    """One direction. left: bytes still to be taken from the source.

    The two descriptors are copies: the transports may close theirs whenever they like, and the numbers stay ours.
    A pipe is held only while there is something in it.
    """

    __slots__ = (
        "_is_endless",
        "_pipe",
        "_pipes",
        "_poller",
        "_small",
        "_source",
        "_source_fd",
        "_state",
        "_target",
        "_target_fd",
        "left",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, source: Source, target: Target, left: int) -> None:
        # conversation
        self._poller = poller_of(loop)
        self._pipes = workshop(loop).pipes
        self._source = source
        self._target = target
        self._state = State.WAITING
        self._source_fd = self._target_fd = -1
        self._pipe: Pipe | None = None
        self._is_endless = left == ENDLESS
        self._small = 0
        self.left = left

    @property
    def held(self) -> int:
        """Bytes taken from the source that the target has not taken."""
        return self._pipe.held if self._pipe is not None else 0

    def start(self) -> None:
        """Begin once the target's transport has written what it holds: `on_room` is called then."""
        self._source.on_bypass_start()
        self._target.transport.set_write_buffer_limits(0)
        self.on_room()

    def on_room(self) -> None:
        """The target's transport has nothing more to write."""
        if self._state is not State.WAITING or self._target.transport.get_write_buffer_size():
            return
        self._state = State.OPEN
        try:
            self._source_fd = _copy_descriptor(self._source.transport)
            self._target_fd = _copy_descriptor(self._target.transport)
            self._poller.add(self._source_fd, READABLE, self._on_readable)
        except OSError:
            self.hand_back()

    # --- moving ------------------------------------------------------------------------------------------------

    def _on_readable(self, _events: int) -> None:
        pipe = self._pipe = self._pipes.take()
        if pipe is None:
            self.hand_back()
            return
        try:
            count = pipe.fill(self._source_fd, self.left)
        except BlockingIOError:
            self._return_pipe()
            return
        except OSError as error:
            if error.errno in NOT_SPLICEABLE:
                self._refuse()
            else:
                self.stop()
                self._source.on_bypass_end(error)
            return
        if not count:
            self.hand_back()  # The transport will find the end by itself.
            return
        self.left -= count
        self._source.on_bypassed(count)
        if self._pour(pipe) and self._pipe is None and self._is_endless:
            self._judge(count)

    def _on_writable(self, _events: int) -> None:
        assert self._pipe is not None, "stuck without a pipe"
        self._pour(self._pipe)

    def _pour(self, pipe: Pipe) -> bool:
        """Write what the pipe holds; whether the bypass goes on."""
        try:
            pipe.pour(self._target_fd)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno in NOT_SPLICEABLE:
                self._refuse()
            else:
                self._lose_target()
            return False
        if pipe.held:
            self._stick()
            return True
        self._return_pipe()
        if not self.left:
            self.hand_back()
            return False
        if self._state is State.STUCK:
            if not self._watch(State.OPEN):
                return False
            self._target.resume_writing()
        return True

    def _stick(self) -> None:
        """The target takes nothing more: read no further, as a transport would."""
        if self._state is not State.STUCK and self._watch(State.STUCK):
            self._target.pause_writing()

    def _watch(self, state: State) -> bool:
        """Wait for the other end from now on; False when the kernel watches no more, and the transports go on."""
        stuck = state is State.STUCK
        try:
            self._poller.remove(self._source_fd if stuck else self._target_fd)
            if stuck:
                self._poller.add(self._target_fd, WRITABLE, self._on_writable)
            else:
                self._poller.add(self._source_fd, READABLE, self._on_readable)
        except OSError:
            self.hand_back()
            return False
        self._state = state
        return True

    def _judge(self, count: int) -> None:
        """A tunnel in which only little things are said is copied again."""
        self._small = self._small + 1 if count < LARGE else 0
        if self._small >= MAX_SMALL_FILLS:
            self.hand_back()

    # --- the end -----------------------------------------------------------------------------------------------

    def _refuse(self) -> None:
        """These sockets do not splice: copy, and do not try again."""
        self._source.copies = self._target.copies = True
        self.hand_back()

    def _lose_target(self) -> None:
        """Nothing more goes this way, but what the target has said may still be of use: it decides what follows."""
        was_stuck = self._state is State.STUCK
        self._let_go(State.LOST)
        if not was_stuck:
            self._target.pause_writing()
        self._target.on_bypass_lost()

    def hand_back(self, *, flush: bool = True) -> None:
        """Let the transports go on where this has come to. flush: write what the pipe holds."""
        if self._state is State.ENDED:
            return
        was_stuck = self._state is State.STUCK
        rest = self._pipe.drain() if self._pipe is not None and flush else b""
        self._let_go(State.ENDED)
        if was_stuck:
            self._target.resume_writing()
        if rest and not self._target.transport.is_closing():
            self._target.transport.write(rest)
        self._source.on_bypass_end(None)

    def on_bug(self) -> None:
        """An event was lost: nobody knows what was moved."""
        self.stop()
        self._source.transport.abort()
        self._target.transport.abort()

    def stop(self) -> None:
        """End, and leave the source unread: nobody will ask it any more."""
        self._let_go(State.ENDED)

    def _let_go(self, state: State) -> None:
        """Watch nothing and hold nothing."""
        self._state = state
        if state is State.ENDED:
            self._source.outflow = self._target.inflow = None
        descriptors = (self._source_fd, self._target_fd)
        self._source_fd = self._target_fd = -1
        for descriptor in descriptors:
            if descriptor >= 0:
                self._poller.remove(descriptor)
                os.close(descriptor)
        self._return_pipe()
        if not self._target.transport.is_closing():
            self._target.transport.set_write_buffer_limits()

    def _return_pipe(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._pipes.give_back(pipe)


def bypass(loop: asyncio.AbstractEventLoop, source: Source, target: Target, left: int = 0) -> None:
    """Splice from now on, where that pays and can be. left: of a tunnel, which counts nothing."""
    left = left or source.counted
    if left < MIN_BODY or source.outflow is not None or source.copies or target.copies:
        return
    if workshop(loop).pipes.has_room and _is_plain(source.transport) and _is_plain(target.transport):
        source.outflow = target.inflow = Bypass(loop, source, target, left)
        source.outflow.start()


def _is_plain(transport: asyncio.Transport) -> bool:
    """Whether what the kernel holds is what the peer said."""
    if transport.is_closing() or transport.get_extra_info("socket") is None:
        return False
    return transport.get_extra_info("ssl_object") is None


def _copy_descriptor(transport: asyncio.Transport) -> int:
    return os.dup(transport.get_extra_info("socket").fileno())
