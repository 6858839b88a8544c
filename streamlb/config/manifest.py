"""The shapes of Kubernetes documents, as far as streamlb reads them.

What lives here: dataclasses for the `spec` of Traefik's kinds (strict) and for core kinds (lenient).
What must not: translation (`kubernetes.py`). Read by `shape.py` like the model.
Specified by Traefik's Kubernetes CRD reference (both API groups) and the Kubernetes API v1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from streamlb.config.model import ResponseForwarding, Sticky
from streamlb.config.naming import SETTINGS
from streamlb.config.quantities import Percent, Weight
from streamlb.config.tls import ClientAuthType, SentProxyProtocol, TlsVersion

LENIENT: Any = {**SETTINGS, "extra": "ignore"}
"""Core kinds have many keys that do not matter to a proxy."""

Port = Annotated[int, Ge(0), Le(65535)]


# --- Traefik's kinds ---------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Child:
    """What Traefik calls LoadBalancerSpec: a reference to a Service or TraefikService with options.

    port: number or name; 0 when absent. weight: None when absent, which counts as 1.
    response_forwarding: of no effect here, see the model.
    """

    name: str
    kind: Literal["Service", "TraefikService"] = "Service"
    namespace: str = ""
    port: Port | str = 0
    scheme: str = ""
    weight: Weight | None = None
    pass_host_header: bool = True
    response_forwarding: ResponseForwarding | None = None
    sticky: Sticky | None = None

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class MirrorChild(Child):
    percent: Percent = 0

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class MirroringSpec(Child):
    """The main service inline, and its mirrors."""

    mirrors: list[MirrorChild] = field(default_factory=list)
    mirror_body: bool = True
    max_body_size: Annotated[int, Ge(-1)] = -1

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class WeightedSpec:
    services: list[Child] = field(default_factory=list)
    sticky: Sticky | None = None

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class TraefikServiceSpec:
    weighted: WeightedSpec | None = None
    mirroring: MirroringSpec | None = None

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Route:
    match: str
    kind: Literal["Rule"] = "Rule"
    priority: int = 0
    syntax: Literal["v3", "v2", "default"] | None = None
    services: list[Child] = field(default_factory=list)

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Reference:
    """Another object; without a namespace it is in that of who refers."""

    name: str
    namespace: str = ""

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class RouteTls:
    """`secret_name`: of a Secret with a certificate, in the namespace of the route."""

    secret_name: str = ""
    options: Reference | None = None

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class TcpRouteTls(RouteTls):
    passthrough: bool = False

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class IngressRouteSpec:
    entry_points: list[str] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    tls: RouteTls | None = None

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class PlainChild:
    """A Service of a TCP or UDP route."""

    name: str
    namespace: str = ""
    port: Port | str = 0
    weight: Weight | None = None

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class TcpChild(PlainChild):
    """tls: speak TLS to its servers. proxy_protocol, termination_delay: as in the model's load balancers."""

    tls: bool = False
    proxy_protocol: SentProxyProtocol | None = None
    termination_delay: int | None = None

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class TcpRoute:
    match: str
    priority: int = 0
    syntax: Literal["v3", "v2", "default"] | None = None
    services: list[TcpChild] = field(default_factory=list)
    middlewares: list[Reference] = field(default_factory=list)

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class IngressRouteTcpSpec:
    entry_points: list[str] = field(default_factory=list)
    routes: list[TcpRoute] = field(default_factory=list)
    tls: TcpRouteTls | None = None

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class UdpRoute:
    services: list[PlainChild] = field(default_factory=list)

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class IngressRouteUdpSpec:
    entry_points: list[str] = field(default_factory=list)
    routes: list[UdpRoute] = field(default_factory=list)

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class SecretClientAuth:
    """`secret_names`: of Secrets with the authorities' certificates. The rest as in the model."""

    secret_names: list[str] = field(default_factory=list)
    client_auth_type: ClientAuthType | None = None

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class TlsOptionSpec:
    """As the model's `TlsOptions`, but for where authorities come from."""

    min_version: TlsVersion = "VersionTLS12"
    max_version: TlsVersion = "VersionTLS13"
    cipher_suites: list[str] = field(default_factory=list)
    curve_preferences: list[str] = field(default_factory=list)
    sni_strict: bool = False
    alpn_protocols: list[str] = field(default_factory=list)
    client_auth: SecretClientAuth = field(default_factory=SecretClientAuth)
    disable_session_tickets: bool = False
    prefer_server_cipher_suites: bool = False

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class StoredCertificate:
    secret_name: str

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class TlsStoreSpec:
    default_certificate: StoredCertificate | None = None
    certificates: list[StoredCertificate] = field(default_factory=list)

    __pydantic_config__ = SETTINGS


# --- core kinds --------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class NamedPort:
    name: str | None = None
    port: Port = 0

    __pydantic_config__ = LENIENT


@dataclass(slots=True, kw_only=True)
class ServiceSpec:
    type: str = ""
    external_name: str = ""
    external_ips: list[str] = field(default_factory=list)
    ports: list[NamedPort] = field(default_factory=list)

    __pydantic_config__ = LENIENT


@dataclass(slots=True, kw_only=True)
class EndpointAddress:
    ip: str = ""

    __pydantic_config__ = LENIENT


@dataclass(slots=True, kw_only=True)
class Subset:
    addresses: list[EndpointAddress] = field(default_factory=list)
    ports: list[NamedPort] = field(default_factory=list)

    __pydantic_config__ = LENIENT


@dataclass(slots=True, kw_only=True)
class Endpoints:
    subsets: list[Subset] = field(default_factory=list)

    __pydantic_config__ = LENIENT


@dataclass(slots=True, kw_only=True)
class Conditions:
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None

    __pydantic_config__ = LENIENT


@dataclass(slots=True, kw_only=True)
class SliceEndpoint:
    """A pod behind a Service; its addresses are all the same pod's."""

    addresses: list[str] = field(default_factory=list)
    conditions: Conditions = field(default_factory=Conditions)

    __pydantic_config__ = LENIENT

    @property
    def is_serving(self) -> bool:
        """Unknown counts as ready (Kubernetes API, EndpointConditions)."""
        state = self.conditions.serving if self.conditions.serving is not None else self.conditions.ready
        return state is not False


@dataclass(slots=True, kw_only=True)
class EndpointSlice:
    endpoints: list[SliceEndpoint] = field(default_factory=list)
    ports: list[NamedPort] = field(default_factory=list)

    __pydantic_config__ = LENIENT
