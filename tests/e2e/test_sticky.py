"""Sticky sessions: a cookie keeps a client with one version.

The story of the tutorial: `curl -b lvl1=default-myapp2-80` stays with v2; unknown cookies fall back to the weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.configs import entry_point, http_servers
from tests.support.http import Client
from tests.support.programs import curl, running_streamlb, running_whoami

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "myapp.test.com"
SHA_V1, SHA_V2 = "9c95d45b96623357", "063d8603bfb44904"
"""The first sixteen hex digits of SHA-256 of default-myapp1-80 and default-myapp2-80."""


@pytest.fixture(scope="module")
def versions() -> Iterator[tuple[int, int]]:
    with running_whoami("v1", text="v1") as v1, running_whoami("v2", text="v2") as v2:
        yield v1.http_port, v2.http_port


def sticky(
    address: str, versions: tuple[int, int], weights: tuple[int, int] = (1, 2), cookie: str = "{name: lvl1}"
) -> str:
    return f"""
entryPoints: {{web: {{address: "{address}"}}}}
http:
  routers:
    myapp: {{rule: "Host(`{HOST}`)", service: wrr}}
  services:
    wrr:
      weighted:
        services:
          - {{name: default-myapp1-80, weight: {weights[0]}}}
          - {{name: default-myapp2-80, weight: {weights[1]}}}
        sticky: {{cookie: {cookie}}}
{http_servers(default_myapp1_80=versions[0], default_myapp2_80=versions[1])}
"""


def test_the_first_answer_sets_a_cookie_that_is_honoured(versions: tuple[int, int], tmp_path: Path) -> None:
    port, address = entry_point()
    jar = tmp_path / "jar"
    with running_streamlb(sticky(address, versions)):
        args = ("-b", jar, "-c", jar, "-H", f"Host: {HOST}", f"http://127.0.0.1:{port}/")
        assert curl("-i", *args).stdout.count(f"Set-Cookie: lvl1={SHA_V1}; Path=/") == 1
        for _ in range(5):
            answer = curl("-i", *args).stdout
            assert answer.endswith("v1\n")
            assert "Set-Cookie" not in answer


@pytest.mark.parametrize(
    ("value", "version", "rewritten"),
    [
        ("default-myapp2-80", "v2", True),
        ("default-myapp1-80", "v1", True),
        (SHA_V2, "v2", False),
        (SHA_V1, "v1", False),
        ("e4369312204a003f", "v2", True),
        ("517a027fe1bc8190", "v2", True),
        ("db346c121b16677a", "v1", True),
    ],
)
def test_every_known_form_of_the_cookie_pins(
    versions: tuple[int, int], value: str, version: str, rewritten: bool
) -> None:
    port, address = entry_point()
    with running_streamlb(sticky(address, versions)):
        for _ in range(3):
            answer = curl("-i", "-b", f"lvl1={value}", "-H", f"Host: {HOST}", f"http://127.0.0.1:{port}/").stdout
            assert answer.endswith(f"{version}\n")
            assert ("Set-Cookie" in answer) == rewritten


def test_an_unknown_value_falls_back_to_the_weights_and_is_rewritten(versions: tuple[int, int]) -> None:
    port, address = entry_point()
    with running_streamlb(sticky(address, versions)), Client(port) as client:
        replies = [client.request(host=HOST, headers=[("Cookie", "a=b; lvl1=gone")]) for _ in range(6)]
    assert [reply.text for reply in replies] == ["v1\n", "v2\n", "v2\n", "v1\n", "v2\n", "v2\n"]
    values = [reply.value("Set-Cookie") for reply in replies]
    assert values[:2] == [f"lvl1={SHA_V1}; Path=/".encode(), f"lvl1={SHA_V2}; Path=/".encode()]


def test_a_weight_of_zero_keeps_its_sticky_users_and_gets_no_new_ones(versions: tuple[int, int]) -> None:
    port, address = entry_point()
    with running_streamlb(sticky(address, versions, (0, 1))), Client(port) as client:
        cookie = [("Cookie", f"lvl1={SHA_V1}")]
        assert [client.request(host=HOST, headers=cookie).text for _ in range(3)] == ["v1\n"] * 3
        assert {client.request(host=HOST).text for _ in range(6)} == {"v2\n"}


def test_a_session_whose_version_is_dead_moves_and_is_rewritten(versions: tuple[int, int]) -> None:
    port, address = entry_point()
    dead, _ = entry_point()
    with running_streamlb(sticky(address, (dead, versions[1]))), Client(port) as client:
        reply = client.request(host=HOST, headers=[("Cookie", f"lvl1={SHA_V1}")])
        assert reply.text == "v2\n"
        assert reply.value("Set-Cookie") == f"lvl1={SHA_V2}; Path=/".encode()


def test_the_cookie_carries_its_options(versions: tuple[int, int]) -> None:
    port, address = entry_point()
    options = "{name: lvl1, secure: true, httpOnly: true, sameSite: lax, maxAge: 3600, path: /app, domain: test.com}"
    with running_streamlb(sticky(address, versions, cookie=options)), Client(port) as client:
        found = client.request(host=HOST).value("Set-Cookie")
    assert found == (
        f"lvl1={SHA_V1}; Path=/app; Domain=test.com; Max-Age=3600; HttpOnly; Secure; SameSite=Lax".encode()
    )


def test_stickiness_on_servers_of_a_load_balancer(versions: tuple[int, int]) -> None:
    port, address = entry_point()
    config = f"""
entryPoints: {{web: {{address: "{address}"}}}}
http:
  routers:
    myapp: {{rule: "Host(`{HOST}`)", service: pair}}
  services:
    pair:
      loadBalancer:
        servers: [{{url: "http://127.0.0.1:{versions[0]}"}}, {{url: "http://127.0.0.1:{versions[1]}"}}]
        sticky: {{cookie: {{name: srv}}}}
"""
    with running_streamlb(config), Client(port) as client:
        first = client.request(host=HOST)
        cookie = (first.value("Set-Cookie") or b"").decode().partition(";")[0]
        again = {client.request(host=HOST, headers=[("Cookie", cookie)]).text for _ in range(4)}
    assert again == {first.text}
