"""Lines of the access log as NCSA's log tools read them.

What lives here: `TraefikLines`, Traefik's `common`, and `GenericLines`, without what Traefik adds.
What must not: filters, files. Used by `access.py`. Specified by Traefik's page on access logs and docs/logs.md.
A TCP connection or a UDP flow has the same columns: its protocol stands where the method does, its end where the status
does, and the bytes it was sent where the size of the answer does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streamlb.observe.access_fields import REDACTED, Parameters
from streamlb.observe.access_text import Stamps, quotable, sentence

if TYPE_CHECKING:
    from streamlb.config.observation import AccessLogFields
    from streamlb.observe.records import HttpRecord, TcpRecord, UdpRecord

ABSENT: Final = '"-"'


class GenericLines:
    """`client - - [time] "GET /path HTTP/1.1" 200 1234 "referer" "user agent"`."""

    __slots__ = ("_heads", "_names", "_parameters", "_stamps")

    def __init__(self, options: AccessLogFields) -> None:
        self._stamps = Stamps()
        self._parameters = Parameters(options.query_parameters)
        # These two belong to the format: they are shown unless somebody says otherwise by name.
        self._names = {name.lower().encode(): mode for name, mode in options.headers.names.items()}

    def http(self, record: HttpRecord, instant: int, count: int) -> bytes:
        """instant: of the end, in nanoseconds since 1970. count: the number of the request. Hot."""
        head = record.head
        if head is not None:
            target = self._parameters.shown(head.target) if self._parameters.any else head.target
            asked = f"{quotable(head.method)} {quotable(target)} HTTP/1.{head.minor}"
            referer = user_agent = ABSENT
            for name, value in head.fields.pairs:
                if name == b"user-agent":
                    user_agent = self._shown(name, value)
                elif name == b"referer":
                    referer = self._shown(name, value)
        else:
            asked, referer, user_agent = "- - -", ABSENT, ABSENT
        start = self._stamps.clf(instant - int(record.duration * 1e9))
        line = f'{record.client} - - [{start}] "{asked}" {record.status} {record.sent_bytes} {referer} {user_agent}'
        return (line + self._http_tail(record, count)).encode()

    def _shown(self, name: bytes, value: bytes) -> str:
        mode = self._names.get(name)
        if mode == "drop" or not value:
            return ABSENT
        return f'"{REDACTED}"' if mode == "redact" else f'"{quotable(value)}"'

    def tcp(self, record: TcpRecord, instant: int, count: int) -> bytes:
        return self._raw("TCP", quotable(record.server_name) or "-", record, instant, count)

    def udp(self, record: UdpRecord, instant: int, count: int) -> bytes:
        return self._raw("UDP", "-", record, instant, count)

    def _raw(self, protocol: str, asked: str, record: TcpRecord | UdpRecord, instant: int, count: int) -> bytes:
        start = self._stamps.clf(instant - int(record.duration * 1e9))
        line = (
            f'{record.client} - - [{start}] "{protocol} {asked} {_name(record.entry_point)}" '
            f"{record.end} {record.bytes_out} {ABSENT} {ABSENT}"
        )
        return (line + self._raw_tail(record, count)).encode()

    def _http_tail(self, record: HttpRecord, count: int) -> str:
        return "\n"

    def _raw_tail(self, record: TcpRecord | UdpRecord, count: int) -> str:
        return "\n"


class TraefikLines(GenericLines):
    """The same, and behind it the number of the request, `"router" "server"` and the milliseconds it took.

    TCP and UDP lines have three columns more: the bytes received, `"service"` and the reason of the end, if any.
    """

    __slots__ = ()

    def _http_tail(self, record: HttpRecord, count: int) -> str:
        return self._tail(record, count) + "\n"

    def _raw_tail(self, record: TcpRecord | UdpRecord, count: int) -> str:
        service = f'"{_name(record.server.service)}"' if record.server is not None else ABSENT
        reason = f'"{quotable(sentence(record.reason).encode())}"' if record.reason else ABSENT
        return f"{self._tail(record, count)} {record.bytes_in} {service} {reason}\n"

    @staticmethod
    def _tail(record: HttpRecord | TcpRecord | UdpRecord, count: int) -> str:
        route, server = record.route, record.server
        router = f'"{_name(route.name)}"' if route is not None else ABSENT
        place = f'"{_name(server.name.partition(" (")[0])}"' if server is not None else ABSENT
        return f" {count} {router} {place} {int(record.duration * 1000)}ms"


def _name(name: str) -> str:
    """A name of the configuration: none of its quotes ends a column."""
    return name if '"' not in name and "\\" not in name and name.isprintable() else quotable(name.encode())
