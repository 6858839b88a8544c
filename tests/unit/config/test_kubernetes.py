"""Manifests to routers and services, named as Traefik names them."""

from __future__ import annotations

from textwrap import dedent

import pytest

from streamlb.config import kubernetes, routers, services, shape
from streamlb.config.kubernetes_names import rule_key
from streamlb.config.load import parse
from streamlb.config.model import Config, LoadBalancer, Router, Server, Service, qualify
from streamlb.config.reading import Reading
from streamlb.config.tree import Source
from tests.unit.config.asking import line_of, tree_of

MAIN = """\
entryPoints: {web: {address: ":80"}, dns: {address: ":53/udp"}}
providers:
  kubernetesManifests:
    paths: [m]
    endpoints:
      default/one: ["127.0.0.1:8081"]
      default/two: ["127.0.0.1:8082", "127.0.0.1:8083"]
"""


class Translated:
    """What becomes of documents; `config` is complete when `problems` is empty."""

    def __init__(self, text: str, main: str = MAIN) -> None:
        reading = Reading()
        self.config = shape.read(tree_of(main), Config, reading)
        kubernetes.translate(parse(Source("m.yaml", dedent(text)), reading.problems), self.config, reading)
        services.check(self.config, reading)
        routers.check(self.config, reading, None)
        self.problems = sorted(line_of(problem) for problem in dict.fromkeys(reading.problems))
        self.notes = [line_of(note) for note in reading.notes if "no route needs" not in note.reason]
        self.unused = [note.path for note in reading.notes if "no route needs" in note.reason]


def document(kind: str, spec: str, name: str = "app") -> str:
    head = f"apiVersion: traefik.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n"
    return head + "".join(f"  {line}\n" for line in dedent(spec).strip("\n").split("\n")) + "---\n"


def http(*addresses: str) -> Service:
    return Service(load_balancer=LoadBalancer(servers=[Server(url=f"http://{address}") for address in addresses]))


# --- HTTP --------------------------------------------------------------------------------------------------------


def test_a_route_with_one_service() -> None:
    route = "entryPoints: [web]\nroutes: [{match: Host(`a`), priority: 7, services: [{name: two, port: 80}]}]"
    found = Translated(document("IngressRoute", route))
    name = rule_key(("default", "app"), "Host(`a`)")
    assert not found.problems
    assert found.config.http.routers == {
        f"{name}@kubernetescrd": Router(service=name, rule="Host(`a`)", entry_points=["web"], priority=7)
    }
    assert found.config.http.services == {f"{name}@kubernetescrd": http("127.0.0.1:8082", "127.0.0.1:8083")}
    assert found.unused == ["providers.kubernetesManifests.endpoints.default/one"]


def test_a_route_with_several_services() -> None:
    route = "routes: [{match: Host(`a`), kind: Rule, services: [{name: one, port: 80, weight: 3}, {name: two}]}]"
    found = Translated(document("IngressRoute", route))
    name = rule_key(("default", "app"), "Host(`a`)")
    assert not found.problems
    weighted = found.config.http.services[f"{name}@kubernetescrd"].weighted
    assert weighted
    assert [(child.name, child.weight) for child in weighted.services] == [("default-one-80", 3), ("default-two", 1)]
    assert found.config.http.services["default-one-80@kubernetescrd"] == http("127.0.0.1:8081")
    assert all(
        qualify(child.name, f"{name}@kubernetescrd") in found.config.http.services for child in weighted.services
    )


def test_trees_of_traefik_services() -> None:
    found = Translated(
        document("IngressRoute", "routes: [{match: Host(`a`), services: [{name: wrr, kind: TraefikService}]}]")
        + document(
            "TraefikService",
            """
            weighted:
              services:
                - {name: one, port: 80, weight: 0}
                - {name: mir, kind: TraefikService, weight: 2}
              sticky: {cookie: {name: lvl1, httpOnly: true}}
            """,
            "wrr",
        )
        + document(
            "TraefikService",
            """
            mirroring:
              name: one
              port: 80
              mirrorBody: false
              maxBodySize: 1024
              sticky: {cookie: {name: lvl2}}
              mirrors: [{name: two, port: 80, percent: 50}]
            """,
            "mir",
        )
    )
    assert not found.problems
    [router] = found.config.http.routers.values()
    assert router.service == "default-wrr"
    by_name = found.config.http.services
    weighted = by_name["default-wrr@kubernetescrd"].weighted
    assert weighted
    assert [(child.name, child.weight) for child in weighted.services] == [("default-one-80", 0), ("default-mir", 2)]
    assert weighted.sticky
    assert (weighted.sticky.cookie.name, weighted.sticky.cookie.http_only) == ("lvl1", True)
    mirroring = by_name["default-mir@kubernetescrd"].mirroring
    assert mirroring
    assert (mirroring.service, mirroring.mirror_body, mirroring.max_body_size) == ("default-one-80", False, 1024)
    assert [(mirror.name, mirror.percent) for mirror in mirroring.mirrors] == [("default-two-80", 50)]
    assert found.notes == [
        "21:3 TraefikService default/mir: spec.mirroring | "
        "`default-one-80` is given again with other options, which replace the first ones | "
    ]


def test_services_of_other_providers() -> None:
    main = MAIN + "http: {services: {native: {loadBalancer: {servers: [{url: 'http://a'}]}}}}\n"
    route = document(
        "IngressRoute", "routes: [{match: Host(`a`), services: [{name: native@file, kind: TraefikService}]}]"
    )
    assert not Translated(route, main).problems
    [problem] = Translated(route).problems
    assert problem.startswith("5:49 IngressRoute default/app: spec.routes[0].services[0].name | unknown service")
    back = MAIN + "http: {routers: {r: {rule: x, service: default-wrr@kubernetescrd}}}\n"
    tree = document("TraefikService", "weighted: {services: [{name: one, port: 80}]}", "wrr")
    assert not Translated(tree, back).problems


def test_the_syntax_of_a_route() -> None:
    routes = (
        "[{match: A, syntax: v2, services: [{name: one, port: 80}]}, {match: B, services: [{name: two, port: 80}]}]"
    )
    tcp = "[{match: C, syntax: v2, services: [{name: one, port: 80}]}]"
    found = Translated(document("IngressRoute", f"routes: {routes}") + document("IngressRouteTCP", f"routes: {tcp}"))
    assert found.problems == []
    http = {router.rule: router.rule_syntax for router in found.config.http.routers.values()}
    assert http == {"A": "v2", "B": "default"}
    assert [router.rule_syntax for router in found.config.tcp.routers.values()] == ["v2"]


def test_how_answers_are_forwarded_is_accepted() -> None:
    child = "{name: one, port: 80, responseForwarding: {flushInterval: %s}}"
    for interval in ("1ms", "-1"):
        spec = f"routes: [{{match: 'Host(`a`)', services: [{child % interval}]}}]"
        translated = Translated(document("IngressRoute", spec), MAIN)
        assert not [line for line in translated.problems if "responseForwarding" in line]
    wrong = Translated(document("IngressRoute", f"routes: [{{match: 'Host(`a`)', services: [{child % 'soon'}]}}]"))
    assert any("responseForwarding.flushInterval" in line for line in wrong.problems)


def test_namespaces() -> None:
    main = MAIN.replace("default/one", "prod/one")
    route = "routes: [{match: Host(`a`), services: [{name: one, namespace: prod, port: 80}, {name: two, port: 80}]}]"
    found = Translated(document("IngressRoute", route), main)
    assert not found.problems
    assert "prod-one-80@kubernetescrd" in found.config.http.services


def test_https_is_spoken_where_traefik_speaks_it() -> None:
    for child, scheme in (
        ("port: 443", "https"),
        ("port: 443, scheme: http", "http"),
        ("port: 80, scheme: HTTPS", "https"),
    ):
        found = Translated(
            document("IngressRoute", f"routes: [{{match: Host(`a`), services: [{{name: one, {child}}}]}}]")
        )
        assert not found.problems
        [balancer] = [service.load_balancer for service in found.config.http.services.values()]
        assert balancer
        assert all(server.url.startswith(f"{scheme}://") for server in balancer.servers)


# --- TCP and UDP -------------------------------------------------------------------------------------------------


def test_tcp_routes_keep_their_dots() -> None:
    one = "entryPoints: [web]\nroutes: [{match: HostSNI(`*`), services: [{name: two, port: 5432}]}]"
    found = Translated(document("IngressRouteTCP", one, "test3.route"))
    name = rule_key(("default", "test3.route"), "HostSNI(`*`)")
    assert name.startswith("default-test3.route-")
    assert not found.problems
    assert found.config.tcp.routers == {
        f"{name}@kubernetescrd": Router(service=name, rule="HostSNI(`*`)", entry_points=["web"])
    }
    servers = [Server(address="127.0.0.1:8082"), Server(address="127.0.0.1:8083")]
    assert found.config.tcp.services == {f"{name}@kubernetescrd": Service(load_balancer=LoadBalancer(servers=servers))}


def test_udp_routes_are_numbered() -> None:
    spec = "entryPoints: [dns]\nroutes: [{services: [{name: one, port: 53}, {name: two, port: 53, weight: 2}]}]"
    found = Translated(document("IngressRouteUDP", spec))
    assert not found.problems
    assert found.config.udp.routers == {
        "default-app-0@kubernetescrd": Router(service="default-app-0", entry_points=["dns"])
    }
    weighted = found.config.udp.services["default-app-0@kubernetescrd"].weighted
    assert weighted
    assert [(child.name, child.weight) for child in weighted.services] == [
        ("default-app-0-one-53", 1),
        ("default-app-0-two-53", 2),
    ]
    assert "default-app-0-one-53@kubernetescrd" in found.config.udp.services


# --- addresses ---------------------------------------------------------------------------------------------------


def test_addresses_from_documents() -> None:
    found = Translated(
        document("IngressRoute", "routes: [{match: Host(`a`), services: [{name: svc, port: web}]}]")
        + "apiVersion: v1\nkind: Service\nmetadata: {name: svc}\nspec: {ports: [{name: web, port: 80}]}\n---\n"
        + "apiVersion: v1\nkind: Endpoints\nmetadata: {name: svc}\n"
        + "subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{name: web, port: 8080}]}]\n"
    )
    assert not found.problems
    assert list(found.config.http.services.values()) == [http("10.0.0.1:8080")]


# --- problems ----------------------------------------------------------------------------------------------------

ADD = 'add `default/lost: ["127.0.0.1:8081"]` to `providers.kubernetesManifests.endpoints`'


@pytest.mark.parametrize(
    ("kind", "spec", "problem"),
    [
        (
            "IngressRoute",
            "routes: [{match: x, services: [{name: lost, port: 80}]}]",
            "5:41 IngressRoute default/app: spec.routes[0].services[0].name | "
            f"the Service `default/lost` port 80 has no address, needed by IngressRoute default/app | {ADD}",
        ),
        (
            "IngressRouteUDP",
            "routes: [{services: [{name: lost, port: 80}]}]",
            "5:31 IngressRouteUDP default/app: spec.routes[0].services[0].name | "
            f"the Service `default/lost` port 80 has no address, needed by IngressRouteUDP default/app | {ADD}",
        ),
        (
            "TraefikService",
            "weighted: {services: [{name: lost, port: 80}]}",
            "5:32 TraefikService default/app: spec.weighted.services[0].name | the Service `default/lost` port 80 has "
            f"no address, needed by TraefikService default/app, which no route leads to | {ADD}",
        ),
        (
            "IngressRoute",
            "routes: [{match: x, services: [{name: lost, kind: TraefikService}]}]",
            "5:41 IngressRoute default/app: spec.routes[0].services[0].name | "
            "unknown TraefikService `default/lost` | no document of the manifests has that name",
        ),
        (
            "IngressRoute",
            "routes: [{match: x}]",
            "5:12 IngressRoute default/app: spec.routes[0].services | there are no services | name one at least",
        ),
        (
            "IngressRoute",
            "routes: [{services: [{name: one, port: 80}]}]",
            "5:12 IngressRoute default/app: spec.routes[0].match | `match` is missing | ",
        ),
        (
            "IngressRoute",
            "routes: [{match: x, services: [{name: one, port: 80, scheme: ftp}]}]",
            "5:64 IngressRoute default/app: spec.routes[0].services[0].scheme | a scheme is `http` or `https` | ",
        ),
        (
            "IngressRoute",
            "routes: [{match: x, services: [{name: one, port: 80, scheme: h2c}]}]",
            "5:64 IngressRoute default/app: spec.routes[0].services[0].scheme | "
            "Traefik's scheme `h2c` is not supported by streamlb yet | ",
        ),
        (
            "IngressRoute",
            "routes: [{match: x, services: [{name: one, port: 70000}]}]",
            "5:52 IngressRoute default/app: spec.routes[0].services[0].port | "
            "expected a whole number from 0 to 65535, or text, got the number 70000 | ",
        ),
        (
            "IngressRoute",
            "{parentRefs: [], routes: [{match: x, services: [{name: one, port: 80}]}]}",
            "5:4 IngressRoute default/app: spec.parentRefs | "
            "Traefik's `parentRefs` is not supported by streamlb yet | ",
        ),
        (
            "IngressRoute",
            "{entryPoints: [wbe], routes: [{match: x, services: [{name: one, port: 80}]}]}",
            "5:18 IngressRoute default/app: spec.entryPoints[0] | unknown entry point `wbe` | did you mean `web`?",
        ),
        (
            "IngressRoute",
            "routes: [{match: x, services: [{name: one}]}, {match: x, services: [{name: one}]}]",
            "5:57 IngressRoute default/app: spec.routes[1].match | another route of this document has the same rule | ",
        ),
        (
            "TraefikService",
            "{}",
            "4:1 TraefikService default/app: spec | a TraefikService is `weighted` or `mirroring`; "
            "this one has neither | ",
        ),
        (
            "TraefikService",
            "failover: {}",
            "5:3 TraefikService default/app: spec.failover | Traefik's `failover` is not supported by streamlb yet | ",
        ),
        (
            "TraefikService",
            "weighted: {services: [{name: one, wieght: 5}]}",
            "5:37 TraefikService default/app: spec.weighted.services[0].wieght | unknown key `wieght` | "
            "did you mean `weight`?",
        ),
        (
            "TraefikService",
            "mirroring: {name: one, mirrors: [{name: one, percent: 101}]}",
            "5:57 TraefikService default/app: spec.mirroring.mirrors[0].percent | "
            "expected a whole number from 0 to 100, got the number 101 | ",
        ),
        (
            "TraefikService",
            "weighted: {services: [{name: one}], sticky: {cookie: {name: 'a b'}}}",
            "5:63 TraefikService default/app: spec.weighted.sticky.cookie.name | "
            "a cookie's name takes letters, digits and !#$%&'*+-.^_`|~ only | for example `a_b`",
        ),
        (
            "TraefikService",
            "mirroring: {name: app, kind: TraefikService}",
            "5:21 TraefikService default/app: spec.mirroring.name | the services form a cycle: "
            "`default-app@kubernetescrd` -> `default-app@kubernetescrd` | one of them must end in servers",
        ),
    ],
)
def test_problems_are_reported_where_they_are_written(kind: str, spec: str, problem: str) -> None:
    assert Translated(document(kind, spec)).problems == [problem]


def test_a_missing_address_names_the_routes_that_need_it() -> None:
    found = Translated(
        document("IngressRoute", "routes: [{match: x, services: [{name: outer, kind: TraefikService}]}]", "front")
        + document("TraefikService", "mirroring: {name: inner, kind: TraefikService}", "outer")
        + document("TraefikService", "weighted: {services: [{name: lost, port: 80}]}", "inner")
    )
    assert [problem.split(" | ")[1] for problem in found.problems] == [
        "the Service `default/lost` port 80 has no address, needed by IngressRoute default/front"
    ]


def test_a_misspelt_traefik_service() -> None:
    found = Translated(
        document("IngressRoute", "routes: [{match: x, services: [{name: wr, kind: TraefikService}]}]")
        + document("TraefikService", "weighted: {services: [{name: one, port: 80}]}", "wrr")
    )
    assert found.problems == [
        "5:41 IngressRoute default/app: spec.routes[0].services[0].name | unknown TraefikService `default/wr` | "
        "did you mean `wrr`?"
    ]


@pytest.mark.parametrize(
    ("entry", "place", "problem"),
    [
        ("one: ['a:1']", "6:7", "one | expected `namespace/service` or `namespace/service:port` | write `default/one`"),
        ("a/b/c: []", "6:7", "a/b/c | expected `namespace/service` or `namespace/service:port` | "),
        ("a/b: [c]", "6:13", "a/b[0] | the port is missing: an address is `host:port` | write `c:80`"),
    ],
)
def test_the_endpoints_map(entry: str, place: str, problem: str) -> None:
    main = MAIN[: MAIN.index("      default/one")] + f"      {entry}\n"
    assert Translated("", main).problems == [f"{place} providers.kubernetesManifests.endpoints.{problem}"]


def test_an_empty_list_of_endpoints_is_an_empty_load_balancer() -> None:
    main = MAIN.replace('["127.0.0.1:8081"]', "[]")
    found = Translated(document("IngressRoute", "routes: [{match: x, services: [{name: one, port: 80}]}]"), main)
    assert not found.problems
    assert list(found.config.http.services.values()) == [http()]
