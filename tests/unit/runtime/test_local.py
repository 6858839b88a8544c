"""What ping says, and until when."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from streamlb.config.model import Config, HttpSection, Router
from streamlb.config.observation import Ping
from streamlb.config.static import EntryPoint
from streamlb.errors import InternalError
from streamlb.runtime.build import build
from streamlb.runtime.local import LocalAnswer, Pinging
from streamlb.runtime.registry import Registry


@dataclass
class Asked:
    method: bytes = b"GET"
    host: bytes = b"a.com"
    target: bytes = b"/ping"


@pytest.mark.parametrize(("status", "text"), [(503, b"Service Unavailable"), (418, b"I'm a Teapot"), (599, b"")])
def test_ping(status: int, text: bytes) -> None:
    ping = Pinging(status)
    assert ping.answer(Asked(), False) == LocalAnswer(200, body=b"OK")
    told = ping.answer(Asked(), True)
    assert (told.status, told.body.lower()) == (status, text.lower())


def config(ping: Ping | None) -> Config:
    router = Router(rule="PathPrefix(`/ping`)", service="ping@internal")
    return Config(
        entry_points={"web": EntryPoint(address=":80"), "traefik": EntryPoint(address=":81")},
        http=HttpSection(routers={"p": router}),
        ping=ping,
    )


def test_a_router_that_leads_to_it_needs_no_service() -> None:
    runtime = build(config(Ping()), Registry())
    table = runtime.entry_points["web"].http
    assert table is not None
    [route] = table.routes
    assert isinstance(route.local, Pinging)
    other = runtime.entry_points["traefik"].http
    assert other is not None
    assert other.routes == (), "routers that name no entry point do not join the internal one"


def test_ping_that_is_not_on_is_our_bug() -> None:
    with pytest.raises(InternalError, match="ping is not on"):
        build(config(None), Registry())
