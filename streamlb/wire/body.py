"""Message bodies in transit: counted or walked chunk by chunk, never copied, never guessed.

What lives here: `Body`, which says how many of the bytes at hand belong to the message, and when it ends.
What must not: heads (`http1.py`), buffering, I/O. RFC 9112 sections 6.3 and 7.1.
"""

from __future__ import annotations

import re
from typing import Final

from streamlb.wire.forwarding import MANAGED
from streamlb.wire.message import CHUNKED

MAX_CHUNK_LINE: Final = 4096
"""Bytes of a chunk-size line with its extensions."""
MAX_TRAILERS: Final = 16 * 1024
"""Bytes of a trailer section."""

_size = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t\x20-\x7e\x80-\xff]*+)?\r\n")
_size_line, _size_at = _size.fullmatch, _size.match
_trailer_line = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):[\t\x20-\x7e\x80-\xff]*+\r\n").fullmatch
_FORBIDDEN: Final = MANAGED | {b"host", b"content-length", b"transfer-encoding", b"connection", b"trailer", b"cookie"}
"""Names that must not come as trailers (RFC 9110 section 6.5.1): a receiver that merges trailers into the head would
take them for what the proxy vouched for."""
_MAX_CHUNK: Final = 2**63 - 1

_COUNT, _SIZE, _DATA, _DATA_END, _TRAILER, _ENDLESS = range(6)


class BodyError(Exception):
    """The body breaks the rules of its framing; the connection it came from has no further meaning."""


class Body:
    """One body, fed with what arrives.

    done: the last byte was seen. left: bytes missing of a counted body or of the chunk being read.
    announced: bytes of content that were promised so far; where nothing is promised, those that have come.
    """

    __slots__ = ("_line", "_state", "_trailers", "announced", "done", "left")

    def __init__(self, framing: int) -> None:
        self._line = b""
        self._trailers = 0
        self.left = self.announced = max(framing, 0)
        self.done = framing == 0
        self._state = _COUNT if framing >= 0 else _SIZE if framing == CHUNKED else _ENDLESS

    def feed(self, data: bytes, payload: list[bytes] | None = None) -> int:
        """Take what belongs to this body and return how much that was; the rest is the next message's.

        payload: collects the data without chunk framing, for a receiver that cannot have chunks.
        Raises BodyError; the object is of no use afterwards.
        """
        if self._state == _ENDLESS:
            taken = len(data)
            self.announced += taken
        elif self._state == _COUNT:
            taken = min(len(data), self.left)
            self.left -= taken
            self.done = self.left == 0
        else:
            return self._walk(data, payload)
        if payload is not None and taken:
            payload.append(data[:taken])
        return taken

    @property
    def passed(self) -> int:
        """Bytes of content that were taken so far, chunk framing and trailers not among them."""
        return self.announced - self.left

    @property
    def counted(self) -> int:
        """Bytes missing of a body of known length; 0 for every other."""
        return self.left if self._state == _COUNT else 0

    def skip(self, count: int) -> None:
        """Count bytes of a counted body that went another way. The next `feed`, if only of nothing, sees its end."""
        assert count <= self.counted, "only counted bytes can go another way"
        self.left -= count

    def _walk(self, data: bytes, payload: list[bytes] | None) -> int:
        at, size = 0, len(data)
        while at < size and not self.done:
            if self._state == _DATA:
                taken = min(size - at, self.left)
                if payload is not None:
                    payload.append(data[at : at + taken])
                self.left -= taken
                at += taken
                if self.left == 0:
                    self._state = _DATA_END
                continue
            if self._state == _SIZE and not self._line:
                at, content = _pass_whole_chunks(data, at, payload)
                self.announced += content
                if at == size:
                    break
            end = data.find(b"\n", at) + 1
            line = self._line + data[at : end or size]
            at = end or size
            if len(line) > (2 if self._state == _DATA_END else MAX_CHUNK_LINE):
                raise BodyError("a chunk line is too long or does not end where it must")
            if end == 0:
                self._line = line
            else:
                self._line = b""
                self._read_line(line)
        return at

    def _read_line(self, line: bytes) -> None:
        if self._state == _SIZE:
            match = _size_line(line)
            if match is None:
                raise BodyError("an invalid chunk size")
            self.left = int(match[1], 16)
            if self.left > _MAX_CHUNK:
                raise BodyError("a chunk size out of range")
            self.announced += self.left
            self._state = _DATA if self.left else _TRAILER
        elif self._state == _DATA_END:
            if line != b"\r\n":
                raise BodyError("a chunk does not end with CRLF")
            self._state = _SIZE
        elif line == b"\r\n":
            self.done = True
        else:
            self._trailers += len(line)
            match = _trailer_line(line)
            if match is None or self._trailers > MAX_TRAILERS:
                raise BodyError("an invalid or oversized trailer section")
            if match[1].lower().replace(b"_", b"-") in _FORBIDDEN:
                raise BodyError("a trailer that only a head may have")


def _pass_whole_chunks(data: bytes, at: int, payload: list[bytes] | None) -> tuple[int, int]:
    """Where the plain chunks that lie in `data` complete end, and how many bytes of content they have: many small ones
    must not cost much more than a large one.

    Whatever is not plain (the last chunk, a piece, a flaw) is left to be walked step by step.
    """
    content = 0
    while (match := _size_at(data, at)) is not None:
        start, length = match.end(), int(match[1], 16)
        end = start + length
        if not length or start - at > MAX_CHUNK_LINE or data[end : end + 2] != b"\r\n":
            break
        if payload is not None:
            payload.append(data[start:end])
        content += length
        at = end + 2
    return at, content


def encode_chunk(data: bytes) -> bytes:
    """One chunk around `data`, which must not be empty."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK: Final = b"0\r\n\r\n"
