"""What an operator is shown of a running streamlb, as data.

What lives here: the shapes of `status` and `health`, made of the configuration, the probes, and what workers say.
What must not: asking anybody (`desk.py`), what it looks like (`cli/`). Specified in docs/reference.md ("Steering").
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import msgspec

import streamlb
from streamlb.config.model import PROTOCOLS, qualify
from streamlb.config.steering import written_as
from streamlb.observe.log import rfc3339

if TYPE_CHECKING:
    from streamlb.config.model import Config, Server, Service
    from streamlb.config.steering import Intervention
    from streamlb.health.prober import Standing
    from streamlb.process.control import Control
    from streamlb.process.loads import EntryPointLoad, ServerLoad
    from streamlb.process.steering import Steering, Yielded


class View(msgspec.Struct, rename="camel", kw_only=True):
    """Something that is shown."""


class Told(NamedTuple):
    """What the workers have said, by number, and how long the slowest of them took, in seconds."""

    servers: dict[int, list[ServerLoad]]
    entry_points: dict[int, list[EntryPointLoad]]
    took: float


class WorkerView(View):
    """A worker. pid 0: it is not there. restarts: how often it was replaced.

    lag: how late its loop came at worst in the last second, in seconds; None: not known.
    """

    number: int
    pid: int
    ready: bool
    up_since: str
    restarts: int
    active: int
    lag: float | None


class EntryPointView(View):
    """An entry point and how many conversations it has."""

    name: str
    address: str
    active: int


class ConfigurationView(View):
    """What is served and where it comes from. failures: times something was not taken over."""

    files: list[str]
    version: int
    loaded_at: str
    reloads: int
    failures: int
    kept: list[str]
    problems: list[str]


class ChildView(View):
    """A child of a service. configured: its weight in the files, where it has one."""

    name: str
    role: str
    in_maintenance: bool = False
    weight: int | None = None
    configured: int | None = None


class ServiceView(View):
    """A service, its kind and its children, by their names; those of a load balancer are servers."""

    protocol: str
    name: str
    kind: str
    children: list[ChildView]
    used_by: list[str]


class ServerView(View):
    """A server in one service.

    state: up, down, drain (no new clients), maintenance (nobody), ejected (by every worker, for what clients' requests
    showed). checked: whether there is a health check; healthy: what it says. streak: results that speak against it.
    active: requests, connections or flows now; idle: connections kept; waiting: for a place in its service.
    """

    protocol: str
    service: str
    server: str
    state: str
    reason: str
    since: str
    weight: int
    configured: int
    checked: bool
    healthy: bool
    last_check: str
    streak: int
    ejected_by: list[int]
    active: int
    total: int
    failures: int
    idle: int
    waiting: int


class Remaining(View):
    """What is still under way at a server, in all workers and in each."""

    server: str
    total: int
    workers: dict[int, int]


class Connections(View):
    """What is under way: how much there is, and, by worker, as it said it (see `proxy/inspection.py`)."""

    total: int
    workers: dict[int, msgspec.Raw]


class Status(View):
    """All there is to know at a glance. state: starting, serving, stopping. latency: seconds until workers answered."""

    version: str
    pid: int
    state: str
    up_since: str
    configuration: ConfigurationView
    workers: list[WorkerView]
    latency: float
    entry_points: list[EntryPointView]
    services: list[ServiceView]
    servers: list[ServerView]
    overrides: list[Intervention]
    yielded: list[Yielded]
    warnings: list[str]


def see_status(control: Control, steering: Steering, told: Told, begun_at: str, pid: int) -> Status:
    """Everything, as it is now."""
    config = control.config
    slots = control.fleet.slots
    silent = [str(slot.number) for slot in slots if slot.ready and slot.number not in told.servers]
    warnings = [f"worker {', '.join(silent)} does not answer in time"] if silent else []
    if steering.file.problem and steering.interventions:
        warnings.append(f"overrides are not kept over a restart: {steering.file.problem}")
    outcome = control.reading
    return Status(
        version=streamlb.__version__,
        pid=pid,
        state="stopping" if control.stopping else "serving" if control.fleet.serving else "starting",
        up_since=begun_at,
        configuration=ConfigurationView(
            files=[*control.paths],
            version=control.version,
            loaded_at=rfc3339(control.loaded_at),
            reloads=control.reloads,
            failures=control.failures,
            kept=outcome.kept if outcome is not None else [],
            problems=outcome.problems if outcome is not None else [],
        ),
        workers=[
            WorkerView(
                number=slot.number,
                pid=slot.pid,
                ready=slot.ready,
                up_since=rfc3339(slot.started_at) if slot.pid else "",
                restarts=max(slot.starts - 1, 0),
                active=sum(each.active for each in told.entry_points.get(slot.number, ())),
                lag=control.heartbeat.lags.get(slot.number),
            )
            for slot in slots
        ],
        latency=told.took,
        entry_points=_entry_points(config, told),
        services=_services(config, control.resolving.resolve(control.configured)),
        servers=see_servers(control, told),
        overrides=steering.interventions,
        yielded=[*steering.yielded],
        warnings=warnings,
    )


def _entry_points(config: Config, told: Told) -> list[EntryPointView]:
    active: dict[str, int] = defaultdict(int)
    for loads in told.entry_points.values():
        for load in loads:
            active[load.name] += load.active
    return [
        EntryPointView(name=name, address=entry_point.address, active=active[name])
        for name, entry_point in config.entry_points.items()
    ]


# --- services ----------------------------------------------------------------------------------------------------


def _services(config: Config, written: Config) -> list[ServiceView]:
    """written: the configuration without overrides."""
    found = []
    for protocol in PROTOCOLS:
        section, before = config.section(protocol), written.section(protocol).services
        users: dict[str, list[str]] = defaultdict(list)
        for name, router in section.routers.items():
            users[qualify(router.service, name)].append(name)
        for name, service in section.services.items():
            kind, children = _children(service, before.get(name, service))
            found.append(
                ServiceView(protocol=protocol, name=name, kind=kind, children=children, used_by=users.get(name, []))
            )
    return found


def _children(service: Service, written: Service) -> tuple[str, list[ChildView]]:
    if service.load_balancer is not None:
        before = written.load_balancer.servers if written.load_balancer is not None else []
        weights = {server.name: server.weight for server in before}
        return "loadBalancer", [
            ChildView(
                name=each.name,
                role="server",
                in_maintenance=each.in_maintenance,
                weight=each.weight,
                configured=weights.get(each.name, each.weight),
            )
            for each in service.load_balancer.servers
        ]
    if service.weighted is not None or service.highest_random_weight is not None:
        kind = "weighted" if service.weighted is not None else "highestRandomWeight"
        now = service.weighted or service.highest_random_weight
        former = written.weighted or written.highest_random_weight
        assert now is not None
        weights = {child.name: child.weight for child in (former or now).services}
        return kind, [
            ChildView(
                name=each.name, role="service", weight=each.weight, configured=weights.get(each.name, each.weight)
            )
            for each in now.services
        ]
    if service.mirroring is not None:
        mirrors = [ChildView(name=each.name, role=f"mirror {each.percent}%") for each in service.mirroring.mirrors]
        return "mirroring", [ChildView(name=service.mirroring.service, role="main"), *mirrors]
    if service.failover is not None:
        failover = service.failover
        return "failover", [
            ChildView(name=failover.service, role="main"),
            ChildView(name=failover.fallback, role="fallback"),
        ]
    return "internal", []


# --- servers -----------------------------------------------------------------------------------------------------


def see_servers(control: Control, told: Told) -> list[ServerView]:
    """Every server of every load balancer."""
    turned: dict[tuple[str, str, str], str] = {
        (each.protocol, each.service, each.child): each.at
        for each in control.steering.interventions
        if each.kind == "state"
    }
    loads: dict[tuple[str, str, str], dict[int, ServerLoad]] = defaultdict(dict)
    for number, said in told.servers.items():
        for load in said:
            loads[load.protocol, load.service, load.server][number] = load
    written = control.resolving.resolve(control.configured)
    found = []
    for protocol in PROTOCOLS:
        before = written.section(protocol).services
        for name, service in control.config.section(protocol).services.items():
            if service.load_balancer is None:
                continue
            former = before.get(name, service).load_balancer
            weights = {each.name: each.weight for each in (former or service.load_balancer).servers}
            for server in service.load_balancer.servers:
                key = (protocol, name, server.name)
                configured = weights.get(server.name, server.weight)
                view = _server(key, server, configured, control.prober.standings.get(key), loads[key])
                since = turned.get(key) or turned.get((protocol, name, written_as(server)))
                if since and view.state in ("drain", "maintenance"):
                    view.since = since
                found.append(view)
    return found


def _server(
    key: tuple[str, str, str],
    server: Server,
    configured: int,
    standing: Standing | None,
    loads: dict[int, ServerLoad],
) -> ServerView:
    ejected = [number for number, load in loads.items() if load.ejected]
    healthy = standing is None or standing.up
    if server.in_maintenance:
        state = "maintenance"
    elif not healthy:
        state = "down"
    elif ejected and len(ejected) == len(loads):
        state = "ejected"
    elif server.weight == 0:
        state = "drain"
    else:
        state = "up"
    changed_at = standing.changed_at if standing is not None else None
    checked_at = standing.checked_at if standing is not None else None
    return ServerView(
        protocol=key[0],
        service=key[1],
        server=key[2],
        state=state,
        reason=_reason(state, server, standing, ejected),
        since=rfc3339(changed_at.timestamp()) if changed_at is not None else "",
        weight=server.weight,
        configured=configured,
        checked=standing is not None,
        healthy=healthy,
        last_check=rfc3339(checked_at.timestamp()) if checked_at is not None else "",
        streak=standing.judge.streak if standing is not None else 0,
        ejected_by=ejected,
        active=sum(load.active for load in loads.values()),
        total=sum(load.total for load in loads.values()),
        failures=sum(load.failures for load in loads.values()),
        idle=sum(load.idle for load in loads.values()),
        waiting=max((load.waiting for load in loads.values()), default=0),
    )


def _reason(state: str, server: Server, standing: Standing | None, ejected: list[int]) -> str:
    """Why it is in that state, in words."""
    said = standing.reason or "not checked yet" if standing is not None else "no health check"
    if state == "maintenance" or (state == "drain" and standing is not None):
        return f"health check: {said}" if standing is not None else ""
    if ejected:
        return f"taken out by worker {', '.join(map(str, ejected))} for what clients' requests showed"
    return said
