"""How an HTTP check asks, and what it makes of an answer; the asking itself is tested over sockets."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from streamlb.config.model import HealthCheck
from streamlb.health.http_probe import accepts, matches, render_request


@pytest.mark.parametrize(
    ("ranges", "good", "bad"),
    [
        ([], [200, 204, 301, 399], [199, 400, 404, 500, 503]),
        (["0"], [200, 399], [400]),
        (["204"], [204], [200, 205]),
        (["200-299", "404"], [200, 299, 404], [199, 300, 403]),
        (["200 - 299"], [250], [300]),
    ],
)
def test_which_statuses_are_good(ranges: list[str], good: list[int], bad: list[int]) -> None:
    assert all(accepts(ranges, status) for status in good)
    assert not any(accepts(ranges, status) for status in bad)


@pytest.mark.parametrize(
    ("wanted", "body", "expected"),
    [
        ("ok", b"all ok here", True),
        ("ok", b"OK", False),
        ("grün".encode().decode(), "grün".encode(), True),
        ("/^ok$/", b"ok", True),
        ("/^ok$/", b"ok\n", False),
        (r"/^ok\s*$/", b"ok\n", True),
        ('/"status": *"(ok|warn)"/', b'{"status": "warn"}', True),
        ("/x/", b"\xff\xfe", False),
        ("/", b"a/b", True),
    ],
)
def test_what_a_body_holds(wanted: str, body: bytes, expected: bool) -> None:
    assert matches(wanted, body) is expected


def test_the_request() -> None:
    plain = render_request("GET", urlsplit("http://a:81/h?x=1"), HealthCheck())
    assert plain == (
        b"GET /h?x=1 HTTP/1.1\r\nHost: a:81\r\nUser-Agent: streamlb\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    options = HealthCheck(hostname="my.test", headers={"user-agent": "probe", "X-Key": "grün"})
    full = render_request("POST", urlsplit("http://a/h"), options)
    assert (
        full
        == (
            "POST /h HTTP/1.1\r\nHost: my.test\r\nAccept: */*\r\nuser-agent: probe\r\nX-Key: grün\r\n"
            "Content-Length: 0\r\nConnection: close\r\n\r\n"
        ).encode()
    )
    # What is meant for the server is not told to whom it names.
    away = render_request("GET", urlsplit("http://b"), options, at_home=False)
    assert away == b"GET / HTTP/1.1\r\nHost: b\r\nUser-Agent: streamlb\r\nAccept: */*\r\nConnection: close\r\n\r\n"
