"""Which TLS options hold where, and who answers for another host than the handshake was for.

What lives here: `SecurePlan`, by server name on one entry point. What must not: certificates (`certificates.py`),
OpenSSL. Built by `tables.py`, asked by `proxy`.
Specified by Traefik's page on TLS options: options go by the host of a router's rule, two routers that want different
ones for one host both get the `default` ones; and by RFC 9110 section 15.5.20 (421).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlb.config.tls import DEFAULT_OPTIONS
from streamlb.routing.matchers import wildcard_of
from streamlb.routing.router import is_ending

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamlb.routing.router import Route


class SecurePlan:
    """The TLS options of the HTTPS routers of one entry point.

    Routers that name no host, and those whose pattern may be any, decide for the names that nobody names.
    """

    __slots__ = ("_by_host", "_elsewhere", "_insisting", "_is_uniform")

    def __init__(self, routes: Iterable[Route]) -> None:
        wanted: dict[bytes, set[str]] = {}
        for route in routes:
            for host in _hosts(route):
                wanted.setdefault(host, set()).add(options_named_by(route))
        agreed = {host: names.pop() if len(names) == 1 else DEFAULT_OPTIONS for host, names in wanted.items()}
        self._elsewhere = agreed.pop(_ELSEWHERE, DEFAULT_OPTIONS)
        self._by_host = agreed
        self._is_uniform = len({self._elsewhere, *agreed.values()}) == 1
        self._insisting = {
            route.name: route.tls.options
            for route in routes
            if route.tls.options and all(self._of(host) == route.tls.options for host in _hosts(route))
        }

    @property
    def universal(self) -> str | None:
        """The name of the options that hold for every server name; None if there is no such thing."""
        return self._elsewhere if self._is_uniform else None

    def options_of(self, host: bytes) -> str:
        """The name of the options for a server name, which may be empty."""
        if self._is_uniform:
            return self._elsewhere
        found = self._by_host.get(host)
        return found if found is not None else self._by_host.get(wildcard_of(host), self._elsewhere)

    def disputed(self, route: Route) -> bytes | None:
        """A host for which a router's options did not prevail, empty for "any"; None if there is none."""
        return next((host for host in sorted(_hosts(route)) if self._of(host) != options_named_by(route)), None)

    def _of(self, key: bytes) -> str:
        return self._by_host.get(key, self._elsewhere)

    def misdirects(self, options: str, host: bytes, route: Route | None) -> bool:
        """Whether a request for `host`, which `route` takes, may not come over a handshake with these options."""
        if self._is_uniform:
            return False
        if self.options_of(host) != options:
            return True
        return route is not None and self._insisting.get(route.name, options) != options


_ELSEWHERE = b""


def _hosts(route: Route) -> frozenset[bytes]:
    """The hosts and wildcards that a router decides for."""
    hosts = route.hosts
    return _ANYWHERE if hosts is None or any(map(is_ending, hosts)) else hosts


_ANYWHERE = frozenset({_ELSEWHERE})


def options_named_by(route: Route) -> str:
    """The TLS options a router asks for."""
    return route.tls.options or DEFAULT_OPTIONS
