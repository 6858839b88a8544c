"""The two pumps of a conversation, and what a worker's pumps share.

What lives here: `Pumps` and `Workshop`. What must not: moving bytes (`plain_pump.py`, `secure_pump.py`), routing,
dialling, and the rules of ending (`session/relay.py`). Called by `tcp_conversation.py`.
"""

from __future__ import annotations

import enum
import socket
import struct
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from streamlb.net.outgoing import count_untaken
from streamlb.net.poller import READABLE, poller_of
from streamlb.net.secure import SecureSocket
from streamlb.net.splice import PipePool
from streamlb.proxy.plain_pump import CHUNK, PlainPump
from streamlb.proxy.secure_pump import SecurePump
from streamlb.session.relay import Relay

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from typing import TypeAlias

    Stream: TypeAlias = socket.socket | SecureSocket
    """A connected, non-blocking socket, with TLS or without; the handshake is over."""

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


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


class Lost(enum.Enum):
    """Which side of a conversation failed."""

    CLIENT = 0
    SERVER = 1


class Pumps:
    """The two pumps of a conversation and the sockets they own. Taps get what the client says.

    lost: which side failed, if one did. total: bytes read from the client and from the server, once closed.
    """

    __slots__ = ("_down", "_downstream", "_owner", "_relay", "_up", "_upstream", "loop", "lost", "total", "workshop")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        shared: Workshop,
        downstream: Stream,
        upstream: Stream,
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
        self.lost: Lost | None = None
        self.total = (0, 0)
        relay = self._relay = Relay()
        is_secure = isinstance(downstream, SecureSocket) or isinstance(upstream, SecureSocket)
        kind = SecurePump if is_secure else PlainPump
        up: PlainPump = kind(self, relay.a_to_b, downstream, upstream, taps)
        down: PlainPump = kind(self, relay.b_to_a, upstream, downstream)
        up.other, down.other = down, up
        self._up = up
        self._down = down

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes read from the client and from the server."""
        return (self._up.moved, self._down.moved) if self._owner is not None else self.total

    def lose(self, pump: PlainPump, *, source: bool) -> None:
        """A side of this pump, its source or its target, has failed; the first one to do so counts."""
        if self.lost is None:
            self.lost = Lost.CLIENT if (pump is self._up) == source else Lost.SERVER

    def count_progress(self) -> int:
        """A number that grows with every byte that is read from one side or taken by the other. Asks the kernel."""
        pending = self._relay.a_to_b.pending + self._relay.b_to_a.pending
        untaken = count_untaken(self._downstream.fileno()) + count_untaken(self._upstream.fileno())
        return 3 * sum(self.moved) - 2 * pending - untaken

    def start(self) -> None:
        """Watch both sides, and move what has already come."""
        up, down = self._up, self._down
        up.watch()
        down.watch()
        up.on_ready(READABLE)
        if isinstance(down, SecurePump) and self._owner is not None:
            # What came with the handshake is not told of by an event, and our last word of it may still be here.
            down.begin()

    def on_half_closed(self) -> None:
        if self._owner is not None:
            self._owner.on_half_closed()

    def close(self) -> None:
        """Close both sides; what was written still arrives."""
        if self._owner is None:
            return
        self.total = self.moved
        owner, self._owner = self._owner, None
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


def reset_on_close(sock: Stream) -> None:
    """Have `close` send a reset and forget what is unsent."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
