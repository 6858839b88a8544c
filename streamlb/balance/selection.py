"""What goes into a pick and what comes out of it.

What lives here: the `Selection` a shell hands to the service tree, the `Server` it gets back, the notes it finds.
What must not: how a child is chosen (`strategy.py`), what the tree looks like (`tree.py`), anything that sends.
Called by `proxy`; specified in docs/architecture.md ("one service tree").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from streamlb.balance.latency import Latency
    from streamlb.balance.queue import Queue


class Request(Protocol):
    """What a walk may ask of the request; asked only where the configuration needs it."""

    @property
    def client(self) -> IPv4Address | IPv6Address:
        """The client's address."""

    def values(self, name: bytes) -> list[bytes]:
        """The values of the HTTP field `name` (lower case), in order of appearance."""


class Selection:
    """One pick's question and its notes. A shell may keep one per connection and `reset` it for each request.

    cookie_header: the request's `Cookie` field value (several lines joined with "; "), empty for TCP and UDP.
    hash_key: the client's address, packed, where it is at hand; else it is asked of `request`.
    request: what else there is to know of the request, or None.
    avoid: servers already tried for this request; they are never picked again (None is returned when nobody is left).
    retried: whether this is not the first pick for the request, so that it has been counted and mirrored already.
    fail_open: set by the walk while it passes a service that picks among all when nobody is up.
    cookies: `Set-Cookie` field values (bytes) to add to the answer, outermost service first.
    mirrors: mirrors admitted for this request, to be fed a copy; `mirror.service.pick(...)` names the copy's server.
    The first pick decides them; retries leave them as they are.
    fallbacks: the failover services on the way whose main service was picked from, outermost first. Each comes with a
    number of cookies: how many were set below it or, for those that an earlier fallback left standing, above it.
    queue: where to wait when nobody was picked because all are full; wanted: the only server to wait for, if any.
    stuck: whether cookies named the server on all of its way that has them; None where no service wants one.
    """

    __slots__ = (
        "_settled",
        "_spent",
        "avoid",
        "cookie_header",
        "cookies",
        "fail_open",
        "fallbacks",
        "hash_key",
        "mirrors",
        "queue",
        "request",
        "retried",
        "stuck",
        "wanted",
    )

    def __init__(self, cookie_header: bytes = b"", hash_key: bytes = b"", request: Request | None = None) -> None:
        # in
        self.cookie_header = cookie_header
        self.hash_key = hash_key
        self.request = request
        self.avoid: tuple[Server, ...] = ()
        self.retried = False
        self.fail_open = False
        # out
        self.cookies: list[bytes] = []
        self.mirrors: list[MirrorOrder] = []
        self.fallbacks: tuple[tuple[FallbackOrder, int], ...] = ()
        # request: how many of the fallbacks and cookies are of no walk that may be repeated
        self._settled = (0, 0)
        self.queue: Queue | None = None
        self.wanted: Server | None = None
        self.stuck: bool | None = None
        # pick
        self._spent: tuple[tuple[Server, ...], set[Node]] | None = None

    def retry(self, failed: Server) -> None:
        """Prepare the same request for another pick that must not answer `failed`; mirrors stay as noted."""
        self.avoid = (*self.avoid, failed)
        self.retried = True
        fallbacks, cookies = self._settled
        self.queue = self.wanted = None
        if self.cookies:
            self.cookies = self.cookies[:cookies]
        if self.fallbacks:
            self.fallbacks = self.fallbacks[:fallbacks]

    def leave_main(self, status: int | None) -> Node | None:
        """The fallback to pick from now, instead of the innermost main service that `status` is a failure of.

        None is a failure of every main service: nobody there could be reached. What services below that one have
        noted is dropped, what those above it have noted stays. No fallback: nothing has changed.
        """
        settled, _ = self._settled
        total = len(self.cookies)
        for place in range(len(self.fallbacks) - 1, -1, -1):
            order, _ = self.fallbacks[place]
            if status is None or status in order.statuses:
                above = [
                    (each, count if index < settled else total - count)
                    for index, (each, count) in enumerate(self.fallbacks[: place + 1])
                ]
                self._settled = (place, above.pop()[1])
                self.fallbacks = tuple(above)
                self.cookies = self.cookies[: self._settled[1]]
                self.retried = True
                self.queue = self.wanted = None
                return order.service
        return None

    def again(self) -> None:
        """Prepare the same pick once more, after the wait in a queue."""
        self.queue = self.wanted = None
        self._spent = None

    def begin_again(self) -> None:
        """The next pick starts at the root, whichever fallback the last one came from."""
        self.fallbacks = ()
        self._settled = (0, 0)

    def reset(self, cookie_header: bytes = b"", hash_key: bytes = b"", request: Request | None = None) -> None:
        """Start over for another request; lists already handed out are left alone."""
        self.cookie_header = cookie_header
        self.hash_key = hash_key
        self.request = request
        self.avoid = ()
        self.retried = False
        self.queue = self.wanted = self.stuck = None
        if self.cookies:
            self.cookies = []
        if self.mirrors:
            self.mirrors = []
        self.begin_again()
        self._spent = None

    def spent(self) -> set[Node]:
        """The nodes that were found to have nobody but `avoid`, so that no pick asks twice on its many ways."""
        if self._spent is None or self._spent[0] is not self.avoid:
            self._spent = (self.avoid, set())
        return self._spent[1]


class MirrorOrder:
    """A mirror admitted by its quota: feed a copy of this request to whatever `service` picks.

    One per mirror and snapshot, shared by all requests: read it, never change it.

    name: the mirror's service. mirror_body: whether the request's body is copied too.
    max_body_size: bytes; requests with a larger body are not mirrored; -1 is no limit.
    """

    __slots__ = ("max_body_size", "mirror_body", "name", "service")

    def __init__(self, name: str, service: Node, mirror_body: bool, max_body_size: int) -> None:
        self.name = name
        self.service = service
        self.mirror_body = mirror_body
        self.max_body_size = max_body_size


class FallbackOrder:
    """A failover service: where to go when its main service fails.

    One per failover and snapshot, shared by all requests: read it, never change it.

    name: the failover service. service: the fallback.
    statuses: of answers of the main service that count as failures (HTTP).
    max_body_size: bytes of a request's body to be kept for the fallback, in case there is such an answer.
    """

    __slots__ = ("max_body_size", "name", "service", "statuses")

    def __init__(
        self, name: str, service: Node, statuses: frozenset[int] = frozenset(), max_body_size: int = 0
    ) -> None:
        self.name = name
        self.service = service
        self.statuses = statuses
        self.max_body_size = max_body_size


class ServerState:
    """What is known of a server across snapshots; kept in `runtime/registry.py` by (protocol, service, server name).

    up: set by health. active: conversations now. total, failures: since the start.
    latency: how long the last answers took, noted by the proxy; None where no strategy asks for it.
    transport: the options of reaching it, those of the newest snapshot; opaque here.
    max_connections: conversations at once, 0 for any number. queue: who waits for a place, if that is limited. Both as
    the newest snapshot says, for those too who came under an older one.
    pool: what the proxy keeps per server (idle connections); opaque here.
    """

    __slots__ = ("active", "failures", "latency", "max_connections", "pool", "queue", "total", "transport", "up")

    def __init__(self) -> None:
        self.up = True
        self.max_connections = 0
        self.queue: Queue | None = None
        self.active = 0
        self.total = 0
        self.failures = 0
        self.latency: Latency | None = None
        self.transport: Any = None
        self.pool: Any = None


class Parent(Protocol):
    """A node with children: told when the `up` of one of them has changed."""

    def refresh(self) -> None: ...


class Watch(Protocol):
    """Who learns from clients' requests whether a server works."""

    def failed(self, reason: str) -> None: ...
    def succeeded(self) -> None: ...
    def answered(self, status: int) -> None:
        """HTTP: either of them, by the status."""


class Server:
    """A leaf of the tree and the result of a pick.

    name: the server as configured (its URL or address); key of stickiness inside a load balancer.
    host, port: where to connect; `host` may be a name that `net.dial` resolves.
    tls_name: its host as configured, which its certificate must name; empty where TLS is not spoken to it.
    host_field: the `Host` value to send upstream, or None to pass the client's (`passHostHeader`).
    prefix: what stands before the path of each request (`preservePath`), without a slash at its end.
    state: across snapshots. pool: for the proxy to hang what it keeps per server, kept in `state`.
    watch: told what becomes of clients' requests; None where nobody wants to know (`passiveHealthCheck`).
    limits: what the proxy holds exchanges with it to, over TCP also how it is reached; opaque here.
    """

    __slots__ = (
        "host",
        "host_field",
        "limits",
        "name",
        "parents",
        "port",
        "prefix",
        "service",
        "state",
        "tls_name",
        "watch",
    )

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        *,
        service: str = "",
        host_field: bytes | None = None,
        tls_name: str = "",
        prefix: bytes = b"",
        limits: Any = None,
        max_connections: int = 0,
        queue: Queue | None = None,
        state: ServerState | None = None,
    ) -> None:
        """max_connections, queue: of a state of its own."""
        # snapshot
        self.name = name
        self.service = service
        self.host = host
        self.port = port
        self.host_field = host_field
        self.tls_name = tls_name
        self.prefix = prefix
        self.limits = limits
        self.parents: list[Parent] = []
        self.watch: Watch | None = None
        # across snapshots
        self.state = state or ServerState()
        if state is None:
            self.state.max_connections, self.state.queue = max_connections, queue

    @property
    def up(self) -> bool:
        return self.state.up

    @property
    def opens(self) -> bool:
        """A server that is down does not serve of its own accord."""
        return False

    @property
    def is_full(self) -> bool:
        state = self.state
        return 0 < state.max_connections <= state.active

    @property
    def queue(self) -> Queue | None:
        return self.state.queue

    def leave(self) -> None:
        """A conversation is over; whoever waits for its place hears of it."""
        state = self.state
        state.active -= 1
        if state.queue is not None:
            state.queue.offer(self)

    @property
    def pool(self) -> Any:
        return self.state.pool

    @pool.setter
    def pool(self, pool: Any) -> None:
        self.state.pool = pool

    def set_up(self, up: bool) -> None:
        """Health has spoken: remember it and, if it is news, let the parents choose among the usable anew."""
        if self.state.up != up:
            self.state.up = up
            for parent in self.parents:
                parent.refresh()

    def pick(self, want: Selection) -> Server | None:
        # A down server is reached here by a cookie, from a snapshot that health no longer speaks to, or because
        # nobody is up and a service above fails open.
        state = self.state
        if (not state.up and not want.fail_open) or self in want.avoid:
            return None
        if state.max_connections and state.max_connections <= state.active:
            return None
        return self

    def __repr__(self) -> str:
        return f"Server({self.name})"


class Node(Protocol):
    """Anything that chooses. `up` is maintained by health, never computed during a pick."""

    name: str

    @property
    def up(self) -> bool: ...

    def pick(self, want: Selection) -> Server | None: ...
