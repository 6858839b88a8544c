"""The compiler: a checked configuration becomes the world that the data path reads.

What lives here: `build`, which makes the service trees; the tables of entry points are made by `tables.py`.
What must not: checking for the user (`config/check.py` has done it; what is wrong here is our own bug).
Called by `process/worker.py` at start and at each reload. Specified in docs/architecture.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from streamlb.balance.failover import Failover
from streamlb.balance.hashing import Draws
from streamlb.balance.overrides import Overridden, by_cookie, by_header
from streamlb.balance.queue import Queue
from streamlb.balance.quota import Quota
from streamlb.balance.selection import FallbackOrder, MirrorOrder, Server
from streamlb.balance.sticky import Attributes, Sticky, cookie_name
from streamlb.balance.tree import Balancer, Child, Mirror
from streamlb.config.model import PROTOCOLS, bare, provider_of, qualify
from streamlb.config.static import ServersTransport
from streamlb.errors import InternalError
from streamlb.runtime.gates import gates_of
from streamlb.runtime.limits import ANY_TIME, Limits
from streamlb.runtime.reach import Reach, reach_of
from streamlb.runtime.snapshot import EntryPointTable, Runtime
from streamlb.runtime.strategies import Strategies
from streamlb.runtime.tables import table_in_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from streamlb.balance.selection import Node, ServerState
    from streamlb.balance.strategy import Strategy
    from streamlb.balance.tree import TreeNode
    from streamlb.config import model
    from streamlb.runtime.registry import Registry, Renewal, Transport

MAX_REPEATED_BODY = 1024 * 1024
"""Bytes of a request's body kept for a fallback, where the configuration says -1."""
RULED = ("http", "tcp")
"""The protocols whose routers have rules."""
MAX_DEPTH = 100
"""Services below one another. A named limit, so that no pick can exhaust the stack."""


def build(
    config: model.Config,
    registry: Registry,
    *,
    worker: int = 0,
    workers: int = 1,
    version: int = 1,
    random: Callable[[], float] | None = None,
) -> Runtime:
    """Compile `config` for worker number `worker` of `workers`.

    random: numbers in [0, 1) for the strategies that draw lots; without it the same row each time.
    Takes over from `registry` what survives a reload. Raises InternalError with the registry unchanged.
    """
    steps = build_in_steps(config, registry, worker=worker, workers=workers, version=version, random=random)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            runtime: Runtime = end.value
            return runtime


def build_in_steps(
    config: model.Config,
    registry: Registry,
    *,
    worker: int,
    workers: int,
    version: int,
    random: Callable[[], float] | None = None,
) -> Generator[None, None, Runtime]:
    """As `build`, in small steps, between which others may have their turn: what they do to the states that both worlds
    share counts, but a server that goes up or down meanwhile must be told to its parents again."""
    renewal = registry.renew()
    services: dict[tuple[str, str], Node] = {}
    for protocol in PROTOCOLS:
        strategies = Strategies(worker, workers, random or Draws(worker))
        trees = _Trees(protocol, config, renewal, strategies)
        for name in config.section(protocol).services:
            services[protocol, name] = trees.node(name)
            yield
    for protocol in RULED:
        for router in config.section(protocol).routers.values():
            renewal.rules.read(router.rule, protocol, config.syntax_of(router))
            yield
    gates = gates_of(config, renewal.counts)
    entry_points: dict[str, EntryPointTable] = {}
    for name in config.entry_points:
        entry_points[name] = yield from table_in_steps(name, config, services, gates, renewal.rules)
        yield
    runtime = Runtime(version, config, entry_points, services)
    yield
    renewal.commit()
    return runtime


# --- service trees -----------------------------------------------------------------------------------------------


class _Trees:
    """The services of one protocol in the making; a service that two parents share is one node."""

    __slots__ = ("_config", "_heights", "_open", "_protocol", "_renewal", "_services", "_strategies", "nodes")

    def __init__(self, protocol: str, config: model.Config, renewal: Renewal, strategies: Strategies) -> None:
        self._protocol = protocol
        self._config = config
        self._services = config.section(protocol).services
        self._renewal = renewal
        self._strategies = strategies
        self._open: list[str] = []
        self._heights: dict[str, int] = {}
        self.nodes: dict[str, TreeNode] = {}

    def node(self, name: str) -> TreeNode:
        """The node of a service by its qualified name, with everything below it."""
        if name not in self.nodes:
            self._add(name)
        if self._open:
            parent = self._open[-1]
            self._heights[parent] = max(self._heights[parent], self._heights[name] + 1)
        return self.nodes[name]

    def _add(self, name: str) -> None:
        service = self._services.get(name)
        if service is None:
            raise InternalError(f"{self._protocol} service {name} does not exist")
        if name in self._open:
            raise InternalError(f"{self._protocol} service {name} contains itself")
        self._open.append(name)
        self._heights[name] = 1
        # The first bounds this recursion, the second that of a pick: a part may have been made before.
        if len(self._open) <= MAX_DEPTH:
            self.nodes[name] = self._make(name, service)
        if max(len(self._open), self._heights[name]) > MAX_DEPTH:
            raise InternalError(f"{self._protocol} services are nested deeper than {MAX_DEPTH} levels")
        self._open.pop()

    def _make(self, name: str, service: model.Service) -> TreeNode:
        if service.load_balancer is not None:
            configured = service.load_balancer
            limits = self._limits(name, service, configured)
            queue = self._queue(name, configured, limits)
            servers = self._servers(name, configured, limits)
            return self._balancer(name, configured, servers, self._strategies.of_servers(configured, servers), queue)
        if service.weighted is not None:
            children = self._children(name, service.weighted.services)
            balancer = self._balancer(name, service.weighted, children, self._strategies.rotation(children))
            return self._overridden(name, balancer, service.weighted.overrides)
        if service.highest_random_weight is not None:
            hashed = service.highest_random_weight
            children = self._children(name, hashed.services)
            return self._balancer(name, hashed, children, self._strategies.rendezvous(children, hashed.hash_by))
        if service.failover is not None:
            return self._failover(name, service.failover)
        if service.mirroring is not None:
            return self._mirror(name, service.mirroring)
        raise InternalError(f"{self._protocol} service {name} is of no kind")

    def _children(self, name: str, configured: list[model.WeightedChild]) -> list[Child]:
        return [Child(bare(child.name), self.node(qualify(child.name, name)), child.weight) for child in configured]

    def _balancer(
        self,
        name: str,
        configured: model.LoadBalancer | model.Weighted | model.HighestRandomWeight,
        children: list[Child],
        strategy: Strategy[TreeNode],
        queue: Queue | None = None,
    ) -> Balancer:
        sticky = getattr(configured, "sticky", None) if self._protocol == "http" else None
        balancer = Balancer(
            name,
            children,
            sticky=_sticky(name, children, sticky.cookie) if sticky else None,
            strategy=strategy,
            queue=queue,
            fail_open=configured.on_all_down == "failOpen",
        )
        self._renewal.resume(self._protocol, balancer)
        return balancer

    def _overridden(self, name: str, balancer: Balancer, overrides: list[model.Override]) -> TreeNode:
        if not overrides or self._protocol != "http":
            return balancer
        made = []
        for override in overrides:
            node = self.node(qualify(override.service, name))
            if override.header is not None:
                made.append((by_header(override.header.name, override.header.value), node))
            elif override.cookie is not None:
                made.append((by_cookie(override.cookie.name, override.cookie.value), node))
        return Overridden(balancer, made)

    def _servers(self, service: str, balancer: model.LoadBalancer, limits: Limits | Reach) -> list[Child]:
        children = []
        transport = self._transport(service, balancer)
        for configured in balancer.servers:
            if configured.in_maintenance:
                self._renewal.park(self._protocol, service, configured.name)
                continue
            state = self._renewal.state(self._protocol, service, configured.name, transport)
            if self._protocol == "http":
                server = _http_server(configured, service, balancer.pass_host_header, state)
            else:
                server = _raw_server(configured, service, state)
            server.limits = limits
            self._renewal.places(self._protocol, service, configured.name, configured.max_connections)
            children.append(Child(configured.name, server, configured.weight))
        return children

    def _queue(self, service: str, balancer: model.LoadBalancer, limits: Limits | Reach) -> Queue | None:
        if not any(server.max_connections for server in balancer.servers):
            return None
        fresh = Queue(service, balancer.queue.max_size, balancer.queue.timeout, limits)
        return self._renewal.queue(self._protocol, service, fresh)

    def _limits(self, name: str, service: model.Service, balancer: model.LoadBalancer) -> Limits | Reach:
        """What exchanges, or conversations, with the servers of a load balancer are held to."""
        transport = self._transport(name, balancer)
        if not isinstance(transport, ServersTransport):
            return reach_of(transport, balancer)
        timeouts = transport.forwarding_timeouts
        limits = Limits(
            first_byte=timeouts.response_header_timeout or ANY_TIME, answer=timeouts.read_timeout or ANY_TIME
        )
        return limits.under(service.timeouts)

    def _transport(self, service: str, balancer: model.LoadBalancer) -> Transport:
        """How the servers of a service are reached."""
        config = self._config
        if self._protocol == "http":
            named: Mapping[str, Transport] = config.http.servers_transports
            default: Transport = config.servers_transport
        else:
            named, default = config.tcp.servers_transports, config.tcp_servers_transport
        if not balancer.servers_transport:
            return default
        transport = named.get(qualify(balancer.servers_transport, service))
        if transport is None:
            raise InternalError(f"{self._protocol} transport {balancer.servers_transport} does not exist")
        return transport

    def _mirror(self, name: str, mirroring: model.Mirroring) -> Mirror:
        mirrors = []
        for mirror in mirroring.mirrors:
            target = qualify(mirror.name, name)
            # A mirror never hurts the main service, not even by its absence.
            if target in self._services:
                order = MirrorOrder(target, self.node(target), mirroring.mirror_body, mirroring.max_body_size)
                mirrors.append((order, self._quota(name, target, mirror.percent)))
        return Mirror(name, self.node(qualify(mirroring.service, name)), mirrors)

    def _failover(self, name: str, failover: model.Failover) -> Failover:
        main = self.node(qualify(failover.service, name))
        fallback = self.node(qualify(failover.fallback, name))
        statuses: frozenset[int] = frozenset()
        size = MAX_REPEATED_BODY
        if failover.errors is not None and self._protocol == "http":
            statuses = _statuses(failover.errors.status)
            configured = failover.errors.max_request_body_bytes
            size = configured if configured >= 0 else size
        return Failover(name, main, fallback, FallbackOrder(name, fallback, statuses, size))

    def _quota(self, service: str, mirror: str, percent: int) -> Quota:
        def make() -> Quota:
            return Quota(percent, self._strategies.worker, self._strategies.workers)

        return self._renewal.quota(self._protocol, service, mirror, percent, make)


def _statuses(texts: list[str]) -> frozenset[int]:
    """All statuses of a list such as `500-504`, `429`."""
    ranges = [(int(first), int(last or first)) for first, _, last in (text.partition("-") for text in texts)]
    return frozenset(status for first, last in ranges for status in range(first, last + 1))


def _sticky(service: str, children: list[Child], cookie: model.Cookie) -> Sticky[TreeNode]:
    attributes = Attributes(
        path=cookie.path,
        domain=cookie.domain,
        max_age=cookie.max_age,
        http_only=cookie.http_only,
        secure=cookie.secure,
        same_site=cookie.same_site,
    )
    name = cookie_name(cookie.name, f"{bare(service)}@{provider_of(service)}")
    return Sticky(name, [(child.name, child.node) for child in children], attributes)


def _http_server(configured: model.Server, service: str, pass_host_header: bool, state: ServerState) -> Server:
    if configured.url.startswith(UNIX):
        host_field = None if pass_host_header else b"localhost"
        path = configured.url.removeprefix(UNIX)
        return Server(configured.name, path, 0, service=service, host_field=host_field, state=state)
    scheme, host, port = _split_url(configured.url)
    return Server(
        configured.name,
        configured.address or host,
        port,
        service=service,
        host_field=None if pass_host_header else _field(scheme, host, port),
        prefix=urlsplit(configured.url).path.removesuffix("/").encode() if configured.preserve_path else b"",
        tls_name=host.rstrip(".") if scheme == "https" else "",
        state=state,
    )


def _raw_server(configured: model.Server, service: str, state: ServerState) -> Server:
    host, port = _split_address(configured.address)
    tls_name = (configured.tls_name or host).rstrip(".") if configured.tls else ""
    return Server(configured.name, host, port, service=service, tls_name=tls_name, state=state)


# --- addresses ---------------------------------------------------------------------------------------------------


UNIX = "unix:"
"""How the URL of a server at a Unix socket begins; the path follows."""
DEFAULT_PORTS = {"http": 80, "https": 443}


def _split_url(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of `http://host[:port]`."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InternalError(f"server url {url!r}: {error}") from error
    if parts.scheme not in DEFAULT_PORTS or not host:
        raise InternalError(f"server url {url!r} cannot be used")
    return parts.scheme, host, DEFAULT_PORTS[parts.scheme] if port is None else port


def _split_address(address: str) -> tuple[str, int]:
    """Where `host:port` or `[::1]:port` leads."""
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise InternalError(f"server address {address!r} cannot be used")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _field(scheme: str, host: str, port: int) -> bytes:
    """The `Host` value that names a server, without the port that needs no saying (RFC 9110 section 7.2)."""
    text = f"[{host}]" if ":" in host else host
    return (text if port == DEFAULT_PORTS[scheme] else f"{text}:{port}").encode()
