"""The pump: moves the bytes of a relay between two sockets, by copying at first, by splice once they prove bulky.

What lives here: the two pumps of a conversation and what a worker's pumps share. What must not: routing, dialling,
and the rules of ending (`session/relay.py`). Called by `tcp.py`.
One callback per event and a chunk per turn: no conversation can keep the loop from the others. Both sockets are watched
for changes only (epoll(7), "edge-triggered"): what is there is read until it is known to be gone.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import struct
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from streamlb.net.outgoing import count_untaken
from streamlb.net.poller import FAILED, ON_CHANGE, OVER, PEER_ENDED, READABLE, URGENT, WRITABLE, poller_of
from streamlb.net.splice import PipePool
from streamlb.session.relay import MAX_PENDING, Relay, Verdict

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from streamlb.net.splice import Pipe
    from streamlb.session.relay import Direction

log = logging.getLogger(__name__)

CHUNK = 64 * 1024
"""Bytes copied per wake."""
LARGE = 16 * 1024
"""A read of at least this many bytes counts as bulk; below, copying costs less than two splices."""
BULK = 512 * 1024
"""Bytes in consecutive large reads after which a direction is spliced."""
MAX_SMALL_FILLS = 32
"""Consecutive small splices after which a direction is copied again and its pipe goes back."""

WATCHED = READABLE | URGENT | PEER_ENDED | ON_CHANGE
LAST_OR_URGENT = URGENT | PEER_ENDED | FAILED | OVER

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
NOT_SPLICEABLE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP})


class Tap(Protocol):
    """Something that gets a copy of a direction's bytes and can neither stop nor fail it: a mirror."""

    def feed(self, chunk: memoryview) -> None:
        """`chunk` is only valid during the call."""

    def finish(self) -> None:
        """The direction came to its regular end."""

    def abort(self) -> None:
        """The conversation ended otherwise."""


class PumpsOwner(Protocol):
    """Who started the pumps."""

    def on_half_closed(self) -> None:
        """One side has finished, the other goes on."""

    def on_end(self) -> None:
        """Both sockets are closed; called once."""


class Workshop:
    """What the pumps of one worker share: the poller, the buffer a chunk passes through in a callback, the pipes."""

    __slots__ = ("chunk", "pipes", "poller")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # process
        self.poller = poller_of(loop)
        self.chunk = memoryview(bytearray(CHUNK))
        self.pipes = PipePool()


_workshops: WeakKeyDictionary[asyncio.AbstractEventLoop, Workshop] = WeakKeyDictionary()


def workshop(loop: asyncio.AbstractEventLoop) -> Workshop:
    """The workshop of this loop. Never shared between loops: a chunk in it belongs to one client."""
    found = _workshops.get(loop)
    if found is None:
        found = _workshops[loop] = Workshop(loop)
    return found


class Pump:
    """One direction: reads `source`, writes `target`. It gets the events of its source, hence also those that tell the
    other direction, whose target that is, that it may write.

    _rest: bytes copied that the target has not taken. With a pipe, those bytes are in the pipe and `_rest` is empty.
    _unread: the kernel may hold bytes, or the end, of which no event will tell again.
    _until_dry: a short read proves nothing any more, since the end or urgent bytes have come in.
    _blocked: the target takes no more; an event will tell when it does.
    _is_plain: nothing stands in the way of copying: reading is wanted, and there is no pipe.
    _large: bytes of consecutive large reads; with a pipe, the number of consecutive small ones.
    """

    __slots__ = (
        "_blocked",
        "_chunk",
        "_direction",
        "_is_plain",
        "_large",
        "_may_splice",
        "_owner",
        "_pipe",
        "_poller",
        "_recv_into",
        "_rest",
        "_send",
        "_source",
        "_taps",
        "_target",
        "_target_socket",
        "_unread",
        "_until_dry",
        "_watched",
        "moved",
        "other",
    )

    other: Pump

    def __init__(
        self,
        owner: Pumps,
        direction: Direction,
        source: socket.socket,
        target: socket.socket,
        taps: Sequence[Tap] = (),
    ) -> None:
        # conversation
        self._owner = owner
        self._poller = owner.workshop.poller
        self._chunk = owner.workshop.chunk
        self._direction = direction
        self._source = source.fileno()
        self._target = target.fileno()
        self._target_socket = target
        self._recv_into = source.recv_into
        self._send = target.send
        self._taps = taps
        self._may_splice = not taps
        self._rest = bytearray()
        self._pipe: Pipe | None = None
        self._large = 0
        self._unread = False
        self._until_dry = False
        self._blocked = False
        self._is_plain = True
        self._watched = 0
        self.moved = 0

    # --- events -----------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Have the source's events reported from now on, and what is there already."""
        self._watched = WATCHED
        self._poller.add(self._source, WATCHED, self.on_ready)

    def watch_for_room(self) -> None:
        """The source is also the other direction's target: report room for writing as well, once for all."""
        if not self._watched & WRITABLE:
            self._watched = WATCHED | WRITABLE
            self._poller.modify(self._source, self._watched)

    def on_ready(self, events: int) -> None:
        """Copy a chunk, in the plain case."""
        if not (events == READABLE and self._is_plain) and not self._may_copy(events):
            return
        try:
            count = self._recv_into(self._chunk)
        except BlockingIOError:
            return
        except OSError:
            self._act(self._direction.on_source_lost())
            return
        if not count:
            self._end()
            return
        chunk = self._chunk[:count]
        if self._taps:
            self._feed_taps(chunk)
        self.moved += count
        if self._rest:
            sent = 0
        else:
            try:
                sent = self._send(chunk)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._act(self._direction.on_target_lost())
                return
        if sent != count:
            self._rest += chunk[sent:]
            self._direction.on_pending(count - sent)
            self._wait_for_room()
        if count >= LARGE:
            self._on_large(count)
        else:
            self._large = 0
        if self._until_dry and count < CHUNK:
            self.on_ready(READABLE)

    def _may_copy(self, events: int) -> bool:
        """See to all that is not plain; whether a chunk may be copied after that."""
        if events & WRITABLE:
            if self.other._blocked and not self.other._on_room():
                return False
            if events == WRITABLE:
                return False
        if events & LAST_OR_URGENT:
            self._until_dry = True
        self._unread = not self._direction.wants_read
        if self._unread:
            if events & FAILED:
                # Nothing is read now, or never again; the other side shall know all the same.
                self._owner.abort()
            return False
        if self._pipe is not None:
            self._shovel(self._pipe)
            return False
        return True

    def _on_large(self, count: int) -> None:
        self._large += count
        if self._large >= BULK:
            self._upgrade()
        # A read that did not fill the chunk has emptied the kernel's queue, and whatever comes later is told of.
        if count == CHUNK:
            self._go_on()

    def _go_on(self) -> None:
        """Read on, in another turn: no event will tell that there is more."""
        self._unread = True
        if self._direction.wants_read:
            self._poller.again(self._source, READABLE)

    def _settle(self) -> None:
        self._is_plain = self._pipe is None and self._direction.wants_read

    # --- copying ----------------------------------------------------------------------------------------------

    def _wait_for_room(self) -> None:
        self._settle()
        if not self._blocked:
            self._blocked = True
            self.other.watch_for_room()

    def _on_room(self) -> bool:
        """The target takes something again; whether the conversation goes on."""
        self._blocked = False
        if self._pipe is not None:
            return self._pour(self._pipe) and self._resume()
        try:
            sent = self._send(self._rest)
        except BlockingIOError:
            sent = 0
        except OSError:
            return self._act(self._direction.on_target_lost())
        del self._rest[:sent]
        if self._rest:
            self._blocked = True
        return self._act(self._direction.on_written(sent)) and self._resume()

    def _resume(self) -> bool:
        if self._unread:
            self._go_on()
        return True

    def _feed_taps(self, chunk: memoryview) -> None:
        for tap in self._taps:
            try:
                tap.feed(chunk)
            except Exception:
                log.exception("a mirror failed by a bug of streamlb; its client goes on without")

    # --- splicing ---------------------------------------------------------------------------------------------

    def _upgrade(self) -> None:
        """Splice from now on, if there is a pipe to be had. Bytes still held are written first."""
        self._large = 0
        if self._may_splice and not self._rest:
            self._pipe = self._owner.workshop.pipes.take()
            if self._pipe is not None:
                self._direction.limit = 1
                self._settle()

    def _downgrade(self) -> None:
        """Copy again. The pipe is empty."""
        self._release_pipe()
        self._large = 0
        self._direction.limit = MAX_PENDING
        self._settle()

    def _shovel(self, pipe: Pipe) -> None:
        """Move what is there, by turns of a pipe, until the source is dry or the target full."""
        try:
            count = pipe.fill(self._source)
        except BlockingIOError:
            self._unread = False
            return
        except OSError as error:
            if error.errno in NOT_SPLICEABLE:
                self._may_splice = False
                self._downgrade()
                self._go_on()
            else:
                self._act(self._direction.on_source_lost())
            return
        if not count:
            self._end()
            return
        self._unread = True
        self.moved += count
        self._direction.on_pending(count)
        if not self._pour(pipe) or self._direction.pending:
            return
        if count >= LARGE:
            self._large = 0
        else:
            self._large += 1
            if self._large >= MAX_SMALL_FILLS:
                self._downgrade()
        self._go_on()

    def _pour(self, pipe: Pipe) -> bool:
        """Write what the pipe holds, until the target takes no more; whether the conversation goes on."""
        direction = self._direction
        sent = 0
        try:
            while pipe.held:
                sent += pipe.pour(self._target)
        except BlockingIOError:
            self._wait_for_room()
        except OSError as error:
            if error.errno not in NOT_SPLICEABLE:
                return self._act(direction.on_target_lost())
            self._rest += pipe.drain()
            self._may_splice = False
            self._downgrade()
            self._wait_for_room()
        return self._act(direction.on_written(sent))

    def _release_pipe(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._owner.workshop.pipes.give_back(pipe)

    # --- what follows -----------------------------------------------------------------------------------------

    def _end(self) -> None:
        for tap in self._taps:
            tap.finish()
        self._taps = ()
        self._act(self._direction.on_end())

    def _act(self, verdict: Verdict) -> bool:
        """Do what the relay decided; whether the conversation goes on."""
        if verdict is Verdict.ABORT:
            self._owner.abort()
            return False
        if verdict is Verdict.CLOSE:
            self._owner.close()
            return False
        self._settle()
        if verdict is Verdict.SHUT:
            # Fails if the target was reset meanwhile: reading from it will tell.
            with contextlib.suppress(OSError):
                self._target_socket.shutdown(socket.SHUT_WR)
            self._owner.on_half_closed()
        return True

    def stop(self) -> None:
        """Watch nothing and hold nothing."""
        self._poller.forget(self._source)
        self._release_pipe()
        for tap in self._taps:
            tap.abort()
        self._taps = ()


class Pumps:
    """The two pumps of a conversation and the sockets they own. Taps get what the client says."""

    __slots__ = ("_down", "_downstream", "_owner", "_relay", "_up", "_upstream", "loop", "workshop")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        shared: Workshop,
        downstream: socket.socket,
        upstream: socket.socket,
        owner: PumpsOwner,
        taps: Sequence[Tap] = (),
    ) -> None:
        # process
        self.loop = loop
        self.workshop = shared
        # conversation
        self._downstream = downstream
        self._upstream = upstream
        self._owner: PumpsOwner | None = owner
        relay = self._relay = Relay()
        up = self._up = Pump(self, relay.a_to_b, downstream, upstream, taps)
        down = self._down = Pump(self, relay.b_to_a, upstream, downstream)
        up.other, down.other = down, up

    @property
    def moved(self) -> int:
        """Bytes read from both sides."""
        return self._up.moved + self._down.moved

    def count_progress(self) -> int:
        """A number that grows with every byte that is read from one side or taken by the other. Asks the kernel."""
        pending = self._relay.a_to_b.pending + self._relay.b_to_a.pending
        untaken = count_untaken(self._downstream.fileno()) + count_untaken(self._upstream.fileno())
        return 3 * self.moved - 2 * pending - untaken

    def start(self) -> None:
        """Move what the client has already said, and watch both sides."""
        self._up.watch()
        self._down.watch()
        self._up.on_ready(READABLE)

    def on_half_closed(self) -> None:
        if self._owner is not None:
            self._owner.on_half_closed()

    def close(self) -> None:
        """Close both sides; what was written still arrives."""
        owner, self._owner = self._owner, None
        if owner is None:
            return
        self._up.stop()
        self._down.stop()
        self._downstream.close()
        self._upstream.close()
        # No circle stays behind: the memory of a conversation is free at once, without a collection.
        del self._up.other, self._down.other, self._up, self._down
        self._relay.dissolve()
        owner.on_end()

    def abort(self) -> None:
        """Reset both sides: a cut conversation must not look like a finished one."""
        if self._owner is not None:
            reset_on_close(self._downstream)
            reset_on_close(self._upstream)
            self.close()


def reset_on_close(sock: socket.socket) -> None:
    """Have `close` send a reset and forget what is unsent."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
