"""Probes of HTTP servers: one request on a connection of its own, redirects followed, the answer judged.

What lives here: `probe_http` and its small client on the readers of `wire`. What must not: when to probe (`prober.py`).
The caller bounds the time. Specified by Traefik's HTTP health check; RFC 9110 sections 9 and 15.4.
"""

from __future__ import annotations

import asyncio
import re
import socket
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urljoin, urlsplit

from streamlb.config.health import pattern_of
from streamlb.errors import UpstreamError
from streamlb.health.checks import DEFAULT_PORTS, Result
from streamlb.health.connect import ProbeError, connect
from streamlb.net.handshake import MIN_HANDSHAKE_TIMEOUT
from streamlb.net.tls import PemError, client_context, handshake_error, reason_of
from streamlb.routing.pattern import searcher
from streamlb.wire.body import Body, BodyError
from streamlb.wire.http1 import MAX_HEAD, read_response
from streamlb.wire.message import UNTIL_CLOSE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlb.config.model import HealthCheck
    from streamlb.health.checks import Check
    from streamlb.wire.message import ResponseHead

MAX_REDIRECTS = 10
MAX_INTERIM = 10
"""1xx answers in front of the final one."""
MAX_BODY = 64 * 1024
"""Bytes of a body that are looked at."""
READ_SIZE = 16 * 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})
TO_GET = frozenset({301, 302, 303})
"""Redirects after which one asks with GET, whatever the method was (RFC 9110 section 15.4, notes)."""
DEFAULT_STATUS = ("200-399",)

_visible = re.compile(r"[!-~]*").fullmatch
_searcher = lru_cache(maxsize=256)(searcher)


async def probe_http(check: Check) -> Result:
    """Ask, follow, judge. Raises ProbeError, ShortageError, TimeoutError."""
    options = check.options
    method = options.method
    url = urljoin(check.origin, options.path)
    for _ in range(MAX_REDIRECTS + 1):
        status, location, body = await _ask(method, url, check)
        if not (options.follow_redirects and status in REDIRECTS and location):
            return _judge(f"{options.method} {options.path}: {status}", status, body, options)
        url = _follow(url, location)
        if not url:
            raise ProbeError(f"{options.method} {options.path}: {status} to where a check cannot follow")
        if status in TO_GET and method != "HEAD":
            method = "GET"
    raise ProbeError(f"{options.method} {options.path}: more than {MAX_REDIRECTS} redirects")


def _judge(seen: str, status: int, body: bytes, options: HealthCheck) -> Result:
    if not accepts(options.status, status):
        return Result(False, seen)
    if options.body and not matches(options.body, body):
        return Result(False, f"{seen}, but {options.body} is not in the body")
    return Result(True, seen)


def accepts(ranges: Sequence[str], status: int) -> bool:
    """Whether a status is in one of the ranges; none, or Traefik's 0, is 200 to 399."""
    for text in [each for each in ranges if each != "0"] or DEFAULT_STATUS:
        first, _, last = text.replace(" ", "").partition("-")
        if int(first) <= status <= int(last or first):
            return True
    return False


def matches(wanted: str, body: bytes) -> bool:
    """Whether a body holds a text, or a `/regexp/` matches somewhere in it."""
    pattern = pattern_of(wanted)
    if pattern is None:
        return wanted.encode() in body
    return _searcher(pattern.encode())(body)


# --- one request and its answer ----------------------------------------------------------------------------------


async def _ask(method: str, url: str, check: Check) -> tuple[int, str, bytes]:
    """Status, Location and, where it is wanted, the beginning of the body."""
    options = check.options
    where = urlsplit(url)
    at_home = f"{where.scheme}://{where.netloc}" == check.origin
    host, port = where.hostname or "", where.port or DEFAULT_PORTS[where.scheme]
    version = check.proxy_version if at_home else 0
    sock = await connect(check.host if at_home else host, port, options.timeout, version)
    try:
        tls = _tls(check, host, at_home=at_home) if where.scheme == "https" else {}
        if sock.family == socket.AF_UNIX:
            reader, writer = await asyncio.open_unix_connection(sock=sock, limit=MAX_HEAD)
        else:
            reader, writer = await asyncio.open_connection(sock=sock, limit=MAX_HEAD, **tls)
    except (OSError, ValueError, PemError) as error:
        sock.close()
        raise ProbeError(handshake_error(error).reason) from error
    except BaseException:
        sock.close()
        raise
    what = f"{options.method} {options.path}"
    try:
        writer.write(render_request(method, where, options, at_home=at_home))
        head = await _read_head(reader, method)
        body = await _read_body(reader, head, method) if options.body else b""
    except UpstreamError as error:
        raise ProbeError(f"{what}: {error.reason}") from error
    except BodyError as error:
        raise ProbeError(f"{what}: {error}") from error
    except asyncio.LimitOverrunError as error:
        raise ProbeError(f"{what}: the head of the answer is too large") from error
    except asyncio.IncompleteReadError as error:
        raise ProbeError(f"{what}: the connection was closed before the answer was complete") from error
    except TimeoutError:
        raise
    except OSError as error:
        raise ProbeError(f"{what}: {reason_of(error) or 'connection reset'}") from error
    finally:
        writer.transport.abort()
    return head.status, _location(head), body


def _tls(check: Check, host: str, *, at_home: bool) -> dict[str, Any]:
    """What makes a connection one of TLS: as for the requests of clients."""
    assert check.transport is not None
    return {
        "ssl": client_context(*check.transport.trust),
        "server_hostname": (check.transport.server_name if at_home else "") or host.rstrip("."),
        "ssl_handshake_timeout": max(check.options.timeout, MIN_HANDSHAKE_TIMEOUT),
    }


def render_request(method: str, where: SplitResult, options: HealthCheck, *, at_home: bool = True) -> bytes:
    """The request of a check. at_home: it goes to the server itself, not to where that has redirected us."""
    target = (where.path or "/") + (f"?{where.query}" if where.query else "")
    host = options.hostname if options.hostname and at_home else where.netloc
    fields = {"User-Agent": "streamlb", "Accept": "*/*"}
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    if at_home:
        # Fields may hold secrets: for the server, not for whom it names.
        given = {name.lower() for name in options.headers}
        fields = {name: value for name, value in fields.items() if name.lower() not in given} | options.headers
    lines += [f"{name}: {value}" for name, value in fields.items()]
    if method in ("POST", "PUT", "PATCH"):
        lines.append("Content-Length: 0")
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


async def _read_head(reader: asyncio.StreamReader, method: str) -> ResponseHead:
    for _ in range(MAX_INTERIM + 1):
        head = read_response(await reader.readuntil(b"\r\n\r\n"), method.encode())
        if head.status >= 200 or head.status == 101:
            return head
    raise UpstreamError(502, "too many interim answers")


async def _read_body(reader: asyncio.StreamReader, head: ResponseHead, method: str) -> bytes:
    """The body, up to MAX_BODY bytes of it."""
    framing = head.body_framing(method.encode())
    body = Body(framing)
    payload: list[bytes] = []
    size = 0
    while not body.done and size < MAX_BODY:
        data = await reader.read(READ_SIZE)
        if not data:
            if framing != UNTIL_CLOSE:
                raise asyncio.IncompleteReadError(b"", None)
            break
        body.feed(data, payload)
        size += len(data)
    return b"".join(payload)[:MAX_BODY]


def _location(head: ResponseHead) -> str:
    """The Location field, empty where there is none."""
    for line in head.rendered.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"location":
            return value.strip(b" \t").decode("latin-1")
    return ""


def _follow(url: str, location: str) -> str:
    """Where a redirect leads, empty where a check cannot go."""
    try:
        target = urljoin(url, location)
        where = urlsplit(target)
        can_go = where.scheme in DEFAULT_PORTS and where.hostname and where.port != 0
    except ValueError:
        return ""
    return target if can_go and _visible(target) else ""
