"""The HTTP example server: it answers who it is and what it was asked.

What lives here: `HttpConversation`, one client connection read and answered through h11.
What must not: anything of the proxy; a server that shared its code could not show the proxy's mistakes.

    /          the text, or the name, the host, the peer and the request as received
    /api       the same as JSON, with the length and the SHA-256 of the body
    /health    a status, which the body of a POST sets
    /data      `size` bytes (`chunked=1` for a chunked body)
    /echo      the body of the request
    ?wait=2s   any of them, after a while
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import h11

from streamlb.whoami.identity import show_peer

if TYPE_CHECKING:
    from streamlb.whoami.identity import Identity

BLOCK = b"0123456789abcdef" * 4096
BLOCKS_PER_WAKE = 16
MAX_HEAD = 256 * 1024
MAX_WAIT = 3600.0
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "": 1.0}
PAGES = ("/api", "/health", "/data", "/echo")
PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
NOTHING_MORE = (b"", False)
"""What h11 calls its unread input when there is none and the client has not finished."""


class HttpConversation(asyncio.Protocol):
    """One client connection: keep-alive and pipelining, one request at a time.

    A request that comes with exactly the bytes of the one before gets the remembered answer: load generators and
    keep-alive clients repeat themselves, and reading the head is most of the work.
    """

    def __init__(self, identity: Identity) -> None:
        # connection
        self._identity = identity
        self._codec = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._paused = False
        self._last: tuple[bytes, bytes, str] = (b"", b"", "")
        # request
        self._request: h11.Request | None = None
        self._path = ""
        self._query: dict[str, list[str]] = {}
        self._digest: Any = None
        self._body = b""
        self._body_size = 0
        self._pending: asyncio.Handle | None = None
        self._answered = 0
        self._out: list[bytes] = []
        self._unsent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's is no subclass.
        self._peer = show_peer(transport.get_extra_info("peername"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._pending is not None:
            self._pending.cancel()

    def data_received(self, data: bytes) -> None:
        repeatable = self._is_idle()
        if repeatable and data == self._last[0]:
            self._transport.write(self._last[1])
            self._identity.note(self._last[2])
            return
        self._answered = 0
        self._codec.receive_data(data)
        self._advance()
        answer = self._flush()
        if repeatable and self._answered == 1 and self._is_idle() and self._path not in PAGES:
            self._last = (data, answer, self._line())

    def eof_received(self) -> bool:
        self._codec.receive_data(b"")
        self._advance()
        self._flush()
        return True

    def pause_writing(self) -> None:
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        if self._unsent and self._pending is None:
            self._stream()
        self._resume_reading()

    # --- reading -------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Act on everything that has arrived, up to an answer that takes its time."""
        try:
            while self._pending is None and not self._unsent:
                event = self._codec.next_event()
                if isinstance(event, h11.Request):
                    self._begin(event)
                elif isinstance(event, h11.Data):
                    self._feed(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    self._end()
                else:
                    if event is not h11.NEED_DATA:
                        self._close()
                    return
        except h11.RemoteProtocolError as error:
            self._refuse(error)

    def _begin(self, request: h11.Request) -> None:
        self._request = request
        path, _, query = request.target.decode("ascii", "replace").partition("?")
        self._path = path
        self._query = parse_qs(query, keep_blank_values=True)
        self._body, self._body_size = b"", 0
        self._digest = hashlib.sha256() if path == "/api" else None
        if self._codec.they_are_waiting_for_100_continue:
            self._send(h11.InformationalResponse(status_code=100, headers=[], reason=PHRASES[100]))
        if path == "/echo" and request.method != b"CONNECT":
            self._respond(200, self._echo_framing(request))

    def _feed(self, piece: bytes) -> None:
        self._body_size += len(piece)
        if self._path == "/echo":
            self._send(h11.Data(data=piece))
            self._flush()
        elif self._digest is not None:
            self._digest.update(piece)
        elif len(self._body) < 16:  # As much as `/health` reads.
            self._body += piece[:16]

    def _end(self) -> None:
        delay = self._delay()
        if delay and self._path != "/echo":
            self._transport.pause_reading()
            self._pending = asyncio.get_running_loop().call_later(delay, self._answer_late)
        else:
            self._answer()

    def _delay(self) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|)", self._query.get("wait", [""])[0])
        return min(float(found[1]) * UNITS[found[2]], MAX_WAIT) if found else 0.0

    # --- answering -----------------------------------------------------------------------------------------------

    def _answer_late(self) -> None:
        self._pending = None
        self._answer()
        self._go_on()

    def _go_on(self) -> None:
        """Read again after an answer that took its time."""
        self._advance()
        self._flush()
        self._resume_reading()

    def _resume_reading(self) -> None:
        if self._pending is None and not self._unsent and not self._paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def _answer(self) -> None:
        self._answered += 1
        self._identity.note(self._line())
        if self._method() == "CONNECT":
            self._page(405, "no tunnels here")
        elif self._path == "/echo":
            self._finish()
        elif self._path == "/data":
            self._data()
        elif self._path == "/api":
            self._page(200, json.dumps(self._facts(), indent=2) + "\n", b"application/json")
        elif self._path == "/health":
            self._health()
        else:
            text = self._description() if self._identity.text is None else self._identity.text
            self._page(200, text + "\n")

    def _page(self, status: int, text: str, kind: bytes = b"text/plain; charset=utf-8") -> None:
        body = text.encode()
        self._respond(status, [(b"Content-Type", kind), (b"Content-Length", b"%d" % len(body))])
        if not self._is_head():
            self._send(h11.Data(data=body))
        self._finish()

    def _health(self) -> None:
        if self._method() == "POST":
            word = self._body.strip()
            if not word.isdigit() or not 200 <= int(word) <= 599:
                self._page(400, "the body is to be a status from 200 to 599")
                return
            self._identity.health = int(word)
            self._page(200, f"{self._identity.name}: health is now {self._identity.health}")
        elif self._identity.health in (204, 205, 304):
            self._respond(self._identity.health, [])
            self._finish()
        else:
            self._page(self._identity.health, f"{self._identity.name}: {self._identity.health}")

    def _data(self) -> None:
        size = self._query.get("size", ["0"])[0]
        if not size.isascii() or not size.isdigit() or len(size) > 15:
            self._page(400, "size is to be a number of bytes")
            return
        length = [] if self._query.get("chunked") else [(b"Content-Length", size.encode())]
        self._respond(200, [(b"Content-Type", b"application/octet-stream"), *length])
        if self._is_head() or not int(size):
            self._finish()
            return
        self._unsent = int(size)
        self._transport.pause_reading()
        self._flush()
        self._stream()

    def _stream(self) -> None:
        """Send the rest of `/data` as far as the client takes it, and not too much of it in one go."""
        for _ in range(BLOCKS_PER_WAKE):
            if self._paused or self._transport.is_closing():
                return
            block = BLOCK[: self._unsent]
            self._unsent -= len(block)
            self._send(h11.Data(data=block))
            self._flush()
            if not self._unsent:
                self._finish()
                self._pending = asyncio.get_running_loop().call_soon(self._streamed)
                return
        self._pending = asyncio.get_running_loop().call_soon(self._stream_more)

    def _stream_more(self) -> None:
        self._pending = None
        self._stream()

    def _streamed(self) -> None:
        self._pending = None
        self._go_on()

    def _finish(self) -> None:
        """End the answer; make ready for the next request, or close as HTTP wants it."""
        self._send(h11.EndOfMessage())
        if self._codec.our_state is h11.DONE and self._codec.their_state is h11.DONE:
            self._codec.start_next_cycle()
        else:
            self._close()

    def _refuse(self, error: h11.RemoteProtocolError) -> None:
        self._identity.note(f"{self._peer} refused: {error}")
        if self._codec.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._respond(error.error_status_hint, [(b"Content-Length", b"0"), (b"Connection", b"close")])
            self._send(h11.EndOfMessage())
        self._close()

    def _respond(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._send(h11.Response(status_code=status, headers=headers, reason=PHRASES.get(status, b"")))

    def _send(self, event: h11.Event) -> None:
        self._out.append(self._codec.send(event) or b"")

    def _flush(self) -> bytes:
        joined = b"".join(self._out)
        self._out.clear()
        if joined and not self._transport.is_closing():
            self._transport.write(joined)
        return joined

    def _close(self) -> None:
        self._flush()
        self._transport.close()

    # --- what is known of the request ----------------------------------------------------------------------------

    def _is_idle(self) -> bool:
        codec = self._codec
        return codec.their_state is h11.IDLE and codec.our_state is h11.IDLE and codec.trailing_data == NOTHING_MORE

    def _is_head(self) -> bool:
        return self._method() == "HEAD"

    def _method(self) -> str:
        return "" if self._request is None else self._request.method.decode()

    def _target(self) -> str:
        return "" if self._request is None else self._request.target.decode("ascii", "replace")

    def _headers(self) -> list[tuple[str, str]]:
        if self._request is None:
            return []
        return [(name.decode(), value.decode("latin-1")) for name, value in self._request.headers.raw_items()]

    @staticmethod
    def _echo_framing(request: h11.Request) -> list[tuple[bytes, bytes]]:
        return [(name, value) for name, value in request.headers if name == b"content-length"]

    def _line(self) -> str:
        """The log line: one per request, whatever bytes the target has (h11 lets printable ones through only)."""
        return f"http {self._peer} {self._method()} {self._target()} {self._body_size} bytes"

    def _description(self) -> str:
        version = "1.1" if self._request is None else self._request.http_version.decode()
        return "\n".join(
            [
                f"Name: {self._identity.name}",
                f"Hostname: {self._identity.hostname}",
                f"RemoteAddr: {self._peer}",
                f"{self._method()} {self._target()} HTTP/{version}",
                *(f"{name}: {value}" for name, value in self._headers()),
            ]
        )

    def _facts(self) -> dict[str, object]:
        return {
            "name": self._identity.name,
            "hostname": self._identity.hostname,
            "peer": self._peer,
            "method": self._method(),
            "target": self._target(),
            "headers": self._headers(),
            "bodyLength": self._body_size,
            "bodySha256": self._digest.hexdigest(),
        }
