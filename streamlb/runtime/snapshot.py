"""The compiled world that the data path reads, and the one reference to it.

What lives here: `Runtime`, its per-entry-point tables, and `World`, the single place a reload assigns to.
What must not: how it is compiled (`build.py`), what survives a reload (`registry.py`).
Read by `proxy` once per connection (TCP), flow (UDP) or request (HTTP).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlb.config.tls import DEFAULT_OPTIONS, TlsOptions
from streamlb.runtime.certificates import Certificates
from streamlb.runtime.secure import SecurePlan

if TYPE_CHECKING:
    from streamlb.balance.selection import Node
    from streamlb.config.model import Config
    from streamlb.config.observation import Tracing
    from streamlb.config.static import EntryPoint
    from streamlb.routing.matchers import Connection
    from streamlb.routing.router import HttpTable, Route, TcpTable


class EntryPointTable:
    """What one entry point routes to; None where it has no such routers. TCP routers are tried before HTTP ones.

    udp: the service of its UDP router, `udp_route`. tracing: how its requests are traced, None for not at all.

    http, tcp: for connections in the clear. https, tcp_tls: for those over TLS. plan: the TLS options of `https`.
    """

    __slots__ = ("http", "https", "name", "options", "plan", "tcp", "tcp_tls", "tracing", "udp", "udp_route")

    def __init__(
        self,
        name: str,
        options: EntryPoint,
        *,
        http: HttpTable | None = None,
        https: HttpTable | None = None,
        tcp: TcpTable | None = None,
        tcp_tls: TcpTable | None = None,
        udp_route: Route | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.name = name
        self.options = options
        self.http = http
        self.https = https
        self.plan = SecurePlan(https.routes if https is not None else ())
        self.tcp = tcp
        self.tcp_tls = tcp_tls
        self.tracing = tracing
        self.udp: Node | None = udp_route.service if udp_route is not None else None
        self.udp_route = udp_route

    @property
    def speaks_tls(self) -> bool:
        """Whether the first bytes of a connection must be looked at to know whose it is."""
        return self.https is not None or self.tcp_tls is not None

    def take_tls(self, connection: Connection) -> Route | HttpTable | None:
        """Who gets a TLS connection: a TCP router, the HTTPS routers, or nobody.

        HTTPS routers that name the host come first, then TCP routers with any condition, then the other HTTPS routers,
        then TCP's catch-all, and at last HTTPS for its 404.
        """
        route = self.tcp_tls.route(connection) if self.tcp_tls is not None else None
        https = self.https
        if https is None or route is None:
            return route or https
        if https.names(connection.host) or (route.is_catch_all and https.takes_any):
            return https
        return route


class Runtime:
    """One compiled configuration. Never changed after it was built, but for the state its nodes keep."""

    __slots__ = ("certificates", "config", "entry_points", "services", "version")

    def __init__(
        self,
        version: int,
        config: Config,
        entry_points: dict[str, EntryPointTable],
        services: dict[tuple[str, str], Node],
    ) -> None:
        self.version = version
        self.config = config
        self.certificates = Certificates(config.tls)
        self.entry_points = entry_points
        self.services = services

    def tls_options(self, name: str) -> TlsOptions | None:
        """The TLS options of that name; those called `default` are always there."""
        found = self.config.tls.options.get(name)
        return TlsOptions() if found is None and name == DEFAULT_OPTIONS else found


class World:
    """The one reference: `world.runtime` is read by everybody and assigned by a reload only.

    terminating: whether this worker has been told to finish and end, which `ping@internal` says.
    """

    __slots__ = ("runtime", "terminating")

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.terminating = False
