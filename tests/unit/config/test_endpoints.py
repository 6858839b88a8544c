"""Where the addresses of a Service come from."""

from __future__ import annotations

import pytest

from streamlb.config.endpoints import Directory, Found, NoAddress
from streamlb.config.manifest import (
    Conditions,
    EndpointAddress,
    Endpoints,
    EndpointSlice,
    NamedPort,
    ServiceSpec,
    SliceEndpoint,
    Subset,
)

APP = ("default", "app")
HTTP, METRICS = NamedPort(name="http", port=8080), NamedPort(name="metrics", port=9090)


def addresses(directory: Directory, port: int | str, name: tuple[str, str] = APP) -> list[str]:
    return [found.address for found in directory.servers(name, port)]


def reason(directory: Directory, port: int | str, name: tuple[str, str] = APP) -> tuple[str, str]:
    with pytest.raises(NoAddress) as caught:
        directory.servers(name, port)
    return caught.value.reason, caught.value.suggestion


def test_the_map_comes_first_and_the_port_is_more_precise() -> None:
    directory = Directory(
        {"default/app": ["a:1"], "default/app:80": ["b:1", "b:2"], "default/app:web": ["c:1"], "default/none": []},
        services={APP: ServiceSpec(external_name="x", ports=[NamedPort(port=80)])},
    )
    assert addresses(directory, 80) == ["b:1", "b:2"]
    assert addresses(directory, "web") == ["c:1"]
    assert addresses(directory, 81) == ["a:1"]
    assert addresses(directory, 0) == ["a:1"]
    assert addresses(directory, 80, ("default", "none")) == []
    assert directory.used == {"default/app", "default/app:80", "default/app:web", "default/none"}


def test_endpoints_by_the_name_of_the_services_port() -> None:
    subset = Subset(
        addresses=[EndpointAddress(ip="10.0.0.1"), EndpointAddress(ip="fd00::1")],
        ports=[METRICS, NamedPort(name="http", port=3000)],
    )
    directory = Directory(
        services={APP: ServiceSpec(ports=[NamedPort(name="http", port=80), NamedPort(name="metrics", port=81)])},
        endpoints={APP: Endpoints(subsets=[subset])},
    )
    assert addresses(directory, 80) == ["10.0.0.1:3000", "[fd00::1]:3000"]
    assert addresses(directory, "http") == addresses(directory, 80)
    assert addresses(directory, 81) == ["10.0.0.1:9090", "[fd00::1]:9090"]
    assert reason(directory, 82) == ("the Service `default/app` has no port `82`", "it has 80 (http), 81 (metrics)")
    assert reason(directory, 0)[0] == "the Service `default/app` has more than one port, and the route names none"


def test_endpoints_without_a_service_document() -> None:
    one = Subset(addresses=[EndpointAddress(ip="1.1.1.1")], ports=[HTTP])
    two = Subset(addresses=[EndpointAddress(ip="2.2.2.2")], ports=[HTTP, METRICS])
    assert addresses(Directory(endpoints={APP: Endpoints(subsets=[one])}), 80) == ["1.1.1.1:8080"]
    directory = Directory(endpoints={APP: Endpoints(subsets=[two])})
    assert addresses(directory, "metrics") == ["2.2.2.2:9090"]
    assert addresses(directory, 8080) == ["2.2.2.2:8080"]
    assert reason(directory, 80)[0] == "the Service `default/app` port 80 has no address"


def test_slices_come_before_endpoints_and_drain_what_terminates() -> None:
    endpoints = [
        SliceEndpoint(addresses=["1.1.1.1"]),
        SliceEndpoint(addresses=["2.2.2.2"], conditions=Conditions(ready=False)),
        SliceEndpoint(addresses=["3.3.3.3"], conditions=Conditions(ready=False, serving=True, terminating=True)),
        SliceEndpoint(addresses=["1.1.1.1"]),
    ]
    directory = Directory(
        services={APP: ServiceSpec(ports=[NamedPort(port=80)])},
        slices={APP: [EndpointSlice(endpoints=endpoints, ports=[NamedPort(name="", port=8080)])]},
        endpoints={APP: Endpoints(subsets=[Subset(addresses=[EndpointAddress(ip="9.9.9.9")], ports=[HTTP])])},
    )
    assert directory.servers(APP, 80) == [Found("1.1.1.1:8080"), Found("3.3.3.3:8080", is_fresh=False)]


def test_what_the_service_itself_names() -> None:
    external = Directory(services={APP: ServiceSpec(external_name="db.example.com", ports=[NamedPort(port=5432)])})
    assert addresses(external, 5432) == ["db.example.com:5432"]
    assert addresses(external, 0) == ["db.example.com:5432"]
    bare = Directory(services={APP: ServiceSpec(external_name="db.example.com")})
    assert addresses(bare, 99) == ["db.example.com:99"]
    ips = Directory(services={APP: ServiceSpec(external_ips=["10.0.0.1", "10.0.0.2"], ports=[HTTP])})
    assert addresses(ips, "http") == ["10.0.0.1:8080", "10.0.0.2:8080"]


def test_what_to_do_about_a_missing_address() -> None:
    directory = Directory({"default/myapp1": ["a:1"], "prod/web": ["a:1"]})
    where = "`providers.kubernetesManifests.endpoints`"
    assert reason(directory, 80, ("default", "myap1"))[1] == f"did you mean `default/myapp1` in {where}?"
    assert reason(directory, 80, ("default", "web"))[1] == f"did you mean `prod/web` in {where}?"
    assert reason(directory, 80, ("default", "zebra")) == (
        "the Service `default/zebra` port 80 has no address",
        f'add `default/zebra: ["127.0.0.1:8081"]` to {where}',
    )
