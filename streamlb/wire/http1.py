"""HTTP/1.1 heads, read and rendered: one strict fast lane, h11 for everything else.

What lives here: `read_request`, `read_response` and the policy both lanes share. A head that the strict grammar below
proves plain is used as it stands; any other goes to h11, and what h11 accepts is held to the same policy.
What must not: bodies (`body.py`), connections, I/O. RFC 9110 section 5, RFC 9112 sections 2 to 7.
"""

from __future__ import annotations

import re
from typing import Final

import h11

from streamlb.errors import DownstreamError, UpstreamError
from streamlb.wire.forwarding import MANAGED
from streamlb.wire.message import CHUNKED, NO_BODY, RequestFields, RequestHead, ResponseHead
from streamlb.wire.policy import DEFAULT, RequestPolicy

MAX_HEAD: Final = 32 * 1024
"""Bytes of a response head, and of a request head unless the entry point says otherwise."""
MAX_REQUEST_LINE: Final = 16 * 1024
MAX_FIELDS: Final = 100
MAX_LENGTH: Final = 2**63 - 1
"""The largest Content-Length and chunk size taken (RFC 9110 section 8.6 asks to expect large ones)."""

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
FIELD_LINES: Final = rb"(?:" + TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n)*\r\n"

_request_line = re.compile(rb"(?!CONNECT )(" + TOKEN + rb"++) (/[!\"$-~]*+) HTTP/1\.1\r\n").match
_status_line = re.compile(rb"HTTP/1\.1 ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n").match
_field_lines = re.compile(FIELD_LINES).fullmatch
_host = re.compile(
    rb"(?:(?:\[[0-9A-Fa-f:.]++(?:%25[\w.~-]++)?\]|[A-Za-z0-9._~!$&'()*+,;=%-]++)(?::[0-9]{0,5})?)?"
).fullmatch
_digits = re.compile(rb"[0-9]{1,19}").fullmatch
_fold = re.compile(rb"\r\n[ \t]").search

find_flaw = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search
"""Finds what no head may contain, even before its end is there: control characters, and line ends but CRLF."""

# What the proxy does with a field; fields not listed are end-to-end and pass as they are.
_HOST, _LENGTH, _TRANSFER, _CONNECTION, _UPGRADE, _EXPECT, _TE, _COOKIE, _DROP = range(1, 10)
_REQUEST_ACTS: Final = {
    b"host": _HOST,
    b"content-length": _LENGTH,
    b"transfer-encoding": _TRANSFER,
    b"connection": _CONNECTION,
    b"upgrade": _UPGRADE,
    b"expect": _EXPECT,
    b"te": _TE,
    b"cookie": _COOKIE,
    b"keep-alive": _DROP,
    b"proxy-connection": _DROP,
    b"proxy-authorization": _DROP,
    b"proxy-authenticate": _DROP,
    b"http2-settings": _DROP,
}
_RESPONSE_ACTS: Final = {
    b"content-length": _LENGTH,
    b"transfer-encoding": _TRANSFER,
    b"connection": _CONNECTION,
    b"upgrade": _UPGRADE,
    b"keep-alive": _DROP,
    b"proxy-connection": _DROP,
    b"proxy-authenticate": _DROP,
}
_KEPT_IN_SPITE_OF_CONNECTION: Final = frozenset({b"host", b"content-length", b"cookie"}) | MANAGED
"""Fields that naming them in `Connection` does not remove: the proxy and its servers rely on them."""


class _Broken(Exception):
    """A rule broken by a head, before it is known whose head it was."""

    def __init__(self, reason: str, status: int = 400) -> None:
        self.reason = reason
        self.status = status


# --- requests ------------------------------------------------------------------------------------------------------


def read_request_line(line: bytes) -> tuple[bytes, bytes] | None:
    """(method, target) if the strict grammar takes the line: origin-form and HTTP/1.1. Hot."""
    match = _request_line(line)
    return (match[1], match[2]) if match is not None and match.end() == len(line) else None


def read_fields(block: bytes, policy: RequestPolicy = DEFAULT) -> RequestFields | None:
    """The reading of a header block (with its empty line), or None if the strict grammar does not take it."""
    if _field_lines(block) is None:
        return None
    try:
        fields = _read_request_fields(block[:-4].split(b"\r\n") if len(block) > 2 else [], 1, policy)
    except _Broken:
        return None
    return fields if fields.host_name or fields.host else None


def read_request(head: bytes) -> RequestHead:
    """Read a complete head. Raises DownstreamError: nothing more of that connection may be interpreted."""
    end = head.find(b"\r\n") + 2
    line = read_request_line(head[:end])
    if line is not None:
        fields = read_fields(head[end:])
        if fields is not None:
            return RequestHead(line[0], line[1], 1, head[:end], fields)
    return read_unusual_request(head)


def read_unusual_request(head: bytes, policy: RequestPolicy = DEFAULT) -> RequestHead:
    """The lane of everything the strict grammar does not take; h11 reads, our policy decides."""
    try:
        return _read_by_h11(head, policy)
    except _Broken as broken:
        raise DownstreamError(broken.status, broken.reason) from None
    except h11.RemoteProtocolError as refused:
        status = refused.error_status_hint or 400
        raise DownstreamError(status if status in (400, 431, 501) else 400, str(refused)) from None


def _read_by_h11(head: bytes, policy: RequestPolicy) -> RequestHead:
    _refuse_flaws(head)
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head) + 1)
    reader.receive_data(head)
    event = reader.next_event()
    if not isinstance(event, h11.Request):
        raise _Broken("the head is incomplete")
    minor = {b"1.1": 1, b"1.0": 0}.get(event.http_version)
    if minor is None:
        raise _Broken("the version is not HTTP/1.0 or HTTP/1.1", 505)
    fields = _read_request_fields(_lines(head), minor, policy)
    method, target = bytes(event.method), _origin_form(bytes(event.method), bytes(event.target), fields)
    if not fields.host and minor == 1 and not any(name == b"host" for name, _ in fields.pairs):
        raise _Broken("no Host")
    return RequestHead(method, target, minor, method + b" " + target + b" HTTP/1.1\r\n", fields)


def _origin_form(method: bytes, target: bytes, fields: RequestFields) -> bytes:
    """The target to send on (RFC 9112 section 3.2): an absolute-form's authority replaces Host."""
    if method == b"CONNECT":
        raise _Broken("CONNECT is not served here", 501)
    if b"#" in target:
        raise _Broken("a fragment in the target")
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        raise _Broken("the target is neither a path nor an absolute URL")
    cut = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    authority, path = rest[:cut], rest[cut:]
    if not authority:  # RFC 9110 section 4.2.1: to be rejected; which host it means is anybody's guess.
        raise _Broken("no host in the target")
    _set_host(fields, authority)
    fields.pairs = [pair for pair in fields.pairs if pair[0] != b"host"] + [(b"host", authority)]
    if not path and method == b"OPTIONS":
        return b"*"
    return path if path.startswith(b"/") else b"/" + path


def _set_host(fields: RequestFields, host: bytes) -> None:
    if _host(host) is None:
        raise _Broken("an invalid Host")
    fields.host = host
    name = host.lower()
    if name.startswith(b"["):
        fields.host_name = name[: name.find(b"]") + 1]
    else:
        fields.host_name = name.partition(b":")[0].removesuffix(b".")


def _read_request_fields(lines: list[bytes], minor: int, policy: RequestPolicy) -> RequestFields:
    """The policy for request fields, the same in both lanes. Raises _Broken."""
    if len(lines) > MAX_FIELDS:
        raise _Broken("too many header fields", 431)
    fields = RequestFields()
    kept: list[bytes] = []
    named: list[bytes] = []
    upgrades: list[bytes] = []
    cookies: list[bytes] = []
    hosts = lengths = transfers = 0
    for line in lines:
        name, _, value = line.partition(b":")
        name = name.lower()
        value = value.strip(b" \t")
        fields.pairs.append((name, value))
        act = _REQUEST_ACTS.get(name)
        if act is None:
            if name in MANAGED:
                fields.managed.append((name, value))
            elif b"_" in name and _ends_here(name, policy):
                fields.pairs.pop()
            else:
                kept.append(line)
        elif act == _HOST:
            hosts += 1
            _set_host(fields, value)
        elif act == _LENGTH:
            lengths += 1
            fields.framing = _length(value)
            fields.framing_line = b"Content-Length: %d\r\n" % fields.framing
        elif act == _TRANSFER:
            transfers += 1
            _chunked(value)
            fields.framing = CHUNKED
            fields.framing_line = b"Transfer-Encoding: chunked\r\n"
        elif act == _COOKIE:
            cookies.append(value)
            kept.append(line)
        elif act == _CONNECTION:
            named += _members(value.lower())
        elif act == _UPGRADE:
            upgrades += _members(value)
        elif act == _EXPECT:
            if value.lower() != b"100-continue":
                raise _Broken("an expectation that cannot be met", 417)
            fields.expectation = b"Expect: 100-continue\r\n"
        elif act == _TE:
            fields.trailers = fields.trailers or b"trailers" in _members(value.lower())
    if hosts > 1:
        raise _Broken("more than one Host")
    _one_framing(lengths, transfers, minor)
    if minor == 0:  # RFC 9110 sections 7.8 and 10.1.1: to be ignored in HTTP/1.0.
        upgrades, fields.expectation = [], b""
    if b"upgrade" in named:
        fields.upgrade = b", ".join(name for name in upgrades if not name.lower().startswith(b"h2c"))
    _apply_connection(fields, named, kept, policy)
    fields.cookie = b"; ".join(cookies)
    return fields


def _ends_here(name: bytes, policy: RequestPolicy) -> bool:
    """Whether a field with `_` in its name is dropped; always if a server that reads `_` as `-` would obey it."""
    if policy.underscores == "reject":
        raise _Broken("a field name with an underscore")
    plain = name.replace(b"_", b"-")
    return policy.underscores == "delete" or plain in MANAGED or plain in _REQUEST_ACTS


def _apply_connection(fields: RequestFields, named: list[bytes], kept: list[bytes], policy: RequestPolicy) -> None:
    """What `Connection` says: persistence, upgrade, and fields that end here (RFC 9110 section 7.6.1)."""
    if b"close" in named:
        fields.keep_alive = False
    elif b"keep-alive" in named:
        fields.keep_alive = True
    lasting = [name for name in named if name in policy.kept_hops]
    lines = _without_named(kept, [name for name in named if name not in lasting] if lasting else named)
    if fields.trailers:
        lines.append(b"TE: trailers")
    hops = [b"TE"] * fields.trailers + [b"Upgrade"] * bool(fields.upgrade) + list(dict.fromkeys(lasting))
    if hops:
        lines.append(b"Connection: " + b", ".join(hops))
    if fields.upgrade:
        lines.append(b"Upgrade: " + fields.upgrade)
    fields.kept = b"\r\n".join(lines) + b"\r\n" if lines else b""


# --- responses -----------------------------------------------------------------------------------------------------


def read_response(head: bytes, method: bytes) -> ResponseHead:
    """Read a complete response head (1xx too). Raises UpstreamError(502)."""
    try:
        end = head.find(b"\r\n") + 2
        match = _status_line(head[:end])
        if match is not None and _field_lines(head[end:]) is not None:
            lines = head[end:-4].split(b"\r\n") if len(head) - end > 2 else []
            return _read_response_fields(int(match[1]), head[:end], lines, 1)
        return _read_response_by_h11(head, method)
    except _Broken as broken:
        raise UpstreamError(502, broken.reason) from None
    except h11.RemoteProtocolError:  # Its words quote the server, who must not write our log.
        raise UpstreamError(502, "the answer is not valid HTTP") from None


def _read_response_by_h11(head: bytes, method: bytes) -> ResponseHead:
    _refuse_flaws(head)
    reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD + 1)
    reader.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"server")]))
    reader.receive_data(head)
    event = reader.next_event()
    if not isinstance(event, h11.Response | h11.InformationalResponse):
        raise _Broken("the head is incomplete")
    if event.http_version not in (b"1.0", b"1.1"):
        raise _Broken("the version is not HTTP/1.0 or HTTP/1.1")
    status_line = b"HTTP/1.1 %d %s\r\n" % (event.status_code, bytes(event.reason))
    return _read_response_fields(event.status_code, status_line, _lines(head), int(event.http_version == b"1.1"))


def _read_response_fields(status: int, status_line: bytes, lines: list[bytes], minor: int) -> ResponseHead:
    """The policy for response fields, the same in both lanes. Raises _Broken."""
    if len(lines) > MAX_FIELDS:
        raise _Broken("too many header fields")
    head = ResponseHead(status)
    head.keep_alive = minor == 1
    kept: list[bytes] = []
    named: list[bytes] = []
    lengths = transfers = 0
    for line in lines:
        name, _, value = line.partition(b":")
        act = _RESPONSE_ACTS.get(name.lower())
        if act is None:
            kept.append(line)
            continue
        value = value.strip(b" \t")
        if act == _LENGTH:
            lengths += 1
            head.framing = _length(value)
            head.framing_line = b"Content-Length: %d\r\n" % head.framing
        elif act == _TRANSFER:
            transfers += 1
            _chunked(value)
            head.framing = CHUNKED
            head.framing_line = b"Transfer-Encoding: chunked\r\n"
        elif act == _CONNECTION:
            named += _members(value.lower())
        elif act == _UPGRADE:
            head.upgrade = value
    _one_framing(lengths, transfers, minor)
    if b"close" in named:
        head.keep_alive = False
    elif b"keep-alive" in named:
        head.keep_alive = True
    if status < 200 or status == 204:
        head.framing_line = b""
    if status < 200 or status in (204, 304):
        head.framing = NO_BODY
    if status == 101:
        kept += [b"Connection: Upgrade", b"Upgrade: " + head.upgrade]
    lines = _without_named(kept, named)
    head.rendered = b"".join((status_line, *(line + b"\r\n" for line in lines)))
    head.plain = b"".join((head.rendered, head.framing_line, b"\r\n"))
    return head


def is_asked_for(answered: bytes, asked: bytes) -> bool:
    """Whether a server switches to what its client offered, and to nothing else (RFC 9110 section 7.8)."""
    protocols = _members(answered.lower())
    return bool(protocols) and set(protocols) <= set(_members(asked.lower()))


# --- shared rules --------------------------------------------------------------------------------------------------


def _length(value: bytes) -> int:
    """RFC 9110 section 8.6: digits only. `int` alone would take `+5`, `1_0` and more."""
    if _digits(value) is None or int(value) > MAX_LENGTH:
        raise _Broken("an invalid Content-Length")
    return int(value)


def _chunked(value: bytes) -> None:
    """RFC 9112 section 6.1: `chunked` is the only coding we can frame by; others are refused, not guessed."""
    if value.lower() != b"chunked":
        raise _Broken("a Transfer-Encoding other than chunked", 501)


def _one_framing(lengths: int, transfers: int, minor: int) -> None:
    """A message has one framing or is refused: two are the root of request smuggling (RFC 9112 section 6.3)."""
    if lengths > 1:
        raise _Broken("more than one Content-Length")
    if transfers > 1:
        raise _Broken("more than one Transfer-Encoding")
    if lengths and transfers:
        raise _Broken("both Content-Length and Transfer-Encoding")
    if transfers and minor == 0:
        raise _Broken("Transfer-Encoding in HTTP/1.0")


def _refuse_flaws(head: bytes) -> None:
    """What h11 would take and we do not."""
    if find_flaw(head) is not None or _fold(head) is not None:
        raise _Broken("line ends must be CRLF, fields must not be folded, control characters must not appear")


def _lines(head: bytes) -> list[bytes]:
    """The field lines of a complete head, as they stand: h11 merges some, and we refuse those."""
    return head[:-4].split(b"\r\n")[1:]


def _members(value: bytes) -> list[bytes]:
    """The members of a comma-separated list (RFC 9110 section 5.6.1), without empty ones."""
    return [member for raw in value.split(b",") if (member := raw.strip(b" \t"))]


def _without_named(lines: list[bytes], named: list[bytes]) -> list[bytes]:
    """`lines` without the fields that `Connection` named."""
    drop = {name for name in named if name not in _KEPT_IN_SPITE_OF_CONNECTION}
    if drop <= {b"close", b"keep-alive", b"upgrade"}:
        return lines
    return [line for line in lines if line.partition(b":")[0].lower() not in drop]
