"""Which options a name gets, and whose requests are misdirected."""

from __future__ import annotations

import pytest

from streamlb.config.tls import RouterTls
from streamlb.routing.router import HttpTable, Route, Router
from streamlb.runtime.secure import SecurePlan


def table(**rules: tuple[str, str]) -> HttpTable:
    """HTTPS routers by name: rule and options."""
    return HttpTable(
        Router(name, rule, None, tls=RouterTls(options=options)) for name, (rule, options) in rules.items()
    )


def plan_of(**rules: tuple[str, str]) -> tuple[SecurePlan, dict[str, Route]]:
    routes = table(**rules).routes
    return SecurePlan(routes), {route.name: route for route in routes}


def test_nobody_asks_for_anything() -> None:
    plan, routes = plan_of(a=("Host(`a.com`)", ""), b=("PathPrefix(`/`)", "default"))
    assert plan.options_of(b"a.com") == plan.options_of(b"") == "default"
    assert not plan.misdirects("default", b"b.com", routes["a"])
    assert SecurePlan(()).options_of(b"a.com") == "default"


def test_options_that_hold_for_every_name() -> None:
    assert SecurePlan(()).universal == "default"
    assert plan_of(a=("Host(`a.com`)", ""), b=("PathPrefix(`/`)", "default"))[0].universal == "default"
    assert plan_of(a=("Host(`a.com`)", "one"), b=("PathPrefix(`/`)", "one"))[0].universal == "one"
    # Whoever asks for another name gets the default ones.
    assert plan_of(a=("Host(`a.com`)", "one"))[0].universal is None
    assert plan_of(a=("Host(`a.com`)", "one"), b=("PathPrefix(`/`)", "two"))[0].universal is None


def test_options_go_by_host() -> None:
    plan, _ = plan_of(
        a=("Host(`a.com`) && Path(`/x`)", "strict"),
        wide=("Host(`*.a.com`, `b.com`)", "mutual"),
        rest=("PathPrefix(`/`)", ""),
    )
    names = [b"a.com", b"x.a.com", b"y.x.a.com", b"b.com", b"c.com", b""]
    assert [plan.options_of(name) for name in names] == ["strict", "mutual", "default", "mutual", "default", "default"]


def test_two_that_disagree_get_the_default() -> None:
    plan, routes = plan_of(
        a=("Host(`a.com`)", "one"),
        b=("Host(`a.com`, `b.com`) && Path(`/b`)", "two"),
        c=("Method(`PUT`)", "one"),
        d=(r"HostRegexp(`^.*\.d\.com$`)", "two"),
    )
    assert [plan.options_of(name) for name in (b"a.com", b"b.com", b"x.d.com", b"")] == [
        "default", "two", "default", "default",
    ]  # fmt: skip
    # Nobody insists on options that did not prevail.
    assert not plan.misdirects("default", b"a.com", routes["a"])
    assert not plan.misdirects("default", b"c.com", routes["c"])


def test_routers_without_a_host_that_agree() -> None:
    plan, _ = plan_of(a=("Method(`PUT`)", "one"), b=(r"HostRegexp(`^.*\.d\.com$`)", "one"), c=("Host(`c.com`)", ""))
    assert [plan.options_of(name) for name in (b"c.com", b"x.d.com", b"")] == ["default", "one", "one"]


@pytest.mark.parametrize(
    ("options", "host", "router", "misdirected"),
    [
        ("default", b"open.com", "open", False),
        ("default", b"mutual.com", "mutual", True),
        ("mutual", b"mutual.com", "mutual", False),
        ("mutual", b"open.com", "open", True),
        ("mutual", b"nobody.com", None, True),
        ("default", b"nobody.com", None, False),
    ],
)
def test_another_host_than_the_handshake_was_for(
    options: str, host: bytes, router: str | None, misdirected: bool
) -> None:
    plan, routes = plan_of(open=("Host(`open.com`)", ""), mutual=("Host(`mutual.com`)", "mutual"))
    assert plan.misdirects(options, host, routes[router] if router else None) is misdirected


def test_no_way_round_the_options_of_a_router_without_a_host() -> None:
    plan, routes = plan_of(open=("Host(`open.com`)", ""), admin=("PathPrefix(`/admin`)", "mutual"))
    assert plan.options_of(b"open.com") == "default"
    assert plan.misdirects("default", b"open.com", routes["admin"])
    assert not plan.misdirects("default", b"open.com", routes["open"])
    assert not plan.misdirects("mutual", b"else.com", routes["admin"])
