"""Rules for the timeouts of routers and services."""

from __future__ import annotations

from streamlb.config.model import Timeouts
from tests.unit.config.asking import UDP, WEB, config_of, lines_of, notes_of

APP = "app: {loadBalancer: {servers: [{url: 'http://a'}]}, timeouts: {idle: 5}}"


def test_what_is_not_said_is_not_the_same_as_no_limit() -> None:
    config = config_of(
        f"{WEB}http:\n"
        "  routers: {r: {rule: 'Path(`/`)', service: app, timeouts: {request: 1m30s, firstByte: 0}}}\n"
        f"  services: {{{APP}}}\n"
    )
    assert config.http.routers["r"].timeouts == Timeouts(request=90.0, first_byte=0.0, idle=None)
    assert config.http.services["app"].timeouts == Timeouts(idle=5.0)


def test_slips() -> None:
    text = f"{WEB}http:\n  services:\n    {APP.replace('idle: 5', 'firstbite: 1, request: soon')}\n"
    where = "4:68 http.services.app.timeouts"
    assert lines_of(text) == [
        f"{where}.firstbite | unknown key `firstbite` | did you mean `firstByte`?",
        "4:91 http.services.app.timeouts.request | expected a duration such as `300ms`, `3s` or `1m30s`, got `soon` | ",
    ]


def test_only_http_has_them() -> None:
    text = (
        f"{UDP}udp:\n  services: {{s: {{loadBalancer: {{servers: [{{address: 'a:1'}}]}}, timeouts: {{idle: 1}}}}}}\n"
        "  routers: {r: {service: s, timeouts: {idle: 1}}}\n"
    )
    reason = "timeouts | only HTTP requests have timeouts like these | remove it"
    assert [line.partition(" ")[2] for line in lines_of(text)] == [
        f"udp.services.s.{reason}",
        f"udp.routers.r.{reason}",
    ]


def test_timeouts_that_nobody_would_look_for() -> None:
    routers = "  routers: {r: {rule: 'Path(`/`)', service: top}}\n"
    inner = "inner: {weighted: {services: [{name: app}]}, timeouts: {idle: 1}}"
    top = "top: {weighted: {services: [{name: inner}]}, timeouts: {idle: 1}}"
    text = f"{WEB}http:\n{routers}  services:\n    {APP}\n    {inner}\n    {top}\n"
    [note] = notes_of(text)
    assert note.startswith("6:50 http.services.inner.timeouts | no router names this service")
