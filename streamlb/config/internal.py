"""What streamlb serves itself: ping and metrics, the routers that lead to them, the entry point made for them.

What lives here: where they are reached (`check`), and the configuration with everything they need (`complete`).
What must not: answering. `check` is called by `check.py`, `complete` by the control process with what all sources say.
Specified by Traefik's pages of ping and metrics: `/ping` and `/metrics`, before every other router.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from streamlb.config.address import AddressError, parse_entry_point
from streamlb.config.model import PROTOCOLS, Router
from streamlb.config.near import did_you_mean
from streamlb.config.observation import INTERNAL_ENTRY_POINT, METRICS, PING
from streamlb.config.static import EntryPoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlb.config.model import Config, Service
    from streamlb.config.observation import Ping, Prometheus
    from streamlb.config.reading import Path, Reading

ADDRESS = "127.0.0.1:8080"
"""Of the entry point `traefik`, where nobody has made it. Nobody but this machine needs to see what is told there."""
FIRST = 2**63 - 1
"""The priority of Traefik's own routers; that of a redirection is one less."""
RULES = {PING: "PathPrefix(`/ping`)", METRICS: "PathPrefix(`/metrics`)"}
BODILESS = (204, 205, 304)


def wanted(config: Config) -> Iterator[tuple[str, Path, Ping | Prometheus]]:
    """The internal services that are on: name, path of the options, and these."""
    if config.ping is not None:
        yield PING, ("ping",), config.ping
    if config.metrics.prometheus is not None:
        yield METRICS, ("metrics", "prometheus"), config.metrics.prometheus


def needs_entry_point(config: Config) -> Path | None:
    """The path of the options for whose sake the entry point `traefik` has to be made; None where it need not be."""
    if INTERNAL_ENTRY_POINT in config.entry_points:
        return None
    for _, path, options in wanted(config):
        if options.entry_point == INTERNAL_ENTRY_POINT and (not options.manual_routing or _is_named(config)):
            return path
    return None


def _is_named(config: Config) -> bool:
    """Whether a router names the entry point `traefik`."""
    routers = (router for protocol in PROTOCOLS for router in config.section(protocol).routers.values())
    return any(INTERNAL_ENTRY_POINT in router.entry_points for router in routers)


def check(config: Config, reading: Reading) -> None:
    """Report where an internal service is to be on an entry point that cannot have it."""
    for _, path, options in wanted(config):
        where = (*path, "entryPoint")
        name = options.entry_point
        entry_point = config.entry_points.get(name)
        if options.manual_routing:
            if reading.has(where):
                reading.note(where, "without effect: with `manualRouting` your own routers say where")
        elif reading.is_broken(where) or reading.is_broken(("entryPoints",)):
            continue
        elif entry_point is not None and entry_point.kind == "udp":
            reading.error(where, f"`{name}` is a UDP entry point; {path[-1]} is asked over HTTP")
        elif entry_point is None and name != INTERNAL_ENTRY_POINT:
            suggestion = did_you_mean(name, config.entry_points)
            reading.error(where, f"unknown entry point `{name}`", suggestion or "define it under `entryPoints`")
    if config.ping is not None and config.ping.terminating_status_code in BODILESS:
        reading.error(("ping", "terminatingStatusCode"), "an answer with this status has nothing to say")
    needed_by = needs_entry_point(config)
    if needed_by is not None:
        _check_free(needed_by, config, reading)


def _check_free(path: Path, config: Config, reading: Reading) -> None:
    """Whether the entry point that will be made gets its address."""
    ours = parse_entry_point(ADDRESS)
    for name, entry_point in config.entry_points.items():
        try:
            theirs = parse_entry_point(entry_point.address)
        except AddressError:
            continue
        if ours.overlaps(theirs):
            line = reading.line_of(("entryPoints", name), path)
            ours_is = f"an entry point `{INTERNAL_ENTRY_POINT}` is needed for this on {ADDRESS}"
            suggestion = f"say `entryPoint: {name}` here, or make `{INTERNAL_ENTRY_POINT}` with another address"
            reading.error(path, f"{ours_is}, which `{name}` in {line} takes", suggestion, at_key=True)
            return


def _entry_point(config: Config) -> EntryPoint:
    """It is open as long as any other, so that `/ping` can say that the end is near."""
    made = EntryPoint(address=ADDRESS)
    graces = [each.transport.life_cycle.request_accept_grace_timeout for each in config.entry_points.values()]
    made.transport.life_cycle.request_accept_grace_timeout = max(graces, default=0.0)
    return made


def complete(config: Config, metrics: Service | None = None) -> Config:
    """The configuration with the entry point, the routers and the services that internal services need.

    metrics: the service that answers for `prometheus@internal`; without it there is none.
    """
    entry_points, routers, services = config.entry_points, config.http.routers, config.http.services
    if needs_entry_point(config) is not None:
        entry_points = {**entry_points, INTERNAL_ENTRY_POINT: _entry_point(config)}
    if metrics is not None:
        services = {**services, METRICS: metrics}
    for name, _, options in wanted(config):
        if not options.manual_routing and (name == PING or metrics is not None):
            joined = [options.entry_point]
            router = Router(rule=RULES[name], service=name, entry_points=joined, priority=FIRST, rule_syntax="v3")
            routers = {**routers, name: router}
    return replace(config, entry_points=entry_points, http=replace(config.http, routers=routers, services=services))
