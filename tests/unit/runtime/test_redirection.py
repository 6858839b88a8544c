"""Where a request is sent, and with which status."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from streamlb.config.model import Config
from streamlb.config.static import EntryPoint, EntryPointHttp
from streamlb.config.tls import RedirectEntryPoint, Redirections
from streamlb.errors import InternalError
from streamlb.routing.router import HttpTable
from streamlb.runtime.redirection import FIRST, Redirection, redirecting_router
from tests.unit.routing.rules import Ask


@dataclass
class Asked:
    """What a redirection asks of a request."""

    method: bytes = b"GET"
    host: bytes = b"a.com"
    target: bytes = b"/"


def config(to: str, secure: str = ":443", **options: object) -> Config:
    redirections = Redirections(entry_point=RedirectEntryPoint(to=to, **options))  # type: ignore[arg-type]
    return Config(
        entry_points={
            "web": EntryPoint(address=":80", http=EntryPointHttp(redirections=redirections)),
            "websecure": EntryPoint(address=secure),
        }
    )


def location(config: Config, host: bytes = b"a.com", target: bytes = b"/x?y=1") -> bytes:
    router = redirecting_router("web", config)
    assert router is not None
    assert isinstance(router.local, Redirection)
    return router.local.answer(Asked(host=host, target=target), False).location


@pytest.mark.parametrize(
    ("to", "secure", "scheme", "expected"),
    [
        ("websecure", ":443", "https", b"https://a.com/x?y=1"),
        ("websecure", "127.0.0.1:8443/tcp", "https", b"https://a.com:8443/x?y=1"),
        ("websecure", "[::1]:443", "https", b"https://a.com/x?y=1"),
        (":443", ":1", "https", b"https://a.com/x?y=1"),
        (":444", ":1", "https", b"https://a.com:444/x?y=1"),
        (":80", ":1", "http", b"http://a.com/x?y=1"),
        (":443", ":1", "http", b"http://a.com:443/x?y=1"),
    ],
)
def test_the_same_place_elsewhere(to: str, secure: str, scheme: str, expected: bytes) -> None:
    assert location(config(to, secure, scheme=scheme)) == expected


def test_hosts_and_targets() -> None:
    assert location(config("websecure"), b"[::1]") == b"https://[::1]/x?y=1"
    assert location(config("websecure"), target=b"*") == b"https://a.com/"
    assert location(config("websecure"), target=b"//evil.com") == b"https://a.com//evil.com"


@pytest.mark.parametrize(
    ("permanent", "method", "status"),
    [(True, b"GET", 301), (True, b"POST", 308), (True, b"HEAD", 308), (False, b"GET", 302), (False, b"PUT", 307)],
)
def test_what_must_be_repeated_as_it_was_is(permanent: bool, method: bytes, status: int) -> None:
    asked = Asked(method=method)
    assert Redirection("https", "", permanent=permanent).answer(asked, False).status == status


def test_a_router_before_all_others() -> None:
    router = redirecting_router("web", config("websecure"))
    assert router is not None
    assert (router.name, router.priority) == ("web-redirection@internal", FIRST)
    table = HttpTable([router])
    route = table.route(Ask())
    assert route is not None
    assert route.local is router.local
    assert table.route(Ask(host=b"")) is None
    lower = redirecting_router("web", config("websecure", priority=7))
    assert lower is not None
    assert lower.priority == 7
    assert redirecting_router("websecure", config("websecure")) is None


def test_an_entry_point_that_does_not_exist_is_our_bug() -> None:
    with pytest.raises(InternalError, match="redirects to nowhere"):
        redirecting_router("web", config("nowhere"))
