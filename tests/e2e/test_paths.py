"""Paths through the installed command: one spelling for the rule and the server, and refusals where they are wanted.

The story: `/admin` has a router of its own, and no spelling of it gets to the public servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.configs import entry_point
from tests.support.http import recording
from tests.support.programs import curl, running_streamlb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.http import Recorder

CONFIG = """
entryPoints:
  web:
    address: "{web}"
  strict:
    address: "{strict}"
    http:
      sanitizePath: false
      encodedCharacters: {{allowEncodedSlash: false}}
      encodeQuerySemicolons: true
      underscoreHeadersStrategy: reject
    forwardedHeaders: {{notAppendXForwardedFor: true}}
http:
  routers:
    public: {{rule: "PathPrefix(`/`)", service: public}}
    admin: {{rule: "PathPrefix(`/admin`)", service: admin}}
  services:
    public: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{public}"}}]}}}}
    admin:
      loadBalancer:
        servers: [{{url: "http://127.0.0.1:{admin}/private/v1", preservePath: true}}]
        responseForwarding: {{flushInterval: -1}}
"""


class Site:
    """A proxy before two servers. `web`, `strict`: the URLs of its entry points."""

    def __init__(self, web: str, strict: str, public: Recorder, admin: Recorder) -> None:
        self.web, self.strict, self.public, self.admin = web, strict, public, admin

    def ask(self, url: str, *options: str) -> int:
        """The status; the path goes out as it is written."""
        return int(curl("--path-as-is", "-o", "/dev/null", "-w", "%{http_code}", *options, url).stdout)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    (web_port, web), (strict_port, strict) = entry_point(), entry_point()
    with recording() as public, recording() as admin:
        config = CONFIG.format(web=web, strict=strict, public=public.port, admin=admin.port)
        with running_streamlb(config):
            yield Site(f"http://127.0.0.1:{web_port}", f"http://127.0.0.1:{strict_port}", public, admin)


@pytest.mark.parametrize("path", ["/admin/x", "/public/../admin/x", "//admin/x", "/%61dmin/./x", "/a/%2e%2E/admin//x"])
def test_every_spelling_of_a_path_is_the_same_path(site: Site, path: str) -> None:
    before = len(site.public.requests)
    assert site.ask(site.web + path) == 200
    assert site.admin.targets()[-1] == "/private/v1/admin/x"
    assert len(site.public.requests) == before


def test_an_entry_point_may_refuse_and_leave_alone(site: Site) -> None:
    before = len(site.public.requests)
    assert site.ask(site.strict + "/a%2Fb") == 400
    assert site.ask(site.strict + "/a", "-H", "X_User: me") == 400
    assert site.ask(site.strict + "/a/../b//c?d;e") == 200
    [seen] = site.public.requests[before:]
    assert seen.target == "/a/../b//c?d%3Be"
    assert not seen.values("x-forwarded-for")


def test_a_broken_escape_is_refused(site: Site) -> None:
    assert site.ask(site.web + "/%zz") == 400
