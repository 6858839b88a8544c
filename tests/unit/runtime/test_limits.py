"""What an exchange may take: who wins, what is not said, what 0 means."""

from __future__ import annotations

from streamlb.config.model import Config, Router, Timeouts
from streamlb.runtime.build import build
from streamlb.runtime.limits import ANY_TIME, Limits, Override
from streamlb.runtime.registry import Registry
from tests.unit.routing.rules import Ask
from tests.unit.runtime.test_build import http, urls, weighted


def values(limits: Limits) -> tuple[float, float, float, float | None]:
    assert limits.answer == limits.tunnel
    return limits.request, limits.first_byte, limits.answer, limits.upload


def test_nothing_said_changes_nothing() -> None:
    limits = Limits(first_byte=60.0)
    assert limits.under(None) is limits
    assert values(limits.under(Timeouts())) == (ANY_TIME, 60.0, ANY_TIME, None)


def test_zero_is_no_limit() -> None:
    limits = Limits(request=1.0, first_byte=2.0, answer=3.0, tunnel=3.0, upload=3.0)
    assert values(limits.under(Timeouts(request=0.0))) == (ANY_TIME, 2.0, 3.0, 3.0)
    assert values(limits.under(Timeouts(first_byte=0.0, idle=0.0))) == (1.0, ANY_TIME, ANY_TIME, ANY_TIME)


def test_the_last_one_of_an_override_wins_and_is_remembered() -> None:
    override = Override(Timeouts(request=1.0, idle=1.0), Timeouts(idle=2.0))
    limits, other = Limits(first_byte=60.0), Limits(first_byte=5.0)
    assert values(override.over(limits)) == (1.0, 60.0, 2.0, 2.0)
    assert override.over(limits) is override.over(limits)
    assert override.over(other).first_byte == 5.0


def config_with(router: Timeouts | None, top: Timeouts | None, leaf: Timeouts | None) -> Config:
    services = {"top": weighted(("leaf", 1)), "leaf": urls("http://10.0.0.1:80")}
    services["top"].timeouts, services["leaf"].timeouts = top, leaf
    return http(services, r=Router(rule="PathPrefix(`/`)", service="top", timeouts=router))


def limits_of(config: Config) -> Limits:
    table = build(config, Registry()).entry_points["web"].http
    assert table
    route = table.route(Ask(b"a", b"/"))
    assert route
    server = route.service.children[0].node.children[0].node
    limits: Limits = server.limits if route.limits is None else route.limits.over(server.limits)
    return limits


def test_the_router_wins_then_its_service_then_the_load_balancer_then_the_transport() -> None:
    none = config_with(None, None, None)
    assert values(limits_of(none)) == (ANY_TIME, 60.0, ANY_TIME, None)
    none.servers_transport.forwarding_timeouts.response_header_timeout = 0.0
    assert values(limits_of(none)) == (ANY_TIME, ANY_TIME, ANY_TIME, None)
    one, two, three = Timeouts(request=1.0), Timeouts(request=2.0, idle=2.0), Timeouts(request=3.0, first_byte=3.0)
    assert values(limits_of(config_with(one, two, three))) == (1.0, 3.0, 2.0, 2.0)
    assert values(limits_of(config_with(None, two, three))) == (2.0, 3.0, 2.0, 2.0)
    assert values(limits_of(config_with(None, None, three))) == (3.0, 3.0, ANY_TIME, None)


def test_the_transport_limits_answers_but_no_tunnels() -> None:
    config = config_with(None, None, None)
    config.servers_transport.forwarding_timeouts.read_timeout = 7.0
    limits = limits_of(config)
    assert (limits.answer, limits.tunnel, limits.upload) == (7.0, ANY_TIME, None)
    eased = Override(Timeouts(idle=0.0)).over(limits)
    assert (eased.answer, eased.tunnel, eased.upload) == (ANY_TIME, ANY_TIME, ANY_TIME)
