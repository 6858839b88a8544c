"""Local answers, byte by byte."""

from __future__ import annotations

import re

import pytest

from streamlb.proxy.answers import render_answer
from tests.support.http import parse_replies


def test_not_found_as_traefik_words_it() -> None:
    raw = render_answer(404, close=False)
    assert re.fullmatch(
        rb"HTTP/1\.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"
        rb"Content-Length: 19\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n\r\n404 page not found\n",
        raw,
    )


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b"400 Bad Request\n"),
        (408, b"408 Request Timeout\n"),
        (431, b"431 Request Header Fields Too Large\n"),
        (501, b"501 Not Implemented\n"),
        (502, b"Bad Gateway"),
        (503, b"no available server\n"),
        (504, b"Gateway Timeout"),
        (505, b"505 HTTP Version Not Supported\n"),
    ],
)
@pytest.mark.parametrize("close", [True, False])
def test_bodies(status: int, body: bytes, close: bool) -> None:
    (reply,) = parse_replies(render_answer(status, close=close))
    assert (reply.status, reply.body) == (status, body)
    assert reply.values("connection") == [b"close"] * close
    assert len(reply.values("content-type")) == (status not in (502, 504))


def test_head_gets_the_head_only() -> None:
    raw = render_answer(404, b"HEAD", close=False)
    assert raw.endswith(b"\r\n\r\n")
    assert b"Content-Length: 19\r\n" in raw


def test_cookies_of_a_pick() -> None:
    (reply,) = parse_replies(render_answer(502, close=True, cookies=[b"a=b; Path=/", b"c=d"]))
    assert reply.values("set-cookie") == [b"a=b; Path=/", b"c=d"]
