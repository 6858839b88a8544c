"""One direction of a relay between plain sockets: by copying at first, by splice once it proves bulky.

What lives here: `PlainPump`. What must not: the rules of ending (`session/relay.py`), TLS (`secure_pump.py`).
Made by `pump.py`.
One callback per event and a chunk per turn: no conversation can keep the loop from the others. Both sockets are watched
for changes only (epoll(7), "edge-triggered"): what is there is read until it is known to be gone.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
from typing import TYPE_CHECKING

from streamlb.net.poller import FAILED, ON_CHANGE, OVER, PEER_ENDED, READABLE, URGENT, WRITABLE
from streamlb.session.relay import MAX_PENDING, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlb.net.splice import Pipe
    from streamlb.proxy.pump import Pumps, Stream, Tap
    from streamlb.session.relay import Direction

log = logging.getLogger(__name__)

CHUNK = 64 * 1024
"""Bytes copied per turn."""
LARGE = 16 * 1024
"""A read of at least this many bytes counts as bulk; below, copying costs less than two splices."""
BULK = 512 * 1024
"""Bytes in consecutive large reads after which a direction is spliced."""
MAX_SMALL_FILLS = 32
"""Consecutive small splices after which a direction is copied again and its pipe goes back."""

WATCHED = READABLE | URGENT | PEER_ENDED | ON_CHANGE
LAST_OR_URGENT = URGENT | PEER_ENDED | FAILED | OVER

NOT_SPLICEABLE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP})


class PlainPump:
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

    other: PlainPump

    def __init__(
        self,
        owner: Pumps,
        direction: Direction,
        source: Stream,
        target: Stream,
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
            self._lose_source()
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
                self._lose_target()
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
                self._owner.lose(self, source=True)
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
            return self._lose_target()
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
                self._lose_source()
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
                return self._lose_target()
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

    def _lose_source(self) -> bool:
        self._owner.lose(self, source=True)
        return self._act(self._direction.on_source_lost())

    def _lose_target(self) -> bool:
        self._owner.lose(self, source=False)
        return self._act(self._direction.on_target_lost())

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

    def on_bug(self) -> None:
        """An event was lost: nobody knows what was moved."""
        self._owner.abort()

    def stop(self) -> None:
        """Watch nothing and hold nothing."""
        self._poller.forget(self._source)
        self._release_pipe()
        for tap in self._taps:
            tap.abort()
        self._taps = ()
