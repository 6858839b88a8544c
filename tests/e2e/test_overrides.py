"""Overrides: a tester reaches the new version by a header or a cookie, before anybody else does.

The story: v2 has weight 0; only those who ask for it see it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.configs import entry_point, http_servers
from tests.support.http import Client
from tests.support.programs import curl, running_streamlb, running_whoami

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "app.test.com"


@pytest.fixture(scope="module")
def versions() -> Iterator[tuple[int, int]]:
    with running_whoami("v1", text="v1") as v1, running_whoami("v2", text="v2") as v2:
        yield v1.http_port, v2.http_port


def overridden(address: str, v1: int, v2: int, weight: int = 0, options: str = "") -> str:
    return f"""
entryPoints: {{web: {{address: "{address}"}}}}
http:
  routers: {{app: {{rule: "Host(`{HOST}`)", service: app}}}}
  services:
    app:
      weighted:
        services: [{{name: v1, weight: 1}}, {{name: v2, weight: {weight}}}]
        overrides:
          - {{header: {{name: X-Canary, value: "v2"}}, service: v2}}
          - {{cookie: {{name: canary, value: always}}, service: v2}}
{options}
{http_servers(v1=v1, v2=v2)}
"""


def test_testers_see_the_new_version_and_nobody_else_does(versions: tuple[int, int]) -> None:
    port, address = entry_point()
    with running_streamlb(overridden(address, *versions)):
        url = f"http://127.0.0.1:{port}/"
        assert curl("-H", f"Host: {HOST}", "-H", "x-canary: v2", url).stdout == "v2\n"
        assert curl("-H", f"Host: {HOST}", "-b", "a=b; canary=always", url).stdout == "v2\n"
        with Client(port) as client:
            for fields in ([], [("X-Canary", "v3")], [("X-Canary", "V2")], [("Cookie", "canary=never")]):
                assert {client.request(host=HOST, headers=fields).text for _ in range(3)} == {"v1\n"}


def test_the_weights_of_all_others_stay_exact(versions: tuple[int, int]) -> None:
    port, address = entry_point()
    with running_streamlb(overridden(address, *versions, weight=2)), Client(port) as client:
        answers = []
        for _ in range(6):
            assert client.request(host=HOST, headers=[("X-Canary", "v2")]).text == "v2\n"
            answers.append(client.request(host=HOST).text)
    assert answers == ["v1\n", "v2\n", "v2\n"] * 2


def test_a_tester_s_session_is_left_alone(versions: tuple[int, int]) -> None:
    port, address = entry_point()
    sticky = "        sticky: {cookie: {name: lvl1}}"
    with running_streamlb(overridden(address, *versions, weight=2, options=sticky)), Client(port) as client:
        bound = [("Cookie", "lvl1=v1")]
        assert client.request(host=HOST, headers=bound).text == "v1\n"
        reply = client.request(host=HOST, headers=[*bound, ("X-Canary", "v2")])
        assert (reply.text, reply.value("Set-Cookie")) == ("v2\n", None)
        assert client.request(host=HOST, headers=bound).text == "v1\n"


def test_a_version_that_is_dead_cannot_be_forced(versions: tuple[int, int]) -> None:
    port, address = entry_point()
    dead = entry_point()[0]
    with running_streamlb(overridden(address, versions[0], dead)), Client(port) as client:
        assert client.request(host=HOST, headers=[("X-Canary", "v2")]).text == "v1\n"
