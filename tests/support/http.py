"""Plain HTTP for tests: a client that sends bytes as they are, and an origin that records them as they came.

What lives here: `raw_http`, `http_get`, `Client`, and `Recorder`, a scripted origin in threads of its own.
What must not: anything of streamlb: what is under test must not check itself. Blocking sockets, no loop.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

TIMEOUT = 10.0


class After(enum.Enum):
    """What an origin can do besides sending bytes."""

    CLOSE = "close the connection"
    RESET = "reset the connection"
    HANG = "keep the connection open and say nothing more"


Step = bytes | float | After
"""One step of an answer: bytes to send, seconds to wait, or an end."""
Script = bytes | Sequence[Step]
Answer = Script | Callable[["Recorded"], Script]


@dataclass(slots=True)
class Message:
    """An HTTP message as it was on the wire. `body` is decoded from chunks, `raw` is not."""

    raw: bytes
    start_line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def values(self, name: str | bytes) -> list[bytes]:
        """All values of a field, its name in any case."""
        wanted = (name.encode() if isinstance(name, str) else name).lower()
        return [value for key, value in self.headers if key.lower() == wanted]

    def value(self, name: str | bytes) -> bytes | None:
        """The only value of a field, or None."""
        found = self.values(name)
        assert len(found) <= 1, f"{name!r} came {len(found)} times"
        return found[0] if found else None


@dataclass(slots=True)
class Reply(Message):
    """An answer, as a client read it."""

    @property
    def status(self) -> int:
        return int(self.start_line.split()[1])

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(slots=True)
class Recorded(Message):
    """A request, as the origin received it; `connection` counts the origin's connections from 1."""

    connection: int = 0

    @property
    def method(self) -> str:
        return self.start_line.split()[0].decode()

    @property
    def target(self) -> str:
        return self.start_line.split()[1].decode()


class Reader:
    """Reads HTTP messages from a blocking socket, leniently: it is no judge of grammar."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""

    def message(self, *, method: bytes = b"", is_answer: bool = False) -> Message | None:
        """The next message, or None at the end of the connection."""
        head = self._until(b"\r\n\r\n")
        if head is None:
            return None
        start_line, *lines = head[:-4].split(b"\r\n")
        headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        message = Message(head, start_line, headers, b"")
        status = start_line.split()[1] if is_answer else b""
        if method == b"HEAD" or status in (b"204", b"304") or status.startswith(b"1"):
            return message
        length = message.values("content-length")
        if b"chunked" in b",".join(message.values("transfer-encoding")).lower():
            self._chunks(message)
        elif length:
            message.body = self._exactly(int(length[0]))
            message.raw += message.body
        elif is_answer:
            message.body = self._rest()
            message.raw += message.body
        return message

    def _chunks(self, message: Message) -> None:
        body = []
        while True:
            line = self._until(b"\r\n")
            assert line is not None, "the connection ended inside a chunked body"
            message.raw += line
            size = int(line.split(b";")[0], 16)
            if not size:
                break
            chunk = self._exactly(size + 2)
            message.raw += chunk
            body.append(chunk[:-2])
        while (line := self._until(b"\r\n")) not in (b"\r\n", None):
            message.raw += line or b""
        message.raw += b"\r\n"
        message.body = b"".join(body)

    def _more(self) -> bool:
        piece = self._sock.recv(65536)
        self._buffer += piece
        return bool(piece)

    def _until(self, mark: bytes) -> bytes | None:
        while mark not in self._buffer:
            if not self._more():
                return None
        cut = self._buffer.index(mark) + len(mark)
        found, self._buffer = self._buffer[:cut], self._buffer[cut:]
        return found

    def _exactly(self, size: int) -> bytes:
        pieces = [self._buffer[:size]]
        self._buffer = self._buffer[size:]
        missing = size - len(pieces[0])
        while missing:
            piece = self._sock.recv(min(missing, 1 << 20))
            assert piece, f"the connection ended {missing} bytes early"
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def _rest(self) -> bytes:
        while self._more():
            pass
        found, self._buffer = self._buffer, b""
        return found


def raw_http(port: int, request: bytes, *, host: str = "127.0.0.1", timeout: float = TIMEOUT) -> bytes:
    """Send bytes as they are and return all that comes until the other side closes (or resets)."""
    received = []
    with socket.create_connection((host, port), timeout) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(request)
        with contextlib.suppress(ConnectionError):
            while piece := sock.recv(65536):
                received.append(piece)
    return b"".join(received)


def parse_replies(data: bytes) -> list[Reply]:
    """All answers in what `raw_http` returned."""
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def write() -> None:
            theirs.sendall(data)
            theirs.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=write)
        writer.start()
        reader = Reader(ours)
        replies = []
        while (message := reader.message(is_answer=True)) is not None:
            replies.append(Reply(message.raw, message.start_line, message.headers, message.body))
        writer.join()
    return replies


class Client:
    """One keep-alive connection; `request` sends one request and reads its answer."""

    def __init__(self, port: int, *, host: str = "127.0.0.1", timeout: float = TIMEOUT) -> None:
        self.sock = socket.create_connection((host, port), timeout)
        self._reader = Reader(self.sock)

    def secure(self, context: ssl.SSLContext, name: str) -> None:
        """Speak TLS from here on."""
        self.sock = context.wrap_socket(self.sock, server_hostname=name)
        self._reader = Reader(self.sock)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.sock.close()

    def request(
        self,
        target: str = "/",
        *,
        host: str = "127.0.0.1",
        method: str = "GET",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> Reply:
        lines = [
            f"{method} {target} HTTP/1.1",
            f"Host: {host}",
            *(f"{name}: {value}" for name, value in headers),
        ]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        return self.reply(method.encode())

    def reply(self, method: bytes = b"GET") -> Reply:
        """The next final answer (1xx are skipped)."""
        while True:
            message = self._reader.message(method=method, is_answer=True)
            assert message is not None, "the connection ended without an answer"
            if not message.start_line.split()[1].startswith(b"1"):
                return Reply(message.raw, message.start_line, message.headers, message.body)


def http_get(
    port: int, target: str = "/", *, host: str = "127.0.0.1", headers: Sequence[tuple[str, str]] = ()
) -> Reply:
    """One GET over a connection of its own."""
    with Client(port) as client:
        return client.request(target, host=host, headers=[*headers, ("Connection", "close")])


def ok(body: bytes = b"ok\n", *fields: bytes) -> bytes:
    """A plain 200 answer."""
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *fields, b"", body])


@dataclass(slots=True)
class Recorder:
    """An HTTP origin on 127.0.0.1 that keeps every request and answers as told.

    answer: one script for every request, or a callable of the request; `answers` are used up first, in order.
    """

    answer: Answer = field(default_factory=ok)
    answers: list[Answer] = field(default_factory=list)
    port: int = 0
    requests: list[Recorded] = field(default_factory=list)
    connections: int = 0
    _listener: socket.socket | None = None
    _open: set[socket.socket] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Recorder:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=512)
        self.port = self._listener.getsockname()[1]
        self._start(self._accept, self._listener)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        assert self._listener is not None
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self.drop_all()
        for thread in list(self._threads):
            thread.join(5)
        self._listener.close()

    @property
    def open_connections(self) -> int:
        return len(self._open)

    def drop_all(self) -> None:
        """End every open connection, as an origin that is restarted does."""
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def targets(self) -> list[str]:
        return [request.target for request in self.requests]

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while not self._over.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(sock)
            self._start(self._serve, sock, self.connections)

    def _serve(self, sock: socket.socket, connection: int) -> None:
        reader = Reader(sock)
        try:
            with sock, contextlib.suppress(OSError, AssertionError):
                while (message := reader.message()) is not None:
                    request = Recorded(message.raw, message.start_line, message.headers, message.body, connection)
                    with self._lock:
                        self.requests.append(request)
                        answer = self.answers.pop(0) if self.answers else self.answer
                    if not self._play(sock, answer(request) if callable(answer) else answer):
                        return
        finally:
            with self._lock:
                self._open.discard(sock)

    def _play(self, sock: socket.socket, script: Script) -> bool:
        """Whether the connection stays open."""
        for step in (script,) if isinstance(script, bytes) else script:
            if isinstance(step, bytes):
                sock.sendall(step)
            elif isinstance(step, float | int):
                self._over.wait(step)
            elif step is After.HANG:
                while sock.recv(65536):
                    pass
                return False
            else:
                if step is After.RESET:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
        return True


@contextlib.contextmanager
def recording(answer: Answer | None = None, *answers: Answer) -> Iterator[Recorder]:
    """A running `Recorder`: `with recording(ok(b"v1")) as origin: ...`."""
    with Recorder(ok() if answer is None else answer, list(answers)) as recorder:
        yield recorder


def elapsed(work: Callable[[], object]) -> float:
    """How long `work` took, in seconds."""
    started_at = time.monotonic()
    work()
    return time.monotonic() - started_at
