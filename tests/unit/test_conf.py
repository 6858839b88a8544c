"""Every example in conf/ is valid, says what its name says, and the tutorial's manifests are as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamlb.config.model import Config, bare
from streamlb.config.report import summary
from streamlb.process.configuration import load

CONF = Path(__file__).parents[2] / "conf"
EXAMPLES = sorted(path.name for path in CONF.glob("*.yaml"))


def config_of(name: str) -> Config:
    return load(CONF / name).config


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_valid_and_without_notes(name: str) -> None:
    loaded = load(CONF / name)
    assert loaded.notes == []
    assert "0 servers" not in summary(loaded.config)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_needs_neither_root_nor_the_network(name: str) -> None:
    config = config_of(name)
    for entry_point in config.entry_points.values():
        assert entry_point.address.startswith("127.0.0.1:")
        assert int(entry_point.address.partition(":")[2].partition("/")[0]) >= 1024
    for section in (config.http, config.tcp, config.udp):
        for service in section.services.values():
            for server in service.load_balancer.servers if service.load_balancer else []:
                assert "127.0.0.1:" in server.url or server.address.startswith("127.0.0.1:")


def test_there_is_one_for_each_scenario() -> None:
    names = {"lb.yaml", "canary.yaml", "mirror.yaml", "sticky.yaml", "tcp.yaml", "udp.yaml"}
    assert names <= set(EXAMPLES)
    assert {f"kubernetes-{kind}.yaml" for kind in ("canary", "mirror", "sticky")} <= set(EXAMPLES)


@pytest.mark.parametrize("name", ["canary.yaml", "kubernetes-canary.yaml"])
def test_canary(name: str) -> None:
    [weighted] = [service.weighted for service in config_of(name).http.services.values() if service.weighted]
    assert [child.weight for child in weighted.services] == [1, 2]
    assert weighted.sticky is None


@pytest.mark.parametrize("name", ["mirror.yaml", "kubernetes-mirror.yaml"])
def test_mirror(name: str) -> None:
    [mirroring] = [service.mirroring for service in config_of(name).http.services.values() if service.mirroring]
    assert [mirror.percent for mirror in mirroring.mirrors] == [50]


@pytest.mark.parametrize("name", ["sticky.yaml", "kubernetes-sticky.yaml", "lb.yaml"])
def test_sticky_names_are_those_of_the_tutorials_cookies(name: str) -> None:
    services = config_of(name).http.services.values()
    [weighted] = [service.weighted for service in services if service.weighted and service.weighted.sticky]
    assert weighted.sticky
    assert weighted.sticky.cookie.name == "lvl1"
    assert [child.name for child in weighted.services] == ["default-myapp1-80", "default-myapp2-80"]


@pytest.mark.parametrize("kind", ["canary", "mirror", "sticky"])
def test_the_tutorials_router_has_the_name_that_traefik_gives_it(kind: str) -> None:
    config = config_of(f"kubernetes-{kind}.yaml")
    [(name, router)] = config.http.routers.items()
    assert name == "default-myapp-87012898b0c41cd48555@kubernetescrd"
    assert (router.rule, router.entry_points) == ("Host(`myapp.test.com`)", ["web"])
    assert bare(router.service) == ("default-mirror" if kind == "mirror" else "default-wrr")
    text = (CONF / "kubernetes" / kind / "myapp-ingress.yaml").read_text(encoding="utf-8")
    assert "apiVersion: traefik.containo.us/v1alpha1" in text


def test_the_example_of_everything() -> None:
    config = config_of("lb.yaml")
    rules = [router.rule for router in config.http.routers.values()]
    for host in ("myapp.test.com", "mirror.test.com", "sticky.test.com"):
        assert f"Host(`{host}`)" in rules
    addresses = {entry_point.address for entry_point in config.entry_points.values()}
    assert addresses == {"127.0.0.1:8000", "127.0.0.1:9000", "127.0.0.1:9000/udp"}
