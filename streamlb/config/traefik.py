"""What Traefik knows and streamlb does not have yet, as data.

What lives here: Traefik's keys by place, so that a user reads "not supported yet" instead of "unknown".
What must not: what streamlb has (`model.py`), how a key is looked up (`shape.py`).
Called by `shape.py` and `kubernetes.py`. Specified by Traefik 3's reference pages (static and dynamic configuration,
Kubernetes CRD) and the 2.x keys that are still met in the wild.

A place is a path whose names and indexes are written `*`: `http.services.*.loadBalancer.servers.*`.
"""

from __future__ import annotations

_SPEC = "parentRefs ingressClassName"
_ROUTE_TLS = "certResolver domains store"
_CHILD = "strategy serversTransport middlewares nativeLB nodePortLB healthCheck passiveHealthCheck"
_CHILD_TCP = "serversTransport nativeLB nodePortLB"
_TRANSPORT = "peerCertURI peerCertSANs spiffe"
_TIMEOUTS = "readIdleTimeout pingTimeout"

_UNSUPPORTED = {
    "": "global api hostResolver certificatesResolvers experimental spiffe ocsp pilot",
    "entryPoints.*": "asDefault reusePort allowACMEByPass http2 http3",
    "entryPoints.*.http": "middlewares",
    "entryPoints.*.http.tls": "certResolver domains",
    "entryPoints.*.observability": "traceVerbosity",
    "http.routers.*.observability": "traceVerbosity",
    "accessLog": "dualOutput otlp",
    "metrics": "datadog statsD influxDB2 otlp addInternals",
    "metrics.prometheus": "headerLabels",
    "tracing": "resourceAttributes globalAttributes capturedRequestHeaders capturedResponseHeaders safeQueryParams "
    "addInternals",
    "tracing.otlp": "grpc",
    "tracing.otlp.http": "tls",
    "tls.stores.*": "defaultGeneratedCert",
    "tcp.middlewares.*": "ipWhiteList",
    "log": "maxSize maxAge maxBackups compress otlp",
    "serversTransport": _TRANSPORT,
    "serversTransport.forwardingTimeouts": _TIMEOUTS,
    "http.serversTransports.*": _TRANSPORT,
    "http.serversTransports.*.forwardingTimeouts": _TIMEOUTS,
    "tcpServersTransport.tls": _TRANSPORT,
    "tcp.serversTransports.*.tls": _TRANSPORT,
    "providers": "http rest docker swarm ecs nomad consulCatalog consul etcd zooKeeper redis kubernetesCRD "
    "kubernetesIngress kubernetesGateway kubernetesIngressNGINX knative plugin marathon rancher "
    "precedence",
    "http": "middlewares",
    "http.routers.*": "middlewares parentRefs",
    "http.routers.*.tls": "certResolver domains",
    "tcp.routers.*.tls": "certResolver domains",
    "http.services.*": "middlewares",
    # Kubernetes documents, by kind.
    "IngressRoute.spec": _SPEC,
    "IngressRoute.spec.tls": _ROUTE_TLS,
    "IngressRoute.spec.routes.*": "middlewares observability",
    "IngressRoute.spec.routes.*.services.*": _CHILD,
    "IngressRouteTCP.spec": _SPEC,
    "IngressRouteTCP.spec.tls": _ROUTE_TLS,
    "IngressRouteTCP.spec.routes.*.services.*": _CHILD_TCP,
    "IngressRouteUDP.spec": "ingressClassName",
    "IngressRouteUDP.spec.routes.*.services.*": "nativeLB nodePortLB",
    "MiddlewareTCP.spec": "ipWhiteList",
    "TLSStore.spec": "defaultGeneratedCert",
    "TraefikService.spec": "highestRandomWeight failover",
    "TraefikService.spec.weighted.services.*": _CHILD,
    "TraefikService.spec.mirroring": _CHILD,
    "TraefikService.spec.mirroring.mirrors.*": _CHILD,
}

UNSUPPORTED: dict[str, dict[str, str]] = {
    place: {key.lower(): key for key in keys.split()} for place, keys in _UNSUPPORTED.items()
}
"""By place: Traefik's keys, lower case to canonical spelling."""

_SECRET = "name a Secret with the certificate as `secretName`"
_FILES = "name the certificate's files under `tls.certificates`; they are read again when they change"

ADVICE = {
    **{
        (place, key): _FILES
        for place in ("entryPoints.*.http.tls", "http.routers.*.tls", "tcp.routers.*.tls")
        for key in ("certResolver", "domains")
    },
    **{(f"{kind}.spec.tls", "certResolver"): _SECRET for kind in ("IngressRoute", "IngressRouteTCP")},
    ("", "certificatesResolvers"): _FILES,
    ("tls.stores.*", "defaultGeneratedCert"): "name its files as `defaultCertificate`",
    ("tcp.middlewares.*", "ipWhiteList"): "`ipAllowList` is its name now",
    ("MiddlewareTCP.spec", "ipWhiteList"): "`ipAllowList` is its name now",
    ("providers", "kubernetesCRD"): "`providers.kubernetesManifests` reads the same documents from files",
}
"""What to do instead, where there is something to do."""

_CHILD_PLACES = (
    "IngressRoute.spec.routes.*.services.*",
    "TraefikService.spec.weighted.services.*",
    "TraefikService.spec.mirroring",
    "TraefikService.spec.mirroring.mirrors.*",
)
_ROUTE_KINDS = ("IngressRoute", "IngressRouteTCP", "IngressRouteUDP")

HARMLESS: dict[str, dict[str, frozenset[str]]] = {
    **{place: {"strategy": frozenset({"wrr", "RoundRobin"})} for place in _CHILD_PLACES},
    **{f"{kind}.spec": {"ingressClassName": frozenset({"*"})} for kind in _ROUTE_KINDS},
}
"""Keys that may be given all the same, because the value means what streamlb does anyway; `*` is any value."""

KINDS = frozenset(
    {"IngressRoute", "IngressRouteTCP", "IngressRouteUDP", "MiddlewareTCP", "TLSOption", "TLSStore", "TraefikService"}
)
KINDS_NOT_YET = frozenset({"Middleware", "ServersTransport", "ServersTransportTCP"})
"""Kinds of Traefik's Kubernetes documents."""
