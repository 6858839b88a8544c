"""Which addresses a Kubernetes Service has, without a cluster.

What lives here: the `endpoints` map of the main file, Service, Endpoints and EndpointSlice documents, and their order.
What must not: routes (`kubernetes.py`). Specified by the Kubernetes API v1; Traefik's rules for ports and ExternalName.

First the map (it is about this machine), then EndpointSlices, Endpoints, and what the Service itself names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlb.config.address import AddressError, parse_server
from streamlb.config.near import nearest

if TYPE_CHECKING:
    from streamlb.config.manifest import Endpoints, EndpointSlice, NamedPort, ServiceSpec
    from streamlb.config.reading import Path, Reading

MAP = ("providers", "kubernetesManifests", "endpoints")

Name = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Found:
    """A server of a Service: `host:port`, and whether it takes new clients (a terminating one does not)."""

    address: str
    is_fresh: bool = True


class NoAddress(Exception):
    """A Service cannot be reached; `reason` and `suggestion` say why and what to do."""

    def __init__(self, reason: str, suggestion: str) -> None:
        self.reason = reason
        self.suggestion = suggestion
        super().__init__(reason)


@dataclass(slots=True)
class Directory:
    """All addresses known. `used` collects the keys of the map that some Service needed."""

    map: dict[str, list[str]] = field(default_factory=dict)
    services: dict[Name, ServiceSpec] = field(default_factory=dict)
    endpoints: dict[Name, Endpoints] = field(default_factory=dict)
    slices: dict[Name, list[EndpointSlice]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def check_map(self, reading: Reading) -> None:
        """Report keys and addresses of the map that cannot be right."""
        for key, addresses in self.map.items():
            path: Path = (*MAP, key)
            namespace, slash, name = key.partition("/")
            if not slash or not namespace or not name or "/" in name:
                guess = f"write `default/{key}`" if key and "/" not in key else ""
                reading.error(path, "expected `namespace/service` or `namespace/service:port`", guess, at_key=True)
            for index, address in enumerate(addresses):
                try:
                    parse_server(address)
                except AddressError as error:
                    suggestion = f"write {error.suggestion}" if error.suggestion else ""
                    reading.error((*path, index), error.reason, suggestion)

    def note_unused(self, reading: Reading) -> None:
        for key in self.map:
            if key not in self.used and not reading.is_broken((*MAP, key)):
                reading.note((*MAP, key), f"no route needs `{key}`")

    def port(self, name: Name, port: int | str) -> NamedPort | None:
        """The port of a Service document that a reference means; None when there is no such document.

        Raises NoAddress when the document has no such port.
        """
        service = self.services.get(name)
        if service is None:
            return None
        for candidate in service.ports:
            if port in (candidate.port, candidate.name) and port:
                return candidate
        if not port and len(service.ports) == 1:
            return service.ports[0]
        if not service.ports and service.external_name and isinstance(port, int) and port:
            return None
        listed = ", ".join(f"{item.port} ({item.name})" if item.name else str(item.port) for item in service.ports)
        wanted = f"no port `{port}`" if port else "more than one port, and the route names none"
        raise NoAddress(f"the Service `{'/'.join(name)}` has {wanted}", f"it has {listed}" if listed else "")

    def servers(self, name: Name, port: int | str) -> list[Found]:
        """The servers of a Service's port. Raises NoAddress."""
        mapped = self._mapped(name, port)
        if mapped is not None:
            return [Found(address) for address in mapped]
        service_port = self.port(name, port)
        found = self._sliced(name, port, service_port) or self._listed(name, port, service_port)
        found = found or self._external(name, port, service_port)
        if found:
            return list({server.address: server for server in found}.values())
        key = "/".join(name)
        reason = f"the Service `{key}`{f' port {port}' if port else ''} has no address"
        guess = self._near(name)
        if guess:
            raise NoAddress(reason, f"did you mean `{guess}` in `providers.kubernetesManifests.endpoints`?")
        example = f'`{key}: ["127.0.0.1:8081"]`'
        raise NoAddress(reason, f"add {example} to `providers.kubernetesManifests.endpoints`")

    def _near(self, name: Name) -> str:
        """A key of the map that may be meant: a like name in the namespace, or the name in another one."""
        keys = {key: (key.partition("/")[0], key.partition("/")[2].partition(":")[0]) for key in self.map}
        same = {service: key for key, (namespace, service) in keys.items() if namespace == name[0]}
        elsewhere = [key for key, (space, service) in keys.items() if service == name[1] and space != name[0]]
        guess = nearest(name[1], [service for service in same if service != name[1]])
        return same[guess] if guess else next(iter(elsewhere), "")

    def _mapped(self, name: Name, port: int | str) -> list[str] | None:
        key = "/".join(name)
        for candidate in (f"{key}:{port}", key):
            if candidate in self.map:
                self.used.add(candidate)
                return self.map[candidate]
        return None

    def _sliced(self, name: Name, port: int | str, service_port: NamedPort | None) -> list[Found]:
        return [
            Found(_join(address, number), not endpoint.conditions.terminating)
            for piece in self.slices.get(name, [])
            if (number := _number(piece.ports, port, service_port))
            for endpoint in piece.endpoints
            if endpoint.is_serving
            for address in endpoint.addresses
        ]

    def _listed(self, name: Name, port: int | str, service_port: NamedPort | None) -> list[Found]:
        endpoints = self.endpoints.get(name)
        return [
            Found(_join(address.ip, number))
            for subset in (endpoints.subsets if endpoints else [])
            if (number := _number(subset.ports, port, service_port))
            for address in subset.addresses
        ]

    def _external(self, name: Name, port: int | str, service_port: NamedPort | None) -> list[Found]:
        service = self.services.get(name)
        number = service_port.port if service_port else port
        if service is None or not isinstance(number, int) or not number:
            return []
        hosts = [service.external_name] if service.external_name else service.external_ips
        return [Found(_join(host, number)) for host in hosts]


def _number(ports: list[NamedPort], port: int | str, service_port: NamedPort | None) -> int:
    """The port number behind a Service's port: the same name, or the only one; 0 when there is none."""
    if service_port is not None:
        same = [item.port for item in ports if (item.name or "") == (service_port.name or "")]
        return same[0] if same else 0
    same = [item.port for item in ports if port in (item.port, item.name)]
    if same or len(ports) != 1:
        return same[0] if same else 0
    return ports[0].port


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
