"""Ping and metrics: where they may be, and what the configuration gets for them."""

from __future__ import annotations

import pytest

from streamlb.config.internal import ADDRESS, FIRST, complete
from streamlb.config.model import LoadBalancer, Server, Service
from streamlb.config.routers import entry_points_of
from tests.unit.config.asking import WEB, config_of, lines_of, notes_of

APP = (
    "http: {services: {app: {loadBalancer: {servers: [{url: 'http://a'}]}}}, "
    "routers: {r: {rule: Path(`/`), service: %s}}}"
)
METRICS = Service(load_balancer=LoadBalancer(servers=[Server(url="unix:/m.sock")]))


def test_nothing_is_made_that_was_not_asked_for() -> None:
    config = config_of(WEB)
    assert complete(config, METRICS).http.routers == {}
    assert list(complete(config).entry_points) == ["web"]


def test_the_internal_entry_point_is_made_on_loopback() -> None:
    config = config_of(WEB + "ping: {}")
    completed = complete(config)
    assert completed.entry_points["traefik"].address == ADDRESS
    router = completed.http.routers["ping@internal"]
    assert (router.rule, router.service, router.entry_points) == ("PathPrefix(`/ping`)", "ping@internal", ["traefik"])
    assert router.priority == FIRST
    assert list(config.entry_points) == ["web"], "the configuration of the files is left alone"
    assert complete(completed) == completed


def test_it_is_open_as_long_as_any_other() -> None:
    text = "ping: {}\nentryPoints: {web: {address: ':80', transport: {lifeCycle: {requestAcceptGraceTimeout: 7}}}}"
    made = complete(config_of(text)).entry_points["traefik"]
    assert made.transport.life_cycle.request_accept_grace_timeout == 7


def test_an_entry_point_that_exists_is_used() -> None:
    assert complete(config_of(WEB + "ping: {entryPoint: web}")).http.routers["ping@internal"].entry_points == ["web"]
    text = "entryPoints: {traefik: {address: ':9000'}}\nping: {}"
    assert complete(config_of(text)).entry_points["traefik"].address == ":9000"


def test_metrics_have_a_router_and_a_service() -> None:
    config = config_of(WEB + "metrics: {prometheus: {entryPoint: web}}")
    completed = complete(config, METRICS)
    assert completed.http.services == {"prometheus@internal": METRICS}
    assert completed.http.routers["prometheus@internal"].rule == "PathPrefix(`/metrics`)"
    assert complete(config).http.routers == {}


def test_manual_routing_leaves_it_to_the_users_routers() -> None:
    config = config_of(WEB + "ping: {manualRouting: true}\n" + APP % "ping@internal")
    assert list(complete(config).http.routers) == ["r"]
    assert list(complete(config).entry_points) == ["web"]
    assert notes_of(WEB + "ping: {manualRouting: true, entryPoint: web}") == [
        "2:29 ping.entryPoint | without effect: with `manualRouting` your own routers say where | "
    ]


def test_routers_that_name_no_entry_point_do_not_join_the_internal_one() -> None:
    config = complete(config_of(WEB + "ping: {}\n" + APP % "app"))
    assert entry_points_of("http", config.http.routers["r"], config) == ["web"]


def test_routers_may_name_the_internal_one() -> None:
    routers = "http: {routers: {r: {rule: Path(`/p`), service: ping@internal, entryPoints: [traefik]}}}"
    assert "traefik" in complete(config_of(WEB + "ping: {manualRouting: true}\n" + routers)).entry_points
    [line] = lines_of(WEB + "ping: {entryPoint: web}\n" + routers)
    assert "unknown entry point `traefik`" in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            WEB + "ping: {entryPoint: wbe}",
            "ping.entryPoint | unknown entry point `wbe` | did you mean `web`?",
        ),
        (
            "entryPoints: {dns: {address: ':53/udp'}}\nping: {entryPoint: dns}",
            "ping.entryPoint | `dns` is a UDP entry point; ping is asked over HTTP | ",
        ),
        (
            "entryPoints: {alt: {address: ':8080'}}\nping: {}",
            "ping | an entry point `traefik` is needed for this on 127.0.0.1:8080, which `alt` in line 1 takes | "
            "say `entryPoint: alt` here, or make `traefik` with another address",
        ),
        (
            WEB + "ping: {terminatingStatusCode: 204}",
            "ping.terminatingStatusCode | an answer with this status has nothing to say | ",
        ),
        (
            WEB + APP % "ping@internal",
            "http.routers.r.service | `ping@internal` is not on | add `ping: {}`",
        ),
        (
            WEB + APP % "prometheus@internal",
            "http.routers.r.service | `prometheus@internal` is not on | add `metrics: {prometheus: {}}`",
        ),
        (
            WEB + "ping: {}\nhttp: {services: {w: {weighted: {services: [{name: ping@internal}]}}}}",
            "http.services.w.weighted.services[0].name | `ping@internal` answers HTTP requests: an HTTP router "
            "can lead to it, nothing else can | ",
        ),
    ],
)
def test_what_cannot_be(text: str, expected: str) -> None:
    [line] = lines_of(text)
    assert line.split(" ", 1)[1] == expected
