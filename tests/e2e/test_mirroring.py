"""Mirroring: a share of the requests is copied to another version, whose answers nobody sees.

The story of the tutorial: at 50 % every answer is v1's, and requests 1, 3, 5 ... reach v2 as they are.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.configs import entry_point, http_servers
from tests.support.http import After, Client, Recorder
from tests.support.programs import running_streamlb
from tests.support.until import until

if TYPE_CHECKING:
    from tests.support.http import Answer, Recorded

HOST = "mirror.test.com"
MAIN_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nv1"


def mirroring(address: str, main: int, mirror: int, options: str = "", percent: int = 50) -> str:
    return f"""
entryPoints: {{web: {{address: "{address}"}}}}
http:
  routers:
    myapp: {{rule: "Host(`{HOST}`)", service: mirror}}
  services:
    mirror:
      mirroring: {{service: myapp1, {options} mirrors: [{{name: myapp2, percent: {percent}}}]}}
{http_servers(myapp1=main, myapp2=mirror)}
"""


@pytest.mark.parametrize(
    ("percent", "expected"),
    [
        (0, []),
        (1, [1, 101]),
        (10, [1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 101, 111]),
        (33, [1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31, 34]),
        (50, [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]),
        (90, [n for n in range(1, 121) if n % 10]),
        (100, list(range(1, 121))),
    ],
)
def test_the_share_is_exact(percent: int, expected: list[int]) -> None:
    port, address = entry_point()
    with Recorder(MAIN_ANSWER) as main, Recorder() as mirror:
        with running_streamlb(mirroring(address, main.port, mirror.port, percent=percent)), Client(port) as client:
            for number in range(1, 121):
                assert client.request(f"/{number}", host=HOST).text == "v1"
            until(lambda: len(mirror.requests) >= 120 * percent // 100)
        seen = sorted(int(target[1:]) for target in mirror.targets())
    assert seen[: len(expected)] == expected
    assert len(seen) == -(-120 * percent // 100)


def same(copy: Recorded, original: Recorded) -> bool:
    return (copy.start_line, copy.headers, copy.body) == (original.start_line, original.headers, original.body)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_copy_equals_the_original(chunked: bool) -> None:
    port, address = entry_point()
    body = bytes(range(256)) * 1024
    with Recorder(MAIN_ANSWER) as main, Recorder() as mirror:
        with running_streamlb(mirroring(address, main.port, mirror.port, percent=100)), Client(port) as client:
            head = f"PUT /items/7?x=%20y HTTP/1.1\r\nHost: {HOST}\r\nX-Thing: a, b\r\nCookie: a=1\r\n".encode()
            if chunked:
                framed = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            else:
                framed = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            client.sock.sendall(head + framed)
            assert client.reply().text == "v1"
            until(lambda: len(mirror.requests) == 1)
        assert same(mirror.requests[0], main.requests[0])
        assert mirror.requests[0].body == body


@pytest.mark.parametrize(("size", "copied"), [(10, True), (11, False)])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_over_the_limit_are_not_copied(size: int, copied: bool, chunked: bool) -> None:
    port, address = entry_point()
    config = "maxBodySize: 10,"
    with Recorder(MAIN_ANSWER) as main, Recorder() as mirror:
        with running_streamlb(mirroring(address, main.port, mirror.port, config, 100)) as proxy, Client(port) as client:
            body = b"x" * size
            framing = b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: %d\r\n\r\n" % size
            framed = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body) if chunked else body
            client.sock.sendall(f"POST /first HTTP/1.1\r\nHost: {HOST}\r\n".encode() + framing + framed)
            assert client.reply().text == "v1"
            assert client.request("/second", host=HOST).text == "v1"
            until(lambda: "/second" in mirror.targets())
            if not copied:
                proxy.wait_for("over maxBodySize")
        assert ("/first" in mirror.targets()) == copied
        assert main.requests[0].body == body


def test_a_mirror_may_go_without_bodies() -> None:
    port, address = entry_point()
    with Recorder(MAIN_ANSWER) as main, Recorder() as mirror:
        config = mirroring(address, main.port, mirror.port, "mirrorBody: false,", 100)
        with running_streamlb(config), Client(port) as client:
            assert client.request("/first", host=HOST, method="POST", body=b"secret").text == "v1"
            assert client.request("/second", host=HOST).text == "v1"
            until(lambda: len(mirror.requests) == 2)
        assert main.requests[0].body == b"secret"
        assert (mirror.requests[0].method, mirror.requests[0].body) == ("POST", b"")


FAULTS: dict[str, Answer | None] = {
    "does not exist": None,
    "resets": [After.RESET],
    "closes": [After.CLOSE],
    "answers garbage": b"\x00\xff garbage\r\n\r\n",
    "is silent": [After.HANG],
    "is slow": [3.0, MAIN_ANSWER],
    "answers half": [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", After.CLOSE],
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_broken_mirror_changes_nothing_for_the_client(fault: str) -> None:
    port, address = entry_point()
    script = FAULTS[fault]
    with Recorder(MAIN_ANSWER) as main, Recorder(script or b"") as mirror:
        mirror_port = mirror.port if script is not None else entry_point()[0]
        with running_streamlb(mirroring(address, main.port, mirror_port, percent=100)), Client(port) as client:
            client.request(host=HOST)
            begun = time.monotonic()
            for number in range(50):
                assert client.request(f"/{number}", host=HOST, method="POST", body=b"x" * 1000).text == "v1"
            took = time.monotonic() - begun
        assert len(main.requests) == 51
    assert took < 2.5, f"50 requests took {took:.1f} s beside a mirror that {fault}"


def test_the_drops_are_counted_and_logged_at_a_bounded_rate() -> None:
    port, address = entry_point()
    with Recorder(MAIN_ANSWER) as main:
        dead, _ = entry_point()
        with running_streamlb(mirroring(address, main.port, dead, percent=100)) as proxy, Client(port) as client:
            for _ in range(300):
                assert client.request(host=HOST).text == "v1"
            proxy.wait_for("not copied")
            assert len([line for line in proxy.log().splitlines() if "not copied" in line]) <= 2
