"""What is told about the traffic and the proxy itself: logs, metrics, traces, ping; and the ways to steer it.

What lives here: dataclasses with Traefik's names (snake_case here, camelCase in YAML), their defaults and ranges.
What must not: validation code, file access, heavy imports. Specified by Traefik's pages on logs, access logs, metrics,
tracing and ping.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Le

from streamlb.config.naming import SETTINGS
from streamlb.config.quantities import Duration, StatusRanges

INTERNAL_ENTRY_POINT = "traefik"
"""Where ping and metrics are unless they say; made on loopback, port 8080, where nobody else has made it. Routers that
name no entry point do not join it."""
PING = "ping@internal"
METRICS = "prometheus@internal"
"""Services that are streamlb's own."""


@dataclass(slots=True, kw_only=True)
class Observability:
    """What is told of an entry point, and of its routers unless they say."""

    access_logs: bool = True
    metrics: bool = True
    tracing: bool = True

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class RouterObservability:
    """What a router says of the same; None is what its entry point says."""

    access_logs: bool | None = None
    metrics: bool | None = None
    tracing: bool | None = None

    __pydantic_config__ = SETTINGS

    def over(self, base: Observability) -> Observability:
        """What is told of the router on an entry point that says `base`."""
        return Observability(
            access_logs=base.access_logs if self.access_logs is None else self.access_logs,
            metrics=base.metrics if self.metrics is None else self.metrics,
            tracing=base.tracing if self.tracing is None else self.tracing,
        )


@dataclass(slots=True, kw_only=True)
class Log:
    """The programme's own log; without `file_path` on stderr.

    format: `common` is for people, `json` one object a line; absent: common on a terminal, else json.
    """

    level: Literal["DEBUG", "INFO", "WARN", "ERROR"] = "INFO"
    format: Literal["common", "json"] | None = None
    file_path: str = ""
    no_color: bool = False

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class AccessLogFilters:
    """A line is written if any one of those that are set accepts it."""

    status_codes: StatusRanges = field(default_factory=list)
    retry_attempts: bool = False
    min_duration: Duration = 0.0

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class KeepDropRedact:
    """What becomes of what has no entry of its own in `names`."""

    default_mode: Literal["keep", "drop", "redact"] = "drop"
    names: dict[str, Literal["keep", "drop", "redact"]] = field(default_factory=dict)

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class AccessLogFields:
    """Fields of JSON lines, and which of a message's own fields are among them."""

    default_mode: Literal["keep", "drop"] = "keep"
    names: dict[str, Literal["keep", "drop"]] = field(default_factory=dict)
    headers: KeepDropRedact = field(default_factory=KeepDropRedact)
    query_parameters: KeepDropRedact = field(default_factory=lambda: KeepDropRedact(default_mode="keep"))

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class AccessLog:
    """A line per request, TCP connection and UDP flow; without `file_path` on stdout.

    buffering_size: lines kept in memory at most, 0 is streamlb's bound. add_internals: ping and metrics, too.
    """

    file_path: str = ""
    format: Literal["common", "json", "genericCLF"] = "common"
    filters: AccessLogFilters = field(default_factory=AccessLogFilters)
    fields: AccessLogFields = field(default_factory=AccessLogFields)
    buffering_size: Annotated[int, Ge(0), Le(1_000_000)] = 0
    add_internals: bool = False

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Prometheus:
    """Metrics at `/metrics` of an entry point; manual_routing: only where a router leads to `prometheus@internal`."""

    entry_point: str = INTERNAL_ENTRY_POINT
    manual_routing: bool = False
    buckets: list[float] = field(default_factory=lambda: [0.1, 0.3, 1.2, 5.0])
    add_entry_points_labels: bool = True
    add_routers_labels: bool = False
    add_services_labels: bool = True

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Metrics:
    prometheus: Prometheus | None = None

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class OtlpHttp:
    endpoint: str = "https://localhost:4318/v1/traces"
    headers: dict[str, str] = field(default_factory=dict)

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Otlp:
    http: OtlpHttp = field(default_factory=OtlpHttp)

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Tracing:
    """Spans for a collector. Whether or not there is one, `traceparent` and `tracestate` are passed on."""

    service_name: str = "streamlb"
    sample_rate: Annotated[float, Ge(0), Le(1)] = 1.0
    otlp: Otlp = field(default_factory=Otlp)

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Ping:
    """`/ping` of an entry point; manual_routing: only where a router leads to `ping@internal`."""

    entry_point: str = INTERNAL_ENTRY_POINT
    manual_routing: bool = False
    terminating_status_code: Annotated[int, Ge(200), Le(599)] = 503

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Steering:
    """`ctl`: the socket of `streamlb ctl` and the file that keeps what was changed with it (streamlb's own)."""

    socket: str = ""
    state_file: str = ""

    __pydantic_config__ = SETTINGS
