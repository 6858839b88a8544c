"""Canary: two versions behind one host, weights 1 and 2.

The story of the tutorial: requests are spread v1 v2 v2 v1 v2 v2, and exactly 1 : 2 over any number of them.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.support.configs import entry_point, http_servers
from tests.support.http import Client, http_get
from tests.support.programs import curl, running_streamlb, running_whoami

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "myapp.test.com"
V1 = 'Hello MyApp | Version: v1 | <a href="hostname.html">Pod Name</a>'
V2 = 'Hello MyApp | Version: v2 | <a href="hostname.html">Pod Name</a>'


@pytest.fixture(scope="module")
def versions() -> Iterator[tuple[int, int]]:
    with running_whoami("v1", text=V1) as v1, running_whoami("v2", text=V2) as v2:
        yield v1.http_port, v2.http_port


def canary(address: str, versions: tuple[int, int], weights: tuple[int, int] = (1, 2), top: str = "") -> str:
    return f"""
{top}
entryPoints: {{web: {{address: "{address}"}}}}
http:
  routers:
    myapp: {{rule: "Host(`{HOST}`)", service: wrr}}
  services:
    wrr:
      weighted:
        services:
          - {{name: myapp1, weight: {weights[0]}}}
          - {{name: myapp2, weight: {weights[1]}}}
{http_servers(myapp1=versions[0], myapp2=versions[1])}
"""


def test_a_fresh_start_answers_in_the_order_of_the_tutorial(versions: tuple[int, int]) -> None:
    port, address = entry_point()
    with running_streamlb(canary(address, versions)):
        answers = [curl("-H", f"Host: {HOST}", f"http://127.0.0.1:{port}/").stdout.strip() for _ in range(6)]
    assert answers == [V1, V2, V2, V1, V2, V2]


def test_three_thousand_requests_split_exactly_whatever_the_mix_of_connections(versions: tuple[int, int]) -> None:
    port, address = entry_point()

    def visit(share: tuple[int, bool]) -> list[str]:
        count, keep_alive = share
        if not keep_alive:
            return [http_get(port, host=HOST).text.strip() for _ in range(count)]
        with Client(port) as client:
            return [client.request(host=HOST).text.strip() for _ in range(count)]

    shares = [(1000, True), (700, True), (299, True), (1, True), (500, True), (250, False), (250, False)]
    with running_streamlb(canary(address, versions)), ThreadPoolExecutor(len(shares)) as pool:
        answers = Counter(answer for visits in pool.map(visit, shares) for answer in visits)
    assert answers == {V1: 1000, V2: 2000}


def test_a_weight_of_zero_gets_nothing(versions: tuple[int, int]) -> None:
    port, address = entry_point()
    with running_streamlb(canary(address, versions, (0, 3))), Client(port) as client:
        assert {client.request(host=HOST).text.strip() for _ in range(10)} == {V2}


def test_two_workers_each_keep_the_share(versions: tuple[int, int]) -> None:
    port, address = entry_point()
    with running_streamlb(canary(address, versions, top="workers: 2")) as proxy:
        assert len(proxy.workers()) == 2
        answers = Counter(http_get(port, host=HOST).text.strip() for _ in range(300))
    # Each worker's own block of three may be cut once.
    assert abs(answers[V1] - 100) <= 2


def test_a_refused_version_is_replaced_by_the_other(versions: tuple[int, int]) -> None:
    port, address = entry_point()
    dead, _ = entry_point()
    with running_streamlb(canary(address, (dead, versions[1]))) as proxy, Client(port) as client:
        for method, body in (("GET", None), ("POST", b"x=1")):
            answers = [client.request(host=HOST, method=method, body=body).text.strip() for _ in range(3)]
            assert answers == [V2] * 3
        assert "connection refused" in proxy.wait_for("myapp1")


def test_no_version_left_is_a_502_and_no_router_a_404(versions: tuple[int, int]) -> None:
    port, address = entry_point()
    dead1, dead2 = entry_point()[0], entry_point()[0]
    with running_streamlb(canary(address, (dead1, dead2))), Client(port) as client:
        reply = client.request(host=HOST)
        assert (reply.status, reply.text) == (502, "Bad Gateway")
        reply = client.request(host="other.test.com")
        assert (reply.status, reply.text) == (404, "404 page not found\n")
        assert reply.value("X-Content-Type-Options") == b"nosniff"


def test_all_weights_zero_is_a_503(versions: tuple[int, int]) -> None:
    port, address = entry_point()
    with running_streamlb(canary(address, versions, (0, 0))), Client(port) as client:
        reply = client.request(host=HOST)
        assert (reply.status, reply.text) == (503, "no available server\n")
