"""What is said about logs, metrics and traces, checked.

What lives here: `check`. What must not: opening files (`observe/log_files.py`), or an opinion on what is worth logging.
Called by `check.py`. Specified by Traefik's pages on access logs and tracing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from streamlb.config.entry_points import HOPS
from streamlb.config.health import STATUS, TOKEN
from streamlb.config.near import did_you_mean

if TYPE_CHECKING:
    from streamlb.config.model import Config
    from streamlb.config.observation import AccessLog, Tracing
    from streamlb.config.reading import Path, Reading

_FIELDS = (
    "StartUTC StartLocal Duration Overhead OriginDuration entryPointName RouterName ServiceName ServiceURL ServiceAddr "
    "ClientAddr ClientHost ClientPort ClientUsername RequestAddr RequestHost RequestPort RequestMethod RequestPath "
    "RequestProtocol RequestScheme RequestContentSize RequestCount OriginStatus OriginContentSize DownstreamStatus "
    "DownstreamContentSize RetryAttempts TLSVersion TLSCipher TLSClientSubject RouteReason StickyHit Mirror RequestId "
    "trace_id span_id Protocol BytesReceived BytesSent DatagramsReceived DatagramsSent DialDuration ServerName End"
)
FIELDS: Final = tuple(_FIELDS.split())
"""Every field that a line of the access log may have."""
NOT_HERE: Final = frozenset({"gzipratio", "traceid", "spanid"})
"""Fields of Traefik's lines that ours do not have: to drop or to keep them is no mistake."""
OURS: Final = frozenset({"x-real-ip", "x-scheme", "traceparent", "tracestate", "cookie", "expect"})
MAX_BUCKETS: Final = 50
"""Of the histogram of durations: each is a series per status, method and service."""
EXAMPLE: Final = "for example `X-Request-Id`"


def check(config: Config, reading: Reading) -> None:
    """Report what cannot be meant."""
    if config.access_log is not None:
        _check_access_log(config.access_log, reading)
    if config.metrics.prometheus is not None:
        _check_buckets(config.metrics.prometheus.buckets, reading)
    if config.tracing is not None:
        _check_tracing(config.tracing, reading)
    for name, entry_point in config.entry_points.items():
        field, path = entry_point.http.request_id, ("entryPoints", name, "http", "requestId")
        if field and entry_point.kind != "udp":
            _check_request_id(field, path, reading)


def _check_buckets(buckets: list[float], reading: Reading) -> None:
    path: Path = ("metrics", "prometheus", "buckets")
    if not buckets or len(buckets) > MAX_BUCKETS:
        reading.error(path, f"there must be 1 to {MAX_BUCKETS} buckets", "for example [0.1, 0.3, 1.2, 5.0]")
    elif not all(0 < bound < math.inf for bound in buckets):
        reading.error(path, "a bucket ends after some seconds, more than 0", "for example [0.1, 0.3, 1.2, 5.0]")
    elif sorted(set(buckets)) != buckets:
        rising = ", ".join(f"{bound:g}" for bound in sorted(set(buckets)))
        reading.error(path, "buckets must rise", f"write [{rising}]")


def _check_access_log(options: AccessLog, reading: Reading) -> None:
    path: Path = ("accessLog",)
    codes: Path = (*path, "filters", "statusCodes")
    for index, text in enumerate(options.filters.status_codes):
        found = STATUS.fullmatch(text.replace(" ", ""))
        where = (*codes, index) if reading.has((*codes, index)) else codes
        if found and found[2] and found[2] < found[1]:
            reading.error(where, "the range ends before it begins", f'"{found[2]}-{found[1]}"')
        elif not found:
            reading.error(where, f"`{text}` is no status", 'for example "400-599" or [404, 503]')
    known = {name.lower() for name in FIELDS} | NOT_HERE
    for name in options.fields.names:
        if name.lower() not in known:
            suggestion = did_you_mean(name, FIELDS)
            reading.error((*path, "fields", "names", name), f"there is no field `{name}`", suggestion, at_key=True)
    for name in options.fields.headers.names:
        if not TOKEN.fullmatch(name):
            reason = "a field's name takes letters, digits and !#$%&'*+-.^_`|~ only"
            reading.error((*path, "fields", "headers", "names", name), reason, at_key=True)
    if options.format != "json" and (options.fields.names or reading.has((*path, "fields", "defaultMode"))):
        reading.note((*path, "fields"), f"without effect: the columns of `format: {options.format}` are fixed")


def _check_tracing(options: Tracing, reading: Reading) -> None:
    path: Path = ("tracing", "otlp", "http", "endpoint")
    try:
        parts = urlsplit(options.otlp.http.endpoint)
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right:
        reading.error(path, "not a URL of a collector", "for example `http://localhost:4318/v1/traces`")
    for name in options.otlp.http.headers:
        if not TOKEN.fullmatch(name):
            reason = "a field's name takes letters, digits and !#$%&'*+-.^_`|~ only"
            reading.error(("tracing", "otlp", "http", "headers", name), reason, at_key=True)


def _check_request_id(field: str, path: Path, reading: Reading) -> None:
    name = field.lower().replace("_", "-")
    if not TOKEN.fullmatch(field):
        reading.error(path, f"`{field}` cannot be the name of a field", EXAMPLE)
    elif name in HOPS | OURS or name.startswith("x-forwarded-"):
        reading.error(path, f"`{field}` has a meaning of its own", EXAMPLE)
