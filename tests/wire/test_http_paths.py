"""Paths and fields as an entry point's options have them: what a rule saw is what the server gets."""

from __future__ import annotations

import pytest

from streamlb.config.model import LoadBalancer, Server, Service
from streamlb.config.static import EncodedCharacters, EntryPointHttp, ForwardedHeaders
from tests.support.engine import http_engine, mirrored, off_loop, url
from tests.support.http import http_get, parse_replies, raw_http, recording
from tests.support.loops import on_both_loops
from tests.support.until import until_async


def get(target: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", b"Host: a", *lines, b"Connection: close", b"", b""])


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (b"/a/../b//c/?x=//", "/b/c/?x=//"),
        (b"/a/%2e%2E/%7euser%2fx", "/~user%2Fx"),
        (b"/a\\b", "/a%5Cb"),
        (b"/?a=1;b=2", "/?a=1&b=2"),
        (b"http://a/x/../y", "/y"),
        (b"http://a//y", "/y"),
    ],
)
@on_both_loops
async def test_the_server_gets_one_spelling(sent: bytes, received: str) -> None:
    with recording() as origin:
        async with http_engine(origin.port) as engine:
            await off_loop(raw_http, engine.port, get(sent))
    assert origin.targets() == [received]


@pytest.mark.parametrize("sent", [b"/public/../admin", b"/public/%2e%2e/admin", b"//admin", b"/./admin", b"/%61dmin"])
@on_both_loops
async def test_no_spelling_gets_past_a_rule(sent: bytes) -> None:
    with recording() as origin:
        async with http_engine(origin.port, rule="!PathPrefix(`/admin`)") as engine:
            (reply,) = parse_replies(await off_loop(raw_http, engine.port, get(sent)))
    assert reply.status == 404
    assert not origin.requests


@on_both_loops
async def test_dots_and_slashes_pass_where_they_are_wanted() -> None:
    with recording() as origin:
        async with http_engine(origin.port, http=EntryPointHttp(sanitize_path=False)) as engine:
            await off_loop(raw_http, engine.port, get(b"/a//../%2e/b"))
    assert origin.targets() == ["/a//.././b"]


@on_both_loops
async def test_refused_paths() -> None:
    strict = EntryPointHttp(encoded_characters=EncodedCharacters(allow_encoded_slash=False))
    with recording() as origin:
        async with http_engine(origin.port, http=strict) as engine:
            for path, status in ((b"/a%2fb", 400), (b"/%", 400), (b"/a%5Cb?c=%2F", 200)):
                (reply,) = parse_replies(await off_loop(raw_http, engine.port, get(path) + get(b"/next")))
                assert reply.status == status
                assert reply.values("connection") == [b"close"]
    assert origin.targets() == ["/a%5Cb?c=%2F"]


@on_both_loops
async def test_semicolons_may_be_escaped() -> None:
    with recording() as origin:
        async with http_engine(origin.port, http=EntryPointHttp(encode_query_semicolons=True)) as engine:
            await off_loop(raw_http, engine.port, get(b"/?a=1;b=2"))
    assert origin.targets() == ["/?a=1%3Bb=2"]


@pytest.mark.parametrize(("strategy", "status", "seen"), [("keep", 200, 1), ("delete", 200, 0), ("reject", 400, 0)])
@on_both_loops
async def test_underscores_in_names(strategy: str, status: int, seen: int) -> None:
    options = EntryPointHttp(underscore_headers_strategy=strategy)  # type: ignore[arg-type]
    with recording() as origin:
        async with http_engine(origin.port, http=options) as engine:
            (reply,) = parse_replies(await off_loop(raw_http, engine.port, get(b"/", b"X_Key: 1")))
    assert reply.status == status
    assert sum(len(request.values("x_key")) for request in origin.requests) == seen


@on_both_loops
async def test_forwarding_as_told() -> None:
    options = ForwardedHeaders(
        insecure=True, connection=["Foo"], not_append_x_forwarded_for=True, add_x_forwarded_scheme_headers=True
    )
    request = (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, Foo, Bar\r\nFoo: 1\r\nBar: 2\r\n"
        b"X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\n\r\n"
    )
    with recording() as origin:
        async with http_engine(origin.port, forwarded=options) as engine:
            await off_loop(raw_http, engine.port, request)
    (seen,) = origin.requests
    assert (seen.value("connection"), seen.value("foo"), seen.value("bar")) == (b"foo", b"1", None)
    assert seen.value("x-forwarded-for") == b"1.1.1.1"
    assert seen.value("x-scheme") == seen.value("x-forwarded-scheme") == b"https"


@pytest.mark.parametrize(
    ("tail", "target", "received"),
    [
        ("/app", "/x?y", "/app/x?y"),
        ("/app/", "/x", "/app/x"),
        ("/app/v1", "/", "/app/v1/"),
        ("/app", "/../x", "/app/x"),
        ("", "/x", "/x"),
        ("/", "/x", "/x"),
    ],
)
@on_both_loops
async def test_the_path_of_a_servers_url_is_kept(tail: str, target: str, received: str) -> None:
    with recording() as origin:
        service = Service(load_balancer=LoadBalancer(servers=[Server(url=url(origin.port) + tail, preserve_path=True)]))
        async with http_engine(services={"app": service}) as engine:
            assert (await off_loop(http_get, engine.port, target)).status == 200
    assert origin.targets() == [received]


@on_both_loops
async def test_the_path_of_a_servers_url_is_dropped_unless_wanted() -> None:
    with recording() as origin:
        service = Service(load_balancer=LoadBalancer(servers=[Server(url=url(origin.port) + "/app")]))
        async with http_engine(services={"app": service}) as engine:
            await off_loop(http_get, engine.port, "/x")
    assert origin.targets() == ["/x"]


@on_both_loops
async def test_mirrors_have_paths_of_their_own() -> None:
    with recording() as main, recording() as mirror:
        services = mirrored(main.port, mirror.port)
        services["copy"].load_balancer = LoadBalancer(
            servers=[Server(url=url(mirror.port) + "/canary", preserve_path=True)]
        )
        async with http_engine(services=services) as engine:
            await off_loop(http_get, engine.port, "/x/../y")
            await until_async(lambda: mirror.requests, 5, "the copy arrives")
    assert (main.targets(), mirror.targets()) == (["/y"], ["/canary/y"])
