"""The pump: moves the bytes of a relay between two sockets, by copying at first, by splice once they prove bulky.

What lives here: the two pumps of a conversation and what a worker's pumps share. What must not: routing, dialling,
and the rules of ending (`session/relay.py`). Called by `tcp.py`.
One callback per event, one chunk per callback: no conversation can keep the loop from the others.
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
    """What all pumps of one worker share: the buffer a chunk passes through within one callback, and the pipes."""

    __slots__ = ("chunk", "pipes")

    def __init__(self) -> None:
        # process
        self.chunk = memoryview(bytearray(CHUNK))
        self.pipes = PipePool()


_workshops: WeakKeyDictionary[asyncio.AbstractEventLoop, Workshop] = WeakKeyDictionary()


def workshop(loop: asyncio.AbstractEventLoop) -> Workshop:
    """The workshop of this loop. Never shared between loops: a chunk in it belongs to one client."""
    found = _workshops.get(loop)
    if found is None:
        found = _workshops[loop] = Workshop()
    return found


class Pump:
    """One direction: reads `source`, writes `target`.

    _rest: bytes copied that the target has not taken. With a pipe, those bytes are in the pipe and `_rest` is empty.
    _large: bytes of consecutive large reads; with a pipe, the number of consecutive small ones.
    """

    __slots__ = (
        "_chunk",
        "_direction",
        "_large",
        "_loop",
        "_may_splice",
        "_owner",
        "_pipe",
        "_reading",
        "_recv_into",
        "_rest",
        "_send",
        "_source",
        "_taps",
        "_target",
        "_target_socket",
        "_writing",
        "moved",
    )

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
        self._loop = owner.loop
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
        self._reading = False
        self._writing = False
        self.moved = 0

    # --- copying ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._reading = True
        self._loop.add_reader(self._source, self._on_readable)

    def prime(self) -> None:
        """Read without being told to: who speaks first has mostly spoken by now."""
        self._on_readable()

    def _on_readable(self) -> None:
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
            self._settle()
        if count >= LARGE:
            self._large += count
            if self._large >= BULK:
                self._upgrade()
        else:
            self._large = 0

    def _on_writable(self) -> None:
        try:
            sent = self._send(self._rest)
        except BlockingIOError:
            return
        except OSError:
            self._act(self._direction.on_target_lost())
            return
        del self._rest[:sent]
        self._act(self._direction.on_written(sent))

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
        if not self._may_splice or self._rest or not self._reading:
            return
        self._pipe = self._owner.workshop.pipes.take()
        if self._pipe is not None:
            self._direction.limit = 1
            self._loop.add_reader(self._source, self._on_spliceable)

    def _downgrade(self) -> None:
        """Copy again. The pipe is empty."""
        self._release_pipe()
        self._large = 0
        self._direction.limit = MAX_PENDING
        if self._reading:
            self._loop.add_reader(self._source, self._on_readable)
        if self._writing:
            self._loop.add_writer(self._target, self._on_writable)

    def _on_spliceable(self) -> None:
        pipe = self._pipe
        assert pipe is not None, "spliced without a pipe"
        try:
            count = pipe.fill(self._source)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in NOT_SPLICEABLE:
                self._may_splice = False
                self._downgrade()
            else:
                self._act(self._direction.on_source_lost())
            return
        if not count:
            self._end()
            return
        self.moved += count
        self._direction.on_pending(count)
        if not self._pour(pipe):
            return
        if count >= LARGE:
            self._large = 0
            return
        self._large += 1
        if self._large >= MAX_SMALL_FILLS and not self._direction.pending:
            self._downgrade()

    def _on_pourable(self) -> None:
        assert self._pipe is not None, "poured without a pipe"
        self._pour(self._pipe)

    def _pour(self, pipe: Pipe) -> bool:
        """Write what the pipe holds; whether the conversation goes on."""
        direction = self._direction
        try:
            sent = pipe.pour(self._target)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            if error.errno in NOT_SPLICEABLE:
                self._rest += pipe.drain()
                self._may_splice = False
                self._downgrade()
                sent = 0
            else:
                return self._act(direction.on_target_lost())
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

    def _settle(self) -> None:
        """Watch exactly what the relay wants watched."""
        direction = self._direction
        if direction.wants_read is not self._reading:
            self._reading = not self._reading
            if not self._reading:
                self._loop.remove_reader(self._source)
            else:
                self._loop.add_reader(self._source, self._on_spliceable if self._pipe else self._on_readable)
        if direction.wants_write is not self._writing:
            self._writing = not self._writing
            if not self._writing:
                self._loop.remove_writer(self._target)
            else:
                self._loop.add_writer(self._target, self._on_pourable if self._pipe else self._on_writable)

    def stop(self) -> None:
        """Watch nothing and hold nothing."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._source)
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._target)
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
        self._up = Pump(self, relay.a_to_b, downstream, upstream, taps)
        self._down = Pump(self, relay.b_to_a, upstream, downstream)

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
        """Watch both sides, beginning with what the client has already said."""
        self._up.start()
        self._down.start()
        self._up.prime()

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
        del self._up, self._down
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
