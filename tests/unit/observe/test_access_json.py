"""JSON lines: Traefik's names and units, what is absent, what is kept, and that nobody forges a line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.config.observation import AccessLogFields, KeepDropRedact
from streamlb.observe.access_json import FIELDS, JsonLines
from streamlb.observe.records import NO_ROUTE, HttpRecord, TlsFacts
from streamlb.proxy.marking import Marks
from streamlb.wire.message import ResponseHead
from streamlb.wire.trace import Trace
from tests.support.records import INSTANT, connection, flow, head, request

TRAEFIK = [
    "StartUTC",
    "StartLocal",
    "Duration",
    "Overhead",
    "OriginDuration",
    "RouterName",
    "ServiceName",
    "ServiceURL",
    "ServiceAddr",
    "ClientAddr",
    "ClientHost",
    "ClientPort",
    "ClientUsername",
    "RequestAddr",
    "RequestHost",
    "RequestPort",
    "RequestMethod",
    "RequestPath",
    "RequestProtocol",
    "RequestScheme",
    "RequestContentSize",
    "RequestCount",
    "OriginStatus",
    "OriginContentSize",
    "DownstreamStatus",
    "DownstreamContentSize",
    "RetryAttempts",
    "entryPointName",
]
"""What Traefik says of every request that went through."""


def line(record: HttpRecord, fields: AccessLogFields | None = None) -> dict[str, Any]:
    made = JsonLines(fields or AccessLogFields()).http(record, INSTANT, 7)
    assert made.endswith(b"\n")
    read = json.loads(made)
    assert isinstance(read, dict)
    return read


def test_a_request_has_traefiks_fields_in_traefiks_units() -> None:
    made = line(request())
    assert set(made) == {"level", "msg", "time", *TRAEFIK}
    assert made["StartUTC"] == "2026-09-21T14:13:20.110956789Z"
    assert made["time"] == "2026-09-21T14:13:20Z"
    assert (made["Duration"], made["OriginDuration"], made["Overhead"]) == (12_500_000, 10_500_000, 2_000_000)
    assert (made["ClientAddr"], made["ClientHost"], made["ClientPort"]) == ("192.0.2.7:50123", "192.0.2.7", "50123")
    assert (made["RequestAddr"], made["RequestHost"], made["RequestPort"]) == (
        "shop.example.com:8443",
        "shop.example.com",
        "8443",
    )
    assert (made["RouterName"], made["ServiceName"]) == ("shop", "carts")
    assert (made["ServiceURL"], made["ServiceAddr"]) == ("http://10.0.0.1:8080", "10.0.0.1:8080")
    assert (made["RequestPath"], made["RequestProtocol"], made["RequestScheme"]) == ("/a?b=c", "HTTP/1.1", "http")
    assert (made["RequestContentSize"], made["OriginContentSize"], made["RequestCount"]) == (5, 1000, 7)


def test_what_the_proxy_answered_itself_has_no_origin() -> None:
    made = line(request(server=None, route=None, origin_status=0, status=404, reason=NO_ROUTE))
    assert not {"OriginStatus", "OriginDuration", "OriginContentSize", "ServiceName", "RouterName"} & set(made)
    assert made["DownstreamStatus"] == 404
    assert made["RouteReason"] == NO_ROUTE


def test_a_request_that_could_not_be_read() -> None:
    made = line(request(head=None, status=400, origin_status=0))
    assert (made["RequestMethod"], made["RequestPath"], made["RequestHost"]) == ("-", "-", "-")


def test_what_only_some_requests_have() -> None:
    asked = head()
    asked.mark(Marks(b"", b"abc", Trace(b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331")))
    made = line(
        request(
            tls=TlsFacts("1.3", "TLS_AES_128_GCM_SHA256", "CN=me"),
            secure=True,
            sticky_hit=False,
            mirrors=("shadow",),
            head=asked,
            retries=2,
        )
    )
    assert (made["TLSVersion"], made["TLSCipher"], made["TLSClientSubject"]) == (
        "1.3",
        "TLS_AES_128_GCM_SHA256",
        "CN=me",
    )
    assert made["RequestScheme"] == "https"
    assert (made["StickyHit"], made["Mirror"], made["RequestId"]) == (False, ["shadow"], "abc")
    assert (made["trace_id"], made["span_id"]) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert made["RetryAttempts"] == 2


@pytest.mark.parametrize(
    ("host", "name", "port"),
    [(b"a", "a", "-"), (b"a:1", "a", "1"), (b"[::1]:1", "::1", "1"), (b"[::1]", "[::1]", "-"), (b"", "-", "-")],
)
def test_hosts_are_split_as_traefik_does(host: bytes, name: str, port: str) -> None:
    made = line(request(head=head(host=host)))
    assert (made["RequestHost"], made["RequestPort"]) == (name, port)


def test_the_client_is_whom_a_trusted_proxy_speaks_for() -> None:
    asked = head()
    asked.fields.managed = [(b"x-forwarded-for", b"198.51.100.1, 10.0.0.9")]
    made = line(request(head=asked))
    assert (made["ClientHost"], made["ClientAddr"]) == ("198.51.100.1", "192.0.2.7:50123")


def test_fields_are_kept_or_dropped_by_name() -> None:
    only = AccessLogFields(default_mode="drop", names={"downstreamstatus": "keep", "RouterName": "keep"})
    assert set(line(request(), only)) == {"level", "msg", "time", "DownstreamStatus", "RouterName"}
    without = AccessLogFields(names={"ClientUsername": "drop", "StartLocal": "drop", "Mirror": "drop"})
    assert {*TRAEFIK} - {*line(request(mirrors=("x",)), without)} == {"ClientUsername", "StartLocal"}
    nothing = AccessLogFields(default_mode="drop")
    assert set(line(request(), nothing)) == {"level", "msg", "time"}


PAIRS = (
    (b"user-agent", b"curl/8"),
    (b"cookie", b"session=secret"),
    (b"accept", b"a"),
    (b"accept", b"b"),
    (b"x-token", b"t"),
)


@pytest.mark.parametrize(
    ("default", "names", "shown"),
    [
        ("drop", {}, {}),
        ("drop", {"User-Agent": "keep"}, {"request_User-Agent": "curl/8"}),
        ("drop", {"X-TOKEN": "redact", "accept": "keep"}, {"request_X-Token": "REDACTED", "request_Accept": "a,b"}),
        ("redact", {"user-agent": "keep", "host": "drop", "x-token": "drop", "cookie": "drop"},
         {"request_User-Agent": "curl/8", "request_Accept": "REDACTED"}),
        ("keep", {"host": "drop", "x-token": "drop"},
         {"request_User-Agent": "curl/8", "request_Cookie": "REDACTED", "request_Accept": "a,b"}),
        ("drop", {"cookie": "keep"}, {"request_Cookie": "session=secret"}),
    ],
)  # fmt: skip
def test_header_fields_are_kept_dropped_or_redacted(default: Any, names: Any, shown: dict[str, str]) -> None:
    fields = AccessLogFields(headers=KeepDropRedact(default_mode=default, names=names))
    made = line(request(head=head(pairs=PAIRS)), fields)
    assert {name: value for name, value in made.items() if name.startswith("request_")} == shown


def test_header_fields_of_answers() -> None:
    answer = ResponseHead(200)
    answer.plain = b"HTTP/1.1 200 OK\r\nServer: origin\r\nX-A: 1\r\nX-A:2\r\nContent-Length: 0\r\n\r\n"
    fields = AccessLogFields(headers=KeepDropRedact(names={"server": "keep", "x-a": "keep", "set-cookie": "redact"}))
    sent = b"HTTP/1.1 200 OK\r\nServer: origin\r\nSet-Cookie: a=b\r\n\r\nServer: not a field\r\n"
    made = line(request(origin_head=answer, sent_head=sent), fields)
    assert (made["origin_Server"], made["origin_X-A"]) == ("origin", "1,2")
    assert (made["downstream_Server"], made["downstream_Set-Cookie"]) == ("origin", "REDACTED")


@pytest.mark.parametrize(
    ("default", "names", "path"),
    [
        ("keep", {}, "/a?b=1&c=2&b=3&d"),
        ("keep", {"b": "drop"}, "/a?c=2&d"),
        ("keep", {"b": "redact"}, "/a?b=REDACTED&c=2&b=REDACTED&d"),
        ("drop", {}, "/a"),
        ("drop", {"d": "keep"}, "/a?d"),
        ("redact", {"c": "keep"}, "/a?b=REDACTED&c=2&b=REDACTED&d=REDACTED"),
    ],
)
def test_query_parameters_are_kept_dropped_or_redacted(default: Any, names: Any, path: str) -> None:
    fields = AccessLogFields(query_parameters=KeepDropRedact(default_mode=default, names=names))
    assert line(request(head=head(target=b"/a?b=1&c=2&b=3&d")), fields)["RequestPath"] == path


def test_no_spelling_of_a_parameter_escapes() -> None:
    fields = AccessLogFields(query_parameters=KeepDropRedact(default_mode="keep", names={"a b": "redact"}))
    made = line(request(head=head(target=b"/?a%20b=secret&a+b=secret")), fields)
    assert made["RequestPath"] == "/?a%20b=REDACTED&a+b=REDACTED"


def test_connections_and_flows() -> None:
    lines = JsonLines(AccessLogFields())
    tcp = json.loads(lines.tcp(connection(server_name=b"db.example.com", end="server-reset", retries=1), INSTANT, 1))
    assert (tcp["Protocol"], tcp["entryPointName"], tcp["RouterName"], tcp["ServiceName"]) == (
        "tcp",
        "pg",
        "db",
        "carts",
    )
    assert (tcp["ServiceAddr"], tcp["ClientAddr"]) == ("10.0.0.1:8080", "192.0.2.7:50123")
    assert (tcp["BytesReceived"], tcp["BytesSent"], tcp["End"]) == (10, 20, "server-reset")
    assert (tcp["Duration"], tcp["DialDuration"], tcp["ServerName"]) == (2_500_000_000, 1_000_000, "db.example.com")
    assert tcp["RetryAttempts"] == 1
    udp = json.loads(lines.udp(flow(), INSTANT, 1))
    assert (udp["Protocol"], udp["BytesReceived"], udp["BytesSent"]) == ("udp", 40, 400)
    assert (udp["DatagramsReceived"], udp["DatagramsSent"], udp["End"]) == (1, 2, "idle")
    refused = json.loads(lines.tcp(connection(server=None, end="refused", reason="no server is up"), INSTANT, 1))
    assert (refused["End"], refused["RouteReason"]) == ("refused", "no server is up")
    assert not {"ServiceName", "ServiceAddr", "DialDuration"} & set(refused)


@given(st.binary(), st.binary(), st.binary(), st.binary(), st.binary())
def test_nobody_forges_a_line(method: bytes, target: bytes, host: bytes, name: bytes, value: bytes) -> None:
    fields = AccessLogFields(headers=KeepDropRedact(default_mode="keep"))
    asked = head(method, target, host, ((name, value),))
    answer = ResponseHead(200)
    answer.plain = b"HTTP/1.1 200 OK\r\n" + name + b":" + value
    asked.mark(Marks(b"", value, None))
    reason = value.decode(errors="surrogateescape") * 3
    record = request(head=asked, origin_head=answer, sent_head=answer.plain, reason=reason)
    made = JsonLines(fields).http(record, INSTANT, 1)
    shown = made.decode("ascii")
    assert shown.count("\n") == 1
    assert shown.removesuffix("\n").isprintable()
    read = json.loads(made)
    assert read["RouterName"] == "shop"
    assert all(key in FIELDS or key.partition("_")[0] in ("request", "origin", "downstream") for key in read
               if key not in ("level", "msg", "time"))  # fmt: skip


@given(st.binary(max_size=300))
def test_no_server_name_forges_a_line(name: bytes) -> None:
    made = JsonLines(AccessLogFields()).tcp(connection(server_name=name), INSTANT, 1).decode("ascii")
    assert made.count("\n") == 1
    assert json.loads(made)["End"] == "closed"
