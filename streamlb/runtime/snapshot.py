"""The compiled world that the data path reads, and the one reference to it.

What lives here: `Runtime`, its per-entry-point tables, and `World`, the single place a reload assigns to.
What must not: how it is compiled (`build.py`), what survives a reload (`registry.py`).
Read by `proxy` once per connection (TCP), flow (UDP) or request (HTTP).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlb.balance.selection import Node
    from streamlb.config.model import Config
    from streamlb.config.static import EntryPoint
    from streamlb.routing.router import HttpTable, TcpTable


class EntryPointTable:
    """What one entry point routes to. A TCP entry point may have `tcp` and `http`: TCP routers are tried first."""

    __slots__ = ("http", "name", "options", "tcp", "udp")

    def __init__(
        self,
        name: str,
        options: EntryPoint,
        *,
        http: HttpTable | None = None,
        tcp: TcpTable | None = None,
        udp: Node | None = None,
    ) -> None:
        self.name = name
        self.options = options
        self.http = http
        self.tcp = tcp
        self.udp = udp


class Runtime:
    """One compiled configuration. Never changed after it was built, but for the state its nodes keep."""

    __slots__ = ("config", "entry_points", "services", "version")

    def __init__(
        self,
        version: int,
        config: Config,
        entry_points: dict[str, EntryPointTable],
        services: dict[tuple[str, str], Node],
    ) -> None:
        self.version = version
        self.config = config
        self.entry_points = entry_points
        self.services = services


class World:
    """The one reference: `world.runtime` is read by everybody and assigned by a reload only."""

    __slots__ = ("runtime",)

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
