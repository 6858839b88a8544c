"""What an operator has changed at run time, found in a configuration and applied to it.

What lives here: `Intervention` (for users: an override), the search for what a name means (`Map`), and `steered`, a
configuration with its interventions.
What must not: files, time, who may do so. Called by `process/steering.py`; specified in docs/reference.md ("Steering").

A drained server has weight 0; one in maintenance is in the configuration, but in nobody's tree.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from streamlb.config.model import FILE_PROVIDER, PROTOCOLS, bare, qualify
from streamlb.config.near import did_you_mean
from streamlb.config.quantities import Weight  # noqa: TC001  # msgspec reads it when a state file is read.
from streamlb.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from streamlb.config.model import Config, LoadBalancer, Section, Server, Service, WeightedChild

    AnySection = TypeVar("AnySection", bound=Section)

STATES = ("ready", "drain", "maintenance")
MAX_CANDIDATES_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervention:
    """One thing an operator has changed.

    service, child: as `Map` names them; of: the server as it is written, where `child` is one of its addresses.
    value: the weight of a child of a service, or of a server; else the state of a server.
    replaced: what the configuration said; when it says something else, the intervention yields.
    by: who did it, in words. at: when, RFC 3339.
    """

    id: int
    protocol: Literal["http", "tcp", "udp"]
    service: str
    child: str
    value: Weight | Literal["drain", "maintenance"]
    replaced: Weight | Literal["ready"]
    by: str
    at: str
    of: str = ""

    @property
    def kind(self) -> str:
        return "weight" if isinstance(self.value, int) else "state"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """There is one intervention at most of each."""
        return self.kind, self.protocol, self.service, self.child

    @property
    def text(self) -> str:
        """`weight of v2 in http service canary: 1 -> 3`."""
        where = f"{self.child} in {self.protocol} service {self.service}"
        if self.kind == "weight":
            return f"weight of {where}: {self.replaced} -> {self.value}"
        return f"state of {where}: {self.value}"


# --- looking things up -------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """A child of a service that has weights: another service, or a server. `of`: see `Intervention`."""

    protocol: str
    service: str
    child: str
    weight: int
    is_server: bool
    of: str = ""

    @property
    def title(self) -> str:
        return f"{self.protocol}:{self.service} {self.child}"


def places_of(config: Config) -> Iterator[Place]:
    """Everything an operator can change."""
    for protocol in PROTOCOLS:
        for name, service in config.section(protocol).services.items():
            for child in _children(service):
                yield Place(protocol, name, qualify(child.name, name), child.weight, False)
            for server in service.load_balancer.servers if service.load_balancer else ():
                yield Place(protocol, name, server.name, server.weight, True, written_as(server))


def _children(service: Service) -> list[WeightedChild]:
    if service.weighted is not None:
        return service.weighted.services
    return service.highest_random_weight.services if service.highest_random_weight is not None else []


def written_as(server: Server) -> str:
    """How the configuration names a server that is one of several addresses of a name; empty for any other."""
    if server.resolve == "one":
        return ""
    if server.url:
        return server.url if server.address else ""
    return f"{server.tls_name}:{server.address.rpartition(':')[2]}" if server.tls_name else ""


class Map:
    """The names of one configuration. What is unknown or means several things is refused, with what might be meant."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._places = list(places_of(config))

    def services(self, text: str) -> list[tuple[str, str]]:
        """The services a name means: `canary`, `canary@file`, `tcp:canary`; protocol and name of each."""
        protocol, name = _split(text)
        known = [(each, service) for each in PROTOCOLS for service in self._config.section(each).services]
        if protocol:
            known = [each for each in known if each[0] == protocol]
        wanted = qualify(name, "")
        found = [each for each in known if each[1] == wanted]
        if not found and "@" not in name:
            found = [each for each in known if bare(each[1]) == name]
        if not found:
            raise RefusedError(f"there is no service {text}", _guess(name, [each[1] for each in known]))
        return found

    def weighted(self, service: str, child: str) -> Place:
        """The child of a service whose weight is meant."""
        services = self.services(service)
        inside = [each for each in self._places if (each.protocol, each.service) in services]
        if not inside:
            protocol, name = services[0]
            raise RefusedError(f"{protocol} service {name} has no children with weights")
        found = [each for each in inside if child in _spellings(each)]
        exact = [each for each in found if each.child == child]
        places = {each[:3]: each for each in (exact or found)}
        if not places:
            names = [each.child for each in inside]
            raise RefusedError(f"service {service} has no child {child}", _guess(child, names))
        return _only(service, list(places.values()), lambda each: f"{each.protocol}:{each.service} {each.child}")

    def servers(self, server: str, service: str = "") -> list[Place]:
        """All places of a server, or those in one service. A name stands for all its addresses."""
        inside = [each for each in self._places if each.is_server]
        if service:
            services = self.services(service)
            inside = [each for each in inside if (each.protocol, each.service) in services]
            if not inside:
                raise RefusedError(f"service {service} has no servers of its own")
            if len({each[:2] for each in inside}) > 1:
                inside = [each for each in inside if server in _spellings(each)] or inside
                titles = {f"{each.protocol}:{each.service}" for each in inside}
                if len(titles) > 1:
                    raise RefusedError(f"service {service} is not the only one of that name", _one_of(titles))
        found = [each for each in inside if server in _spellings(each)]
        if not found:
            names = dict.fromkeys(each.child for each in inside)
            raise RefusedError(
                f"there is no server {server}{f' in service {service}' if service else ''}", _guess(server, names)
            )
        return list({each[:3]: each for each in _aswritten_as(found, server)}.values())


def _aswritten_as(found: list[Place], text: str) -> Iterator[Place]:
    """A name that stands for several addresses is one place, that of what is written in the configuration."""
    for each in found:
        if each.of and text not in _spellings(each._replace(of="")):
            yield each._replace(child=each.of, of="")
        else:
            yield each


def _split(text: str) -> tuple[str, str]:
    """`tcp:canary` -> `tcp`, `canary`."""
    protocol, colon, name = text.partition(":")
    return (protocol, name) if colon and protocol in PROTOCOLS else ("", text)


def _spellings(place: Place) -> set[str]:
    """How a child may be called."""
    if not place.is_server:
        return {place.child, bare(place.child), place.child if "@" in place.child else f"{place.child}@{FILE_PROVIDER}"}
    names = {place.child, *filter(None, [place.of])}
    return names | {name.rstrip("/") for name in names} | {_without_scheme(name) for name in names}


def _without_scheme(url: str) -> str:
    return url.partition("://")[2].rstrip("/") or url


def _guess(word: str, known: Iterable[str]) -> str:
    names = list(known)
    within = {name for name in names if word and word in name}
    return _one_of(within) if within else did_you_mean(word, names) or _one_of(set(names))


def _one_of(names: set[str]) -> str:
    if not names:
        return ""
    shown = sorted(names)[:MAX_CANDIDATES_SHOWN]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"there is {', '.join(shown)}{more}" if len(names) == 1 else f"there are {', '.join(shown)}{more}"


def _only(text: str, places: list[Place], title: Callable[[Place], str]) -> Place:
    if len(places) > 1:
        raise RefusedError(f"{text} means several", f"say which: {', '.join(title(each) for each in places)}")
    return places[0]


# --- applying ----------------------------------------------------------------------------------------------------


def standing(config: Config, interventions: Iterable[Intervention]) -> Iterator[int | str | None]:
    """What `config` says where each intervention says something else; None: what was changed is there no more.

    config: as it is written, before names are resolved.
    """
    weights = {place[:3]: place.weight for place in places_of(config)}
    for each in interventions:
        weight = weights.get((each.protocol, each.service, each.of or each.child))
        yield weight if weight is None or each.kind == "weight" else "ready"


def lapsed(config: Config, interventions: Sequence[Intervention]) -> list[tuple[Intervention, str]]:
    """The interventions that yield to `config`, as it is written, each with the reason."""
    found = []
    for intervention, says in zip(interventions, standing(config, interventions), strict=True):
        if says is None:
            found.append((intervention, "the configuration does not have it any more"))
        elif says != intervention.replaced:
            found.append((intervention, f"the configuration says {says} now, no longer {intervention.replaced}"))
    return found


def steered(config: Config, interventions: Iterable[Intervention]) -> Config:
    """The configuration with the interventions in force; the very same object where there are none."""
    by_service: dict[tuple[str, str], list[Intervention]] = defaultdict(list)
    for intervention in interventions:
        by_service[intervention.protocol, intervention.service].append(intervention)
    if not by_service:
        return config
    return replace(
        config,
        http=_section("http", config.http, by_service),
        tcp=_section("tcp", config.tcp, by_service),
        udp=_section("udp", config.udp, by_service),
    )


def is_deserted(service: Service | None) -> bool:
    """Whether nobody is left in it for new clients, whoever is up."""
    if service is None:
        return False
    if service.load_balancer is not None:
        return not any(each.weight and not each.in_maintenance for each in service.load_balancer.servers)
    children = _children(service)
    return bool(children) and not any(child.weight for child in children)


def _section(protocol: str, section: AnySection, by_service: dict[tuple[str, str], list[Intervention]]) -> AnySection:
    touched = {
        name: _service(name, section.services[name], interventions)
        for (of, name), interventions in by_service.items()
        if of == protocol and name in section.services
    }
    return replace(section, services={**section.services, **touched}) if touched else section


def _service(name: str, service: Service, interventions: list[Intervention]) -> Service:
    weights = {each.child: each.value for each in interventions if isinstance(each.value, int)}
    states = {each.child: each.value for each in interventions if isinstance(each.value, str)}
    if service.load_balancer is not None:
        return replace(service, load_balancer=_balancer(service.load_balancer, weights, states))
    if service.weighted is not None:
        children = _reweighted(name, service.weighted.services, weights)
        return replace(service, weighted=replace(service.weighted, services=children))
    if service.highest_random_weight is not None:
        children = _reweighted(name, service.highest_random_weight.services, weights)
        return replace(service, highest_random_weight=replace(service.highest_random_weight, services=children))
    return service


def _reweighted(service: str, children: list[WeightedChild], weights: dict[str, int]) -> list[WeightedChild]:
    return [replace(child, weight=weights.get(qualify(child.name, service), child.weight)) for child in children]


def _balancer(balancer: LoadBalancer, weights: dict[str, int], states: Mapping[str, str]) -> LoadBalancer:
    servers = []
    for server in balancer.servers:
        written = written_as(server)
        weight = weights.get(server.name, weights.get(written, server.weight))
        state = states.get(server.name, states.get(written, "ready"))
        servers.append(replace(server, weight=0 if state == "drain" else weight, in_maintenance=state == "maintenance"))
    return replace(balancer, servers=servers)
