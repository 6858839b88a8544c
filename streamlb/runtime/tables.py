"""The tables of entry points: which routers join one, and which of them look at what comes over TLS.

What lives here: `table_in_steps`. What must not: services (`build.py`). Called by `build.py`.
Specified by Traefik's routers pages: a router with `tls` takes TLS connections only, one without takes none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from streamlb.config.model import qualify, tls_options_named
from streamlb.config.observation import PING
from streamlb.config.tls import DEFAULT_OPTIONS, RouterTls
from streamlb.errors import InternalError
from streamlb.routing.router import HttpTable, Route, Router, Rules, TcpTable
from streamlb.runtime.limits import Override
from streamlb.runtime.local import Pinging
from streamlb.runtime.redirection import redirecting_router
from streamlb.runtime.snapshot import EntryPointTable

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from streamlb.balance.selection import Node
    from streamlb.config import model
    from streamlb.runtime.gates import Gates
    from streamlb.runtime.local import Local


STEP = 100
"""Routers looked at in one step."""


def table_in_steps(
    name: str,
    config: model.Config,
    services: dict[tuple[str, str], Node],
    gates: Mapping[str, Gates],
    rules: Rules | None = None,
) -> Generator[None, None, EntryPointTable]:
    """What one entry point routes to; without any router a TCP one answers HTTP, with 404.

    gates: those of TCP routers that have middlewares, by router. rules: those that were read already.
    """
    options = config.entry_points[name]
    if options.kind == "udp":
        routers = yield from _routers("udp", name, config, services)
        return EntryPointTable(name, options, udp_route=Route(routers[0]) if routers else None)
    http = yield from _routers("http", name, config, services)
    tcp = yield from _routers("tcp", name, config, services)
    tcp = [router._replace(gates=gates.get(router.name)) for router in tcp]
    redirecting = redirecting_router(name, config)
    if redirecting is not None:
        http.append(redirecting._replace(observed=options.observability))
    if options.http.tls is not None:
        everybody = _named(RouterTls(options=options.http.tls.options))
        http = [router if router.tls is not None else router._replace(tls=everybody) for router in http]
    secure = [router for router in http if router.tls is not None]
    plain = [router for router in http if router.tls is None]
    over_tls = [router for router in tcp if router.tls is not None]
    in_the_clear = [router for router in tcp if router.tls is None]
    yield
    return EntryPointTable(
        name,
        options,
        http=HttpTable(plain, rules) if plain or not (tcp or secure or options.http.tls) else None,
        https=HttpTable(secure, rules) if secure or options.http.tls else None,
        tcp=TcpTable(in_the_clear, rules) if in_the_clear else None,
        tcp_tls=TcpTable(over_tls, rules) if over_tls else None,
        tracing=config.tracing if options.observability.tracing else None,
    )


def _routers(
    protocol: str, entry_point: str, config: model.Config, services: dict[tuple[str, str], Node]
) -> Generator[None, None, list[Router]]:
    """The routers that join an entry point: those that name it and those that name none."""
    joined = []
    for number, (name, router) in enumerate(config.section(protocol).routers.items()):
        if number % STEP == 0:
            yield
        unknown = [each for each in router.entry_points if each not in config.entry_points]
        if unknown:
            raise InternalError(f"{protocol} router {name}: entry point {unknown[0]} does not exist")
        if not router.joins(entry_point):
            continue
        local = _local(name, router, config)
        service: Any = services.get((protocol, qualify(router.service, name)))
        if service is None and local is None:
            raise InternalError(f"{protocol} router {name}: service {router.service} does not exist")
        limits = _override(router, config.section(protocol).services.get(qualify(router.service, name)))
        syntax = config.syntax_of(router)
        tls = router.tls and _named(router.tls)
        observed = config.entry_points[entry_point].observability
        if router.observability is not None:
            observed = router.observability.over(observed)
        made = Router(name, router.rule, service, router.priority, syntax, limits, tls, local=local, observed=observed)
        joined.append(made)
    return joined


def _local(name: str, router: model.Router, config: model.Config) -> Local | None:
    """What answers the requests of a router itself, if it leads to such a service."""
    if router.service != PING:
        return None
    if config.ping is None:
        raise InternalError(f"http router {name}: ping is not on")
    return Pinging(config.ping.terminating_status_code)


def _named(tls: RouterTls) -> RouterTls:
    """What a router says about TLS, its options called as the model calls them, or not at all if they are `default`."""
    name = tls_options_named(tls.options)
    return replace(tls, options="" if name == DEFAULT_OPTIONS else name)


def _override(router: model.Router, service: model.Service | None) -> Override | None:
    """What is said about timeouts above the load balancers; a router wins over the service it names."""
    above = service.timeouts if service is not None else None
    said = [timeouts for timeouts in (above, router.timeouts) if timeouts is not None]
    return Override(*said) if said else None
