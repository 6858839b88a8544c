"""Kubernetes documents to routers and services of the model, named as Traefik names them.

What lives here: the translation of routes and TraefikServices, the naming rules.
What must not: reading files (`check.py` does), sorting documents (`documents.py`), addresses (`endpoints.py`).
Called by `check.py`. Specified by Traefik's Kubernetes CRD provider.

Everything is named `...@kubernetescrd`; references between these objects carry the bare name, so that a sticky cookie
says `default-myapp2-80` as it does with Traefik.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from streamlb.config.documents import Document, Sorter
from streamlb.config.endpoints import Directory, Found, Name, NoAddress
from streamlb.config.kubernetes_names import PROVIDER, child_name, full, normalise, object_name, rule_key
from streamlb.config.kubernetes_tls import TlsObjects
from streamlb.config.manifest import TcpChild
from streamlb.config.model import (
    Config,
    LoadBalancer,
    MirrorChild,
    Mirroring,
    Router,
    Server,
    Service,
    Sticky,
    Weighted,
    WeightedChild,
    bare,
)
from streamlb.config.near import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlb.config import manifest
    from streamlb.config.reading import Path, Reading
    from streamlb.config.tree import Node

T = TypeVar("T")

PROTOCOL = {"IngressRoute": "http", "IngressRouteTCP": "tcp", "IngressRouteUDP": "udp"}
HTTPS_PORT = 443


def translate(documents: list[Node], config: Config, reading: Reading) -> None:
    """Add what the documents say to `config`, and problems and notes to `reading`."""
    manifests = config.providers.kubernetes_manifests
    directory = Directory(dict(manifests.endpoints) if manifests else {})
    directory.check_map(reading)
    sorter = Sorter(directory, reading)
    objects = sorter.sort(documents)
    tls = TlsObjects(sorter.secrets, config, reading)
    _Translator(objects, directory, tls, config, reading).run()
    directory.note_unused(reading)
    tls.note_unused()


# --- translation -------------------------------------------------------------------------------------------------


class _Translator:
    def __init__(
        self, objects: list[Document], directory: Directory, tls: TlsObjects, config: Config, reading: Reading
    ) -> None:
        self.objects = objects
        self.directory = directory
        self.tls = tls
        self.config = config
        self.reading = reading
        self.tree_services = {item.name: item for item in objects if item.kind == "TraefikService"}
        self.users: dict[Name, list[str]] = {}  # who refers to a TraefikService: labels of routes and TraefikServices

    def run(self) -> None:
        self._find_users()
        named = {
            "MiddlewareTCP": self.tls.middleware,
            "TLSOption": self.tls.options,
            "TLSStore": self.tls.store,
            "TraefikService": self._tree_service,
        }
        for document in self.objects:
            if document.kind in named:
                named[document.kind](document)
        for document in self.objects:
            if document.kind == "IngressRoute":
                self._ingress_route(document)
            elif document.kind in PROTOCOL:
                self._plain_route(document)

    def _add(self, protocol: str, name: str, service: Service, source: Path) -> Path:
        """Add a service under its full name; `source` is the place it comes from."""
        path: Path = (protocol, "services", full(name))
        services = self.config.section(protocol).services
        if services.get(full(name), service) != service:
            reason = f"`{name}` is given again with other options, which replace the first ones"
            self.reading.note(source, reason, at_key=False)
        services[full(name)] = service
        self._graft(source, path)
        return path

    def _graft(self, source: Path, target: Path, keys: tuple[str | int, ...] = ()) -> None:
        """Let `target` be reported where `source` was written, and so for the keys below both."""
        self.reading.places[target] = self.reading.place(source)
        if self.reading.is_broken(source):
            self.reading.broken.add(target)
        for key in keys:
            if (*source, key) in self.reading.places or self.reading.is_broken((*source, key)):
                self._graft((*source, key), (*target, key))

    def _graft_sticky(self, source: Path, target: Path) -> None:
        if self.reading.has((*source, "sticky")):
            self._graft((*source, "sticky"), (*target, "sticky"), ("cookie",))
            cookie = ("sticky", "cookie")
            keys = ("name", "path", "domain", "sameSite")
            self._graft((*source, *cookie), (*target, *cookie), keys)

    # --- HTTP ------------------------------------------------------------------------------------------------

    def _ingress_route(self, document: Document) -> None:
        for index, route in enumerate(document.spec.routes):
            spot: Path = (*document.root, "spec", "routes", index)
            if self.reading.is_broken(spot):
                continue
            name = normalise(rule_key(document.name, route.match))
            service = self._route_service(document, name, route.services, spot)
            rule = {"rule": route.match, "rule_syntax": route.syntax or "default", "priority": route.priority}
            self._add_router("http", document, name, spot, service=service, **rule)

    def _route_service(self, document: Document, name: str, children: list[manifest.Child], spot: Path) -> str:
        """The service of a route: one child itself, several under an implicit `weighted`."""
        if len(children) != 1:
            self._weighted(document, name, children, None, spot)
            return name
        child, where = children[0], (*spot, "services", 0)
        if child.kind == "TraefikService" or "@" in child.name:
            return self._reference(document, child, where)
        self._balancer(document, name, child, where)
        return name

    def _weighted(
        self, document: Document, name: str, children: list[manifest.Child], sticky: Sticky | None, spot: Path
    ) -> None:
        if not children and not self.reading.is_broken((*spot, "services")):
            self.reading.error((*spot, "services"), "there are no services", "name one at least", at_key=True)
        weighted = Weighted(sticky=sticky)
        path = self._add("http", name, Service(weighted=weighted), spot)
        for index, child in enumerate(children):
            where = (*spot, "services", index)
            reference = self._child(document, child, where)
            weight = 1 if child.weight is None else child.weight
            weighted.services.append(WeightedChild(name=reference, weight=weight))
            self._graft((*where, "name"), (*path, "weighted", "services", index, "name"))
        self._graft_sticky(spot, (*path, "weighted"))

    def _child(self, document: Document, child: manifest.Child, where: Path) -> str:
        """The name a child goes by; a Service becomes a load balancer of that name."""
        if child.kind == "TraefikService" or "@" in child.name:
            return self._reference(document, child, where)
        name = child_name((child.namespace or document.name[0], child.name), child.port)
        self._balancer(document, name, child, where)
        return name

    def _reference(self, document: Document, child: manifest.Child, where: Path) -> str:
        """The name of a TraefikService, or of a service of another provider."""
        name, _, provider = child.name.rpartition("@")
        if name and provider != PROVIDER:
            return child.name
        wanted = (child.namespace or document.name[0], name or child.name)
        if wanted not in self.tree_services and not self.reading.is_broken((*where, "name")):
            known = {"/".join(known): known for known in self.tree_services}
            guess = known.get(nearest("/".join(wanted), known))
            suggestion = f"did you mean `{guess[1]}`?" if guess else "no document of the manifests has that name"
            self.reading.error((*where, "name"), f"unknown TraefikService `{'/'.join(wanted)}`", suggestion)
        return normalise("-".join(wanted))

    def _balancer(self, document: Document, name: str, child: manifest.Child, where: Path) -> None:
        found = self._servers(document, child, where)
        scheme = self._scheme(document, child, where)
        servers = [Server(url=f"{scheme}://{server.address}", weight=1 if server.is_fresh else 0) for server in found]
        balancer = LoadBalancer(servers=servers, sticky=child.sticky, pass_host_header=child.pass_host_header)
        path = self._add("http", name, Service(load_balancer=balancer), where)
        self._graft_sticky(where, (*path, "loadBalancer"))
        self._mute(path, balancer)

    def _mute(self, path: Path, balancer: LoadBalancer) -> None:
        """What addresses the servers have was judged already."""
        if not balancer.servers:
            self.reading.broken.add((*path, "loadBalancer", "servers"))
        for index in range(len(balancer.servers)):
            self.reading.places[(*path, "loadBalancer", "servers", index)] = self.reading.place(path)

    def _tree_service(self, document: Document) -> None:
        spot: Path = (*document.root, "spec")
        spec: manifest.TraefikServiceSpec = document.spec
        name = normalise("-".join(document.name))
        if self.reading.is_broken(spot):
            return
        if (spec.weighted is None) == (spec.mirroring is None):
            if not any(broken[: len(spot)] == spot for broken in self.reading.broken):
                both = "has both" if spec.weighted else "has neither"
                self.reading.error(spot, f"a TraefikService is `weighted` or `mirroring`; this one {both}", at_key=True)
            self._add("http", name, Service(weighted=Weighted()), spot)
            self.reading.broken.add(("http", "services", full(name)))
        elif spec.weighted:
            self._weighted(document, name, spec.weighted.services, spec.weighted.sticky, (*spot, "weighted"))
        elif spec.mirroring:
            self._mirroring(document, name, spec.mirroring, (*spot, "mirroring"))

    def _mirroring(self, document: Document, name: str, spec: manifest.MirroringSpec, spot: Path) -> None:
        main = self._child(document, spec, spot)
        mirroring = Mirroring(service=main, mirror_body=spec.mirror_body, max_body_size=spec.max_body_size)
        path = self._add("http", name, Service(mirroring=mirroring), spot)
        self._graft((*spot, "name"), (*path, "mirroring", "service"))
        for index, mirror in enumerate(spec.mirrors):
            where = (*spot, "mirrors", index)
            reference = self._child(document, mirror, where)
            mirroring.mirrors.append(MirrorChild(name=reference, percent=mirror.percent))
            self._graft((*where, "name"), (*path, "mirroring", "mirrors", index, "name"))

    def _scheme(self, document: Document, child: manifest.Child, where: Path) -> str:
        """As in Traefik https is spoken to port 443 and to ports whose name begins with https."""
        scheme = child.scheme.lower()
        if scheme:
            if scheme in ("http", "https"):
                return scheme
            reason = "a scheme is `http` or `https`"
            if scheme == "h2c":
                reason = "Traefik's scheme `h2c` is not supported by streamlb yet"
            self.reading.error((*where, "scheme"), reason)
            return "http"
        try:
            port = self.directory.port((child.namespace or document.name[0], child.name), child.port)
        except NoAddress:
            return "http"
        number, name = (port.port, port.name or "") if port else (child.port, "")
        is_https = number == HTTPS_PORT or name.startswith("https") or str(child.port).startswith("https")
        return "https" if is_https else "http"

    # --- TCP and UDP -----------------------------------------------------------------------------------------

    def _plain_route(self, document: Document) -> None:
        protocol = PROTOCOL[document.kind]
        for index, route in enumerate(document.spec.routes):
            spot: Path = (*document.root, "spec", "routes", index)
            if self.reading.is_broken(spot):
                continue
            if protocol == "tcp":
                name = rule_key(document.name, route.match)
                options: dict[str, Any] = {
                    "rule": route.match,
                    "rule_syntax": route.syntax or "default",
                    "priority": route.priority,
                    "middlewares": self._middlewares(document, name, route.middlewares, spot),
                }
            else:
                name, options = f"{document.name[0]}-{document.name[1]}-{index}", {}
            self._plain_service(protocol, document, name, route.services, spot)
            self._add_router(protocol, document, name, spot, service=name, **options)

    def _plain_service(
        self, protocol: str, document: Document, name: str, children: Sequence[manifest.PlainChild], spot: Path
    ) -> None:
        if not children and not self.reading.is_broken((*spot, "services")):
            self.reading.error((*spot, "services"), "there are no services", "name one at least", at_key=True)
        weighted = Weighted()
        path = self._add(protocol, name, Service(weighted=weighted), spot) if len(children) != 1 else ()
        for index, child in enumerate(children):
            where = (*spot, "services", index)
            is_tls = isinstance(child, TcpChild) and child.tls
            servers = [
                Server(
                    address=server.address,
                    weight=1 if server.is_fresh else 0,
                    tls=is_tls,
                )
                for server in self._servers(document, child, where)
            ]
            own = name if len(children) == 1 else f"{name}-{child.name}-{child.port}"
            balancer = LoadBalancer(servers=servers)
            if isinstance(child, TcpChild):
                balancer.proxy_protocol = child.proxy_protocol
                balancer.termination_delay = child.termination_delay
            self._mute(self._add(protocol, own, Service(load_balancer=balancer), where), balancer)
            if path:
                weight = 1 if child.weight is None else child.weight
                weighted.services.append(WeightedChild(name=own, weight=weight))
                self._graft((*where, "name"), (*path, "weighted", "services", index, "name"))

    def _middlewares(
        self, document: Document, name: str, references: list[manifest.Reference], spot: Path
    ) -> list[str]:
        """The names of a TCP route's middlewares."""
        for index in range(len(references)):
            target: Path = ("tcp", "routers", full(name), "middlewares", index)
            self._graft((*spot, "middlewares", index, "name"), target)
        return [object_name(each.name, each.namespace or document.name[0]) for each in references]

    # --- both ------------------------------------------------------------------------------------------------

    def _add_router(self, protocol: str, document: Document, name: str, spot: Path, **options: Any) -> None:
        path: Path = (protocol, "routers", full(name))
        routers = self.config.section(protocol).routers
        if full(name) in routers:
            self.reading.error((*spot, "match"), "another route of this document has the same rule")
            return
        tls = self.tls.router_tls(document, path)
        routers[full(name)] = Router(entry_points=list(document.spec.entry_points), tls=tls, **options)
        self._graft(spot, path)
        if protocol != "udp":
            self._graft((*spot, "match"), (*path, "rule"))
            if self.reading.has((*spot, "priority")):
                self._graft((*spot, "priority"), (*path, "priority"))
        self._graft((*spot, "services", 0, "name"), (*path, "service"))
        every = (*document.root, "spec", "entryPoints")
        if self.reading.has(every):
            self._graft(every, (*path, "entryPoints"), tuple(range(len(document.spec.entry_points))))

    def _servers(self, document: Document, child: manifest.Child | manifest.PlainChild, where: Path) -> list[Found]:
        """The servers of a child; a missing address is reported with the route that needs it."""
        if self.reading.is_broken((*where, "name")) or self.reading.is_broken((*where, "port")):
            return []
        name = (child.namespace or document.name[0], child.name)
        try:
            return self.directory.servers(name, child.port)
        except NoAddress as error:
            needed = f", needed by {self._needed_by(document)}"
            self.reading.error((*where, "name"), error.reason + needed, error.suggestion)
            return []

    def _find_users(self) -> None:
        for document in self.objects:
            for child in _children(document):
                if child.kind == "TraefikService":
                    wanted = (child.namespace or document.name[0], bare(child.name))
                    self.users.setdefault(wanted, []).append(document.label)

    def _needed_by(self, document: Document) -> str:
        """The routes that lead to a document; the document itself when none does."""
        if document.kind != "TraefikService":
            return document.label
        by_label = {item.label: item for item in self.objects}
        routes: list[str] = []
        todo, seen = [document], {document.label}
        while todo:
            for label in self.users.get(todo.pop().name, []):
                if label in seen:
                    continue
                seen.add(label)
                if by_label[label].kind == "TraefikService":
                    todo.append(by_label[label])
                else:
                    routes.append(label)
        return ", ".join(routes) or f"{document.label}, which no route leads to"


def _children(document: Document) -> list[manifest.Child]:
    """All references of an IngressRoute or TraefikService."""
    spec = document.spec
    if document.kind == "IngressRoute":
        return [child for route in spec.routes for child in route.services]
    if document.kind != "TraefikService":
        return []
    weighted = spec.weighted.services if spec.weighted else []
    return [*weighted, *([spec.mirroring, *spec.mirroring.mirrors] if spec.mirroring else [])]
