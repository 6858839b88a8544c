"""One direction of a relay of which one side, or both, speak TLS: always by copying.

What lives here: `SecurePump`, with what TLS adds: plaintext that no event tells of, ciphertext that is still to go out,
and goodbyes. What must not: records and keys (`net/secure.py`). Made by `pump.py`.
Specified by RFC 8446 section 6.1: a goodbye travels as an end, an end as a goodbye, a cut as a reset.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from streamlb.net.poller import READABLE
from streamlb.net.secure import CHUNK as CIPHERTEXT
from streamlb.net.secure import SecureSocket
from streamlb.proxy.plain_pump import CHUNK, PlainPump
from streamlb.session.relay import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlb.proxy.pump import Pumps, Stream, Tap
    from streamlb.session.relay import Direction


class SecurePump(PlainPump):
    """As `PlainPump`.

    _sealed: bytes that the target has enciphered and not got rid of; to the relay they are pending until all have gone.
    A goodbye that has not gone counts as one, so that nothing is closed before it.
    """

    __slots__ = ("_sealed", "_secure_source", "_secure_target")

    def __init__(
        self, owner: Pumps, direction: Direction, source: Stream, target: Stream, taps: Sequence[Tap] = ()
    ) -> None:
        super().__init__(owner, direction, source, target, taps)
        # conversation
        self._secure_source = source if isinstance(source, SecureSocket) else None
        self._secure_target = target if isinstance(target, SecureSocket) else None
        self._may_splice = False
        self._sealed = 0

    def begin(self) -> None:
        """Say what the handshake left unsaid, and read what came with it."""
        source = self._secure_source
        if source is None:
            return
        try:
            if source.queued:
                source.flush()
        except OSError:
            self._lose_source()
            return
        self.on_ready(READABLE)

    def on_ready(self, events: int) -> None:
        if not (events == READABLE and self._is_plain) and not self._may_copy(events):
            return
        try:
            count = self._recv_into(self._chunk)
        except BlockingIOError:
            self._look_for_more(0)
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
        if self._direction.pending:
            sent = 0
        else:
            try:
                sent = self._send(chunk)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._lose_target()
                return
        target = self._secure_target
        pending = count - sent
        if target is not None and target.unsent and sent:
            self._sealed = sent
            pending = count
        if pending:
            self._rest += chunk[sent:]
            self._direction.on_pending(pending)
            self._wait_for_room()
        self._look_for_more(count)

    def _look_for_more(self, count: int) -> None:
        """After a read of `count` bytes: come again if no event will tell of what is there."""
        source = self._secure_source
        if source is None:
            if count == CHUNK or (count and self._until_dry):
                self._go_on()
            return
        if source.unsent:
            self.other._wait_for_room()
        if source.pending or source.fetched == CIPHERTEXT or (source.fetched and self._until_dry):
            self._go_on()

    def _on_room(self) -> bool:
        target = self._secure_target
        if target is None:
            return super()._on_room()
        self._blocked = False
        try:
            written = self._write(target)
        except OSError:
            return self._lose_target()
        if target.unsent or self._rest:
            self._blocked = True
        return self._act(self._direction.on_written(written)) and self._resume()

    def _write(self, target: SecureSocket) -> int:
        """Give the target what it takes; how many bytes are gone for good. Before the end comes the goodbye."""
        written = 0
        while not target.unsent or target.flush():
            written += self._sealed
            self._sealed = 0
            if self._rest:
                self._sealed = target.send(self._rest)
                del self._rest[: self._sealed]
            elif self._direction.state is State.DRAINING and written:
                target.shutdown(socket.SHUT_WR)
                if target.unsent:
                    self._sealed, written = written, 0
                return written
            else:
                return written
        return written

    def _lose_target(self) -> bool:
        self._sealed = 0
        self._rest.clear()
        return super()._lose_target()

    def _end(self) -> None:
        target = self._secure_target
        if target is not None and not self._direction.pending and self._direction.state is State.OPEN:
            # Fails if the target was reset meanwhile: reading from it will tell.
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)
            if target.unsent:
                self._sealed = 1
                self._direction.on_pending(1)
                self._wait_for_room()
        super()._end()
