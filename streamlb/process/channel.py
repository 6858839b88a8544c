"""Messages and descriptors between the control process and a worker.

What lives here: the messages, their frames (four bytes of length, then msgpack), and `Channel`, one end of the pair.
What must not: what a message makes either side do (`control.py`, `worker.py`). Descriptors travel as SCM_RIGHTS
(unix(7)) with the first byte of the frame they belong to. Neither end ever waits for the other.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from streamlb.config.model import Config  # noqa: TC001  # msgspec reads it when the classes are made.
from streamlb.errors import InternalError
from streamlb.observe.spans import Span  # noqa: TC001  # As above.

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

MAX_FRAME = 256 * 1024 * 1024
"""Bytes of one message; a configuration of 10,000 routers takes some 2 MiB."""
READ_SIZE = 256 * 1024
MAX_DESCRIPTORS_PER_READ = 64
PREFIX = 4

ServerKey = tuple[str, str, str]
"""Protocol, service, server."""


class Listen(msgspec.Struct, tag=True, frozen=True):
    """To a worker: here is your socket of `entry_point`, as the descriptor that comes with this message.

    It is served from the next `Configure` on, instead of the one it had under that name, if any.
    """

    DESCRIPTORS: ClassVar[int] = 1

    entry_point: str


class Memory(msgspec.Struct, tag=True, frozen=True):
    """To a worker, before its first `Configure`: the memory its counters go to, as the descriptor of a file.

    now: the time of day, in seconds.
    """

    DESCRIPTORS: ClassVar[int] = 1

    now: float


class Configure(msgspec.Struct, tag=True, frozen=True):
    """To a worker: you are number `worker` of `workers`; serve `config` on the sockets you were given."""

    config: Config
    worker: int
    workers: int
    version: int
    down: list[ServerKey] = []
    """The servers that are not to be used now."""


class Release(msgspec.Struct, tag=True, frozen=True):
    """To a worker, after `Configure`: nobody but you has the sockets any more that `version` does not need. Let in who
    has come in time, close them, and say `Ready` once more."""

    version: int


class Health(msgspec.Struct, tag=True, frozen=True):
    """To a worker: this server is up, or down, from now on."""

    server: ServerKey
    up: bool


class Drain(msgspec.Struct, tag=True, frozen=True):
    """To a worker: accept no more, finish what is in flight within the entry points' grace, and end.

    handed_over: somebody serves the same sockets already, so there is nothing to announce and nobody to wait for.
    shared: entry points whose sockets others go on with; their datagrams are to be left to them.
    """

    handed_over: bool = False
    shared: list[str] = []


class Reopen(msgspec.Struct, tag=True, frozen=True):
    """To a worker: open the log files anew, by their names."""


class Ask(msgspec.Struct, tag=True, frozen=True):
    """To a worker: tell me `what`, at most `limit` of it (0: all).

    Answered by a `Told` of the same number, whose body is JSON of a shape that depends on `what`.
    """

    number: int
    what: str
    limit: int = 0


class Told(msgspec.Struct, tag=True, frozen=True):
    """From a worker: the answer to a question; None where the question makes no sense to it."""

    number: int
    body: bytes | None


class Ready(msgspec.Struct, tag=True, frozen=True):
    """From a worker: `version` of the configuration is being served."""

    version: int


class Failed(msgspec.Struct, tag=True, frozen=True):
    """From a worker: `version` of the configuration cannot be served."""

    version: int
    reason: str


class Ejected(msgspec.Struct, tag=True, frozen=True):
    """From a worker: it has taken this server out for what its clients' requests showed."""

    server: ServerKey


class Traced(msgspec.Struct, tag=True, frozen=True):
    """From a worker: sampled requests, for the collector of traces; lost: how many more there were."""

    spans: list[Span]
    lost: int


class Drained(msgspec.Struct, tag=True, frozen=True):
    """From a worker, its last word: `cut` conversations did not end within the grace."""

    cut: int


Message = (
    Listen
    | Memory
    | Configure
    | Release
    | Health
    | Drain
    | Reopen
    | Ask
    | Told
    | Ready
    | Failed
    | Ejected
    | Traced
    | Drained
)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


class Channel:
    """One end of a connected pair of stream sockets.

    on_message: gets each message and the descriptors that came with it, in order; it owns the descriptors.
    on_end: called once, when the other process is gone or talks nonsense.
    """

    def __init__(self, sock: socket.socket) -> None:
        # connection
        sock.setblocking(False)
        self._sock = sock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_message: Callable[[Message, list[int]], None] = lambda _message, _descriptors: None
        self._on_end: Callable[[], None] = lambda: None
        self._received = bytearray()
        self._descriptors: deque[int] = deque()
        self._unsent: deque[tuple[memoryview, list[int]]] = deque()
        self._writing = False

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """This process's end, and the socket to hand to the other process."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(ours), theirs

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        on_message: Callable[[Message, list[int]], None],
        on_end: Callable[[], None],
    ) -> None:
        """Begin to read."""
        self._loop = loop
        self._on_message = on_message
        self._on_end = on_end
        loop.add_reader(self._sock.fileno(), self._on_readable)

    def send(self, message: Message, descriptors: list[int] | None = None) -> None:
        """Send a message. The caller keeps its descriptors, and keeps them open until the other side has spoken."""
        if self.closed:
            return
        body = _encode(message)
        self._unsent.append((memoryview(len(body).to_bytes(PREFIX, "big") + body), descriptors or []))
        if not self._writing:
            self._flush()

    @property
    def closed(self) -> bool:
        return self._sock.fileno() < 0

    def close(self) -> None:
        """Forget everything that was not sent or read."""
        if self.closed:
            return
        if self._loop is not None:
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())
        self._unsent.clear()

    def finish(self, timeout: float) -> None:
        """Send what is left, waiting for the other side at most `timeout` seconds, and close: a process's last word."""
        with contextlib.suppress(OSError):
            self._sock.settimeout(timeout)
            for data, _ in self._unsent:
                self._sock.sendall(data)
        self.close()

    # --- writing -------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Send as far as the kernel takes it; the rest when there is room."""
        assert self._loop is not None, "the channel was not started"
        while self._unsent:
            data, descriptors = self._unsent[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
            try:
                sent = self._sock.sendmsg([data], rights)
            except BlockingIOError:
                break
            except OSError:
                # The other process is gone, or a descriptor was closed too early: both sides read the end.
                self._unsent.clear()
                with contextlib.suppress(OSError):
                    self._sock.shutdown(socket.SHUT_RDWR)
                break
            if sent == len(data):
                self._unsent.popleft()
            else:
                self._unsent[0] = (data[sent:], [])
        if bool(self._unsent) != self._writing:
            self._writing = bool(self._unsent)
            if self._writing:
                self._loop.add_writer(self._sock.fileno(), self._flush)
            else:
                self._loop.remove_writer(self._sock.fileno())

    # --- reading -------------------------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        try:
            self._read()
        except BlockingIOError:
            return
        except (OSError, InternalError, msgspec.DecodeError):
            self._end()

    def _read(self) -> None:
        space = socket.CMSG_SPACE(MAX_DESCRIPTORS_PER_READ * array.array("i").itemsize)
        data, notes, flags, _ = self._sock.recvmsg(READ_SIZE, space, socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in notes:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers = array.array("i")
                numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
                self._descriptors.extend(numbers)
        if not data:
            self._end()
            return
        if flags & socket.MSG_CTRUNC:
            raise InternalError("descriptors were lost on the channel")
        self._received += data
        while (message := self._next()) is not None:
            wanted = message.DESCRIPTORS if isinstance(message, Listen | Memory) else 0
            if wanted > len(self._descriptors):
                raise InternalError("a message has come without its descriptors")
            self._on_message(message, [self._descriptors.popleft() for _ in range(wanted)])
            if self.closed:
                return

    def _next(self) -> Message | None:
        """The next complete message."""
        received = self._received
        if len(received) < PREFIX:
            return None
        end = PREFIX + int.from_bytes(received[:PREFIX], "big")
        if end > PREFIX + MAX_FRAME:
            raise InternalError("a message on the channel is too long")
        if len(received) < end:
            return None
        message: Any = _decode(memoryview(received)[PREFIX:end].tobytes())
        del received[:end]
        return message  # type: ignore[no-any-return]

    def _end(self) -> None:
        if not self.closed:
            self.close()
            self._on_end()
