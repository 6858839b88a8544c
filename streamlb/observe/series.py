"""What is shown of the numbers: Traefik's families as they are called there, and streamlb's own.

What lives here: `Family`, and `families`, which makes them of the workers' sums. What must not: the text
(`admin/metrics.py`), what the control process alone knows (`process/telemetry.py`). Specified by Traefik's page on
metrics and docs/metrics.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from streamlb.config.model import bare, provider_of
from streamlb.observe.books import DURATIONS
from streamlb.observe.families import COUNTS, ENTRY_POINT, ROUTER, SERVICE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from streamlb.config.observation import Prometheus
    from streamlb.observe.cells import Meaning

    Numbers = list[float]
    Labels = tuple[str, ...]

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"


class Family(NamedTuple):
    """A metric and all its series. samples: labels and value; of a histogram, the count of each bucket and the sum.

    bounds: upper ones of the buckets but the last, which has none.
    """

    name: str
    kind: str
    help: str
    labels: Labels
    samples: list[tuple[Labels, list[float]]]
    bounds: tuple[float, ...] = ()


def one(name: str, kind: str, text: str, value: float) -> Family:
    """A family of one number."""
    return Family(name, kind, text, (), [((), [value])])


def qualified(name: str) -> str:
    """A name as Traefik's metrics have it: with its provider."""
    return f"{bare(name)}@{provider_of(name)}" if name else ""


class _Sum:
    """Numbers added up by labels."""

    def __init__(self) -> None:
        self._rows: dict[Labels, Numbers] = {}

    def add(self, labels: Labels, numbers: Numbers) -> None:
        row = self._rows.get(labels)
        self._rows[labels] = [*numbers] if row is None else [a + b for a, b in zip(row, numbers, strict=True)]

    def rows(self, take: Callable[[Numbers], Numbers]) -> list[tuple[Labels, Numbers]]:
        return [(labels, take(row)) for labels, row in self._rows.items()]

    def __bool__(self) -> bool:
        return bool(self._rows)


def families(sums: Mapping[Meaning, Numbers], options: Prometheus) -> Iterator[Family]:
    """Everything that workers count."""
    yield from _http(sums, options)
    yield from _connections(sums)
    yield from _raw("tcp", "connections", "TCP connections", sums)
    yield from _raw("udp", "flows", "UDP flows", sums)
    yield from _counts(sums)


# --- HTTP --------------------------------------------------------------------------------------------------------

_SCOPES: Final = {
    "entrypoint": (ENTRY_POINT,),
    "router": (ROUTER, SERVICE),
    "service": (SERVICE,),
}


def _http(sums: Mapping[Meaning, Numbers], options: Prometheus) -> Iterator[Family]:
    bounds = tuple(sorted(options.buckets))
    scopes = {name: (_Sum(), _Sum()) for name in _SCOPES}
    servers = _Sum()
    for meaning, numbers in sums.items():
        if meaning.kind != "http" or meaning.bounds != bounds:
            continue
        entry_point, router, root, leaf, server, method, code, protocol, version, cipher = meaning.labels
        root, leaf = qualified(root), qualified(leaf)
        said = (code, method, protocol)
        wanted: list[tuple[str, Labels]] = []
        if options.add_entry_points_labels:
            wanted.append(("entrypoint", (entry_point,)))
        if options.add_routers_labels and router:
            wanted.append(("router", (qualified(router), root)))
        if options.add_services_labels and leaf:
            wanted.append(("service", (leaf,)))
        for scope, labels in wanted:
            plain, secure = scopes[scope]
            plain.add((*said, *labels), numbers)
            if version:
                secure.add((version, cipher, *labels), [sum(numbers[: len(bounds) + 1])])
        if server:
            servers.add((leaf, server, code), [sum(numbers[: len(bounds) + 1])])
    for scope, (plain, secure) in scopes.items():
        yield from _scope(scope, plain, secure, bounds)
    if servers:
        text = "How many HTTP requests a server has answered, or failed to, by status code."
        yield Family("streamlb_server_requests", COUNTER, text, ("service", "url", "code"), servers.rows(list))


def _scope(scope: str, plain: _Sum, secure: _Sum, bounds: tuple[float, ...]) -> Iterator[Family]:
    if not plain:
        return
    what = {"entrypoint": "an entrypoint", "router": "a router", "service": "a service"}[scope]
    labels = ("code", "method", "protocol", *_SCOPES[scope])
    buckets = len(bounds) + 1
    by = "partitioned by status code, protocol, and method."
    yield Family(
        f"traefik_{scope}_requests",
        COUNTER,
        f"How many HTTP requests are processed in total on {what}, {by}",
        labels,
        plain.rows(lambda row: [sum(row[:buckets])]),
    )
    if secure:
        yield Family(
            f"traefik_{scope}_requests_tls",
            COUNTER,
            f"How many HTTP requests with TLS are processed on {what}, partitioned by TLS version and TLS cipher used.",
            ("tls_version", "tls_cipher", *_SCOPES[scope]),
            secure.rows(list),
        )
    yield Family(
        f"traefik_{scope}_request_duration_seconds",
        HISTOGRAM,
        f"How long it took to process the request on {what}, {by}",
        labels,
        plain.rows(lambda row: row[: buckets + 1]),
        bounds,
    )
    for place, way in ((buckets + 1, "requests"), (buckets + 2, "responses")):
        yield Family(
            f"traefik_{scope}_{way}_bytes",
            COUNTER,
            f"The total size of {way} in bytes handled by {what}, {by}",
            labels,
            plain.rows(lambda row, place=place: [row[place]]),  # type: ignore[misc]
        )


# --- TCP and UDP -------------------------------------------------------------------------------------------------


def _connections(sums: Mapping[Meaning, Numbers]) -> Iterator[Family]:
    samples = [
        (meaning.labels, [numbers[0] - numbers[1]])
        for meaning, numbers in sums.items()
        if meaning.kind == "connections"
    ]
    text = "How many open connections exist, by entryPoint and protocol."
    yield Family("traefik_open_connections", GAUGE, text, ("entrypoint", "protocol"), samples)


def _raw(kind: str, things: str, words: str, sums: Mapping[Meaning, Numbers]) -> Iterator[Family]:
    """What `proxy/raw_ledger.py` has written, in its order."""
    total = _Sum()
    for meaning, numbers in sums.items():
        if meaning.kind == kind:
            entry_point, router, root, leaf, server = meaning.labels
            total.add((entry_point, qualified(router), qualified(root), qualified(leaf), server), numbers)
    if not total:
        return
    labels = ("entrypoint", "router", "service", "leaf", "address")
    prefix = f"streamlb_{kind}"
    yield Family(f"{prefix}_{things}", COUNTER, f"{words} led to a server.", labels, total.rows(lambda row: row[:1]))
    text = f"{words} open now."
    yield Family(f"{prefix}_{things}_open", GAUGE, text, labels, total.rows(lambda row: [row[0] - row[1]]))
    text = "Bytes from clients."
    yield Family(f"{prefix}_received_bytes", COUNTER, text, labels, total.rows(lambda row: [row[2]]))
    text = "Bytes to clients."
    yield Family(f"{prefix}_sent_bytes", COUNTER, text, labels, total.rows(lambda row: [row[3]]))
    if kind == "udp":
        text = "Datagrams from clients."
        yield Family(f"{prefix}_received_datagrams", COUNTER, text, labels, total.rows(lambda row: [row[5]]))
        text = "Datagrams to clients."
        yield Family(f"{prefix}_sent_datagrams", COUNTER, text, labels, total.rows(lambda row: [row[6]]))
    thing = things.removesuffix("s")
    text = f"How long {words} that have ended had lasted."
    durations = total.rows(lambda row: [*row[7:], row[4]])
    yield Family(f"{prefix}_{thing}_duration_seconds", HISTOGRAM, text, labels, durations, DURATIONS)


# --- one by one --------------------------------------------------------------------------------------------------

_COUNTS: Final = {
    "access_log_lines": ("streamlb_access_log_lines", "Lines of the access log, written or dropped."),
    "http_refused": ("streamlb_http_refused_requests", "Requests that could not be read, by the code of the answer."),
    "http_dialled": ("streamlb_server_connects", "Connections to a server begun, for none that was kept was to spare."),
    "http_retried": ("traefik_service_retries", "How many request retries happened on a service."),
    "http_failed": ("streamlb_server_failures", "Times a server could not be reached, or did not answer to the end."),
    "http_fell_back": ("streamlb_service_fallbacks", "Requests that another service has taken over."),
    "http_queue_refused": ("streamlb_queue_refused", "Requests that got no place at a server, by reason."),
    "http_sticky": ("streamlb_sticky_requests", "Requests by whether their cookies named the server they got."),
    "http_mirrored": ("streamlb_http_mirrored", "Copies of requests for mirrors, by outcome."),
    "tcp_dropped": ("streamlb_tcp_dropped", "TCP connections that were not served, by reason."),
    "tcp_failed": ("streamlb_tcp_server_failures", "Times a TCP server could not be reached."),
    "tcp_mirrored": ("streamlb_tcp_mirrored", "Copies of TCP connections for mirrors, by outcome."),
    "udp_dropped": ("streamlb_udp_dropped", "UDP datagrams that were not passed on, by reason."),
    "udp_evicted": ("streamlb_udp_evicted", "UDP flows that gave way to newer ones."),
    "udp_refused": ("streamlb_udp_refused", "Times a UDP server was not there."),
    "udp_mirrored": ("streamlb_udp_mirrored", "Copies for mirrors of UDP flows, by outcome."),
}


def _counts(sums: Mapping[Meaning, Numbers]) -> Iterator[Family]:
    found: dict[str, list[tuple[Labels, Numbers]]] = {}
    for meaning, numbers in sums.items():
        if meaning.kind == "count" and meaning.labels[0] in _COUNTS:
            family, *values = meaning.labels
            if any(value.endswith("@internal") for value in values):
                continue
            names = COUNTS[family][1]
            labels = (qualified(v) if n in QUALIFIED else v for n, v in zip(names, values, strict=True))
            found.setdefault(family, []).append((tuple(labels), numbers))
    for family, samples in found.items():
        name, text = _COUNTS[family]
        yield Family(name, COUNTER, text, COUNTS[family][1], samples)


QUALIFIED: Final = frozenset({ROUTER, SERVICE, "fallback"})


def merged(all_families: Iterable[Family]) -> list[Family]:
    """In order of their names."""
    return sorted(all_families, key=lambda family: family.name)
