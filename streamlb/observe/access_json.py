"""Lines of the access log as JSON objects, in Traefik's field names.

What lives here: `HttpLine`, `TcpLine`, `UdpLine`, the fields with their units, and `JsonLines`, which fills them.
What must not: filters, files. Used by `access.py`. Specified by Traefik's list of access-log fields and docs/logs.md.
Durations are nanoseconds, sizes are bytes; a field that makes no sense for a line is absent from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET

from streamlb.observe.access_fields import HeadFields, Parameters
from streamlb.observe.access_text import SECOND, Stamps, sentence, text

if TYPE_CHECKING:
    from streamlb.balance.selection import Server
    from streamlb.config.observation import AccessLogFields
    from streamlb.observe.records import HttpRecord, TcpRecord, UdpRecord
    from streamlb.wire.message import RequestFields

NONE: Final = "-"
"""What Traefik says where there is no such thing."""
MAX_SERVERS: Final = 10_000
"""Servers whose names are kept as text."""

Text = str | msgspec.UnsetType
Number = int | msgspec.UnsetType


class HttpLine(msgspec.Struct, gc=False):
    """A request. What is not Traefik's: RouteReason, StickyHit, Mirror, RequestId."""

    StartUTC: Text
    StartLocal: Text
    Duration: Number
    Overhead: Number
    OriginDuration: Number
    entryPointName: Text
    RouterName: Text
    ServiceName: Text
    ServiceURL: Text
    ServiceAddr: Text
    ClientAddr: Text
    ClientHost: Text
    ClientPort: Text
    ClientUsername: Text
    RequestAddr: Text
    RequestHost: Text
    RequestPort: Text
    RequestMethod: Text
    RequestPath: Text
    RequestProtocol: Text
    RequestScheme: Text
    RequestContentSize: Number
    RequestCount: Number
    OriginStatus: Number
    OriginContentSize: Number
    DownstreamStatus: Number
    DownstreamContentSize: Number
    RetryAttempts: Number
    TLSVersion: Text = UNSET
    TLSCipher: Text = UNSET
    TLSClientSubject: Text = UNSET
    RouteReason: Text = UNSET
    StickyHit: bool | msgspec.UnsetType = UNSET
    Mirror: tuple[str, ...] | msgspec.UnsetType = UNSET
    RequestId: Text = UNSET
    trace_id: Text = UNSET
    span_id: Text = UNSET


class TcpLine(msgspec.Struct, gc=False):
    """A TCP connection. BytesReceived: from the client. ServerName: what its ClientHello asked for."""

    StartUTC: Text
    StartLocal: Text
    Duration: Number
    Protocol: Text
    entryPointName: Text
    RouterName: Text
    ServiceName: Text
    ServiceAddr: Text
    ClientAddr: Text
    ClientHost: Text
    ClientPort: Text
    BytesReceived: Number
    BytesSent: Number
    End: Text
    RouteReason: Text = UNSET
    Mirror: tuple[str, ...] | msgspec.UnsetType = UNSET
    DialDuration: Number = UNSET
    RetryAttempts: Number = UNSET
    ServerName: Text = UNSET
    TLSVersion: Text = UNSET
    TLSCipher: Text = UNSET
    TLSClientSubject: Text = UNSET


class UdpLine(msgspec.Struct, gc=False):
    """A UDP flow."""

    StartUTC: Text
    StartLocal: Text
    Duration: Number
    Protocol: Text
    entryPointName: Text
    RouterName: Text
    ServiceName: Text
    ServiceAddr: Text
    ClientAddr: Text
    ClientHost: Text
    ClientPort: Text
    BytesReceived: Number
    BytesSent: Number
    DatagramsReceived: Number
    DatagramsSent: Number
    End: Text
    RouteReason: Text = UNSET
    Mirror: tuple[str, ...] | msgspec.UnsetType = UNSET


OPENING: Final = b'{"level":"info","msg":"","time":"%bZ"'
"""What Traefik's lines have besides, for those who look for it: the time is that of the end."""

FIELDS: Final = frozenset(HttpLine.__struct_fields__ + TcpLine.__struct_fields__ + UdpLine.__struct_fields__)
"""Every field there is."""


class JsonLines:
    """Makes lines of records. One per worker and configuration."""

    __slots__ = ("_dropped", "_encode", "_ends", "_heads", "_opening", "_parameters", "_second", "_servers", "_stamps")

    def __init__(self, options: AccessLogFields) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._stamps = Stamps()
        self._ends = Stamps()
        self._second = -1
        self._opening = b""
        self._heads = HeadFields(options.headers)
        self._parameters = Parameters(options.query_parameters)
        said = {name.lower(): mode for name, mode in options.names.items()}
        keep_rest = options.default_mode == "keep"
        dropped = [name for name in FIELDS if said.get(name.lower(), "keep" if keep_rest else "drop") == "drop"]
        self._dropped: dict[type[msgspec.Struct], tuple[str, ...]] = {
            line: tuple(name for name in line.__struct_fields__ if name in dropped)
            for line in (HttpLine, TcpLine, UdpLine)
        }
        self._servers: dict[Server, tuple[str, str]] = {}

    # --- HTTP --------------------------------------------------------------------------------------------------------

    def http(self, record: HttpRecord, instant: int, count: int) -> bytes:
        """instant: of the end, in nanoseconds since 1970. count: the number of the request. Hot."""
        duration, origin = int(record.duration * SECOND), int(record.origin_duration * SECOND)
        start, local = self._stamps.rfc3339(instant - duration)
        head, route, server, status = record.head, record.route, record.server, record.origin_status
        client, port, secure = record.client, str(record.port), record.secure
        url, address = self._place(server) if server is not None else (UNSET, UNSET)
        if head is not None:
            fields = head.fields
            host, target = text(fields.host), head.target
            name, host_port = _split_host(host)
            if self._parameters.any:
                target = self._parameters.shown(target)
            method, path = text(head.method), text(target)
            protocol = "HTTP/1.1" if head.minor else "HTTP/1.0"
            who = _forwarded_for(fields) or client if fields.managed else client
        else:
            host = name = host_port = method = path = protocol = NONE
            who = client
        line = HttpLine(
            start,
            local,
            duration,
            duration - origin,
            origin if status else UNSET,
            record.entry_point,
            route.name if route is not None else UNSET,
            server.service if server is not None else UNSET,
            url,
            address,
            f"[{client}]:{port}" if ":" in client else f"{client}:{port}",
            who,
            port,
            NONE,
            host,
            name,
            host_port,
            method,
            path,
            protocol,
            "https" if secure else "http",
            record.request_bytes,
            count,
            status or UNSET,
            record.origin_bytes if status else UNSET,
            record.status,
            record.sent_bytes,
            record.retries,
        )
        self._add_rare(line, record)
        return self._finish(line, instant, self._shown_fields(record) if self._heads.any else None)

    def _add_rare(self, line: HttpLine, record: HttpRecord) -> None:
        """What most requests have nothing of."""
        if record.tls is not None:
            _add_tls(line, record)
        if record.reason:
            line.RouteReason = sentence(record.reason)
        if record.sticky_hit is not None:
            line.StickyHit = record.sticky_hit
        if record.mirrors:
            line.Mirror = record.mirrors
        if record.head is not None and record.head.marks is not None:
            _, request_id, trace = record.head.marks
            if request_id:
                line.RequestId = text(request_id)
            if trace is not None:
                line.trace_id, line.span_id = trace.trace_id.decode(), trace.span_id.decode()

    def _shown_fields(self, record: HttpRecord) -> dict[str, str]:
        shown: dict[str, str] = {}
        if record.head is not None:
            self._heads.of_pairs("request_", record.head.fields.pairs, shown)
        if record.origin_head is not None:
            self._heads.of_head("origin_", record.origin_head.plain, shown)
        if record.sent_head:
            self._heads.of_head("downstream_", record.sent_head, shown)
        return shown

    # --- TCP and UDP -------------------------------------------------------------------------------------------------

    def tcp(self, record: TcpRecord, instant: int, _count: int) -> bytes:
        line = TcpLine(*(*self._both(record, instant, "tcp"), record.bytes_in, record.bytes_out, record.end))
        if record.server is not None:
            line.DialDuration = int(record.dial_duration * SECOND)
        if record.retries:
            line.RetryAttempts = record.retries
        if record.server_name:
            line.ServerName = text(record.server_name)
        if record.tls is not None:
            _add_tls(line, record)
        return self._close(line, record, instant)

    def udp(self, record: UdpRecord, instant: int, _count: int) -> bytes:
        counts = record.bytes_in, record.bytes_out, record.datagrams_in, record.datagrams_out
        line = UdpLine(*(*self._both(record, instant, "udp"), *counts, record.end))
        return self._close(line, record, instant)

    def _both(self, record: TcpRecord | UdpRecord, instant: int, protocol: str) -> tuple[Any, ...]:
        duration = int(record.duration * SECOND)
        start, local = self._stamps.rfc3339(instant - duration)
        route, server, client, port = record.route, record.server, record.client, record.port
        return (
            start,
            local,
            duration,
            protocol,
            record.entry_point,
            route.name if route is not None else UNSET,
            server.service if server is not None else UNSET,
            self._place(server)[1] if server is not None else UNSET,
            f"[{client}]:{port}" if ":" in client else f"{client}:{port}",
            client,
            str(port),
        )

    def _close(self, line: TcpLine | UdpLine, record: TcpRecord | UdpRecord, instant: int) -> bytes:
        if record.reason:
            line.RouteReason = sentence(record.reason)
        if record.mirrors:
            line.Mirror = record.mirrors
        return self._finish(line, instant, None)

    # --- both --------------------------------------------------------------------------------------------------------

    def _finish(self, line: HttpLine | TcpLine | UdpLine, instant: int, more: dict[str, str] | None) -> bytes:
        for name in self._dropped[type(line)]:
            setattr(line, name, UNSET)
        second = instant // SECOND
        if second != self._second:
            self._second = second
            self._opening = OPENING % self._ends.rfc3339(second * SECOND)[0][:19].encode()
        members = self._encode(line)[1:-1]
        if more:
            members += (b"," if members else b"") + self._encode(more)[1:-1]
        return b"".join((self._opening, b"," if members else b"", members, b"}\n"))

    def _place(self, server: Server) -> tuple[str, str]:
        """The URL and the address of a server."""
        found = self._servers.get(server)
        if found is None:
            if len(self._servers) >= MAX_SERVERS:
                self._servers.clear()
            host = f"[{server.host}]" if ":" in server.host else server.host
            found = self._servers[server] = (server.name.partition(" (")[0], f"{host}:{server.port}")
        return found


def _add_tls(line: HttpLine | TcpLine, record: HttpRecord | TcpRecord) -> None:
    if record.tls is not None:
        line.TLSVersion, line.TLSCipher = record.tls.version, record.tls.cipher
        if record.tls.subject:
            line.TLSClientSubject = sentence(record.tls.subject)


def _split_host(host: str) -> tuple[str, str]:
    """Name and port of a `Host` as Traefik has them: `-` where there is none."""
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit() and (":" not in name or name.endswith("]")):
        return name.removeprefix("[").removesuffix("]"), port
    return host or NONE, NONE


def _forwarded_for(fields: RequestFields) -> str:
    """The client that a trusted proxy speaks for, or nothing."""
    for name, value in fields.managed:
        if name == b"x-forwarded-for":
            return text(value.partition(b",")[0].strip())
    return ""
