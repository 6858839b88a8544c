"""A request's number and its place in a trace, as the server gets them."""

from __future__ import annotations

import re

import pytest

from streamlb.config.model import Server
from streamlb.config.observation import Tracing
from streamlb.config.static import EntryPointHttp
from tests.support.engine import http_engine, mirrored, off_loop
from tests.support.http import http_get, raw_http, recording
from tests.support.loops import on_both_loops
from tests.support.until import until_async

NUMBERED = EntryPointHttp(request_id="X-Request-Id")
NEW = re.compile(rb"[0-9a-f]{32}")
TRACE, PARENT = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"
CONTEXT = b"00-%b-%b-01" % (TRACE, PARENT)
FIELDS = ("traceparent", "tracestate", "x-request-id")


def get(*lines: bytes, last: bool = True) -> bytes:
    end = [b"Connection: close", b"", b""] if last else [b"", b""]
    return b"\r\n".join([b"GET / HTTP/1.1", b"Host: a", *lines, *end])


@on_both_loops
async def test_nothing_is_touched_that_nobody_asked_for() -> None:
    with recording() as origin:
        async with http_engine(origin.port) as engine:
            await off_loop(raw_http, engine.port, get(b"TraceParent: nonsense", b"tracestate: a=1", b"X-Request-Id: 7"))
    [asked] = origin.requests
    assert [asked.value(name) for name in FIELDS] == [b"nonsense", b"a=1", b"7"]


@on_both_loops
async def test_every_request_gets_a_number_of_its_own() -> None:
    with recording() as origin:
        async with http_engine(origin.port, http=NUMBERED) as engine:
            await off_loop(raw_http, engine.port, get(last=False) * 3 + get())
    numbers = [request.values("x-request-id") for request in origin.requests]
    assert all(len(each) == 1 and NEW.fullmatch(each[0]) for each in numbers)
    assert len({each[0] for each in numbers}) == 4


@pytest.mark.parametrize(
    ("trusted", "lines", "kept"),
    [
        (["127.0.0.1"], [b"x-request-id: abc/1.2-3"], b"abc/1.2-3"),
        (["127.0.0.1"], [b"X-Request-Id: " + b"x" * 129], None),
        (["127.0.0.1"], [b"X-Request-Id: a b"], None),
        (["127.0.0.1"], [b"X-Request-Id: a", b"X-Request-Id: b"], None),
        (["127.0.0.1"], [b"X-Request-Id:"], None),
        ([], [b"X-Request-Id: abc"], None),
        ([], [b"X_Request_Id: abc", b"X-REQUEST-ID: d"], None),
    ],
)
@on_both_loops
async def test_a_number_is_taken_over_from_whom_we_trust(trusted: list[str], lines: list[bytes], kept: bytes) -> None:
    with recording() as origin:
        async with http_engine(origin.port, http=NUMBERED, trusted=trusted) as engine:
            await off_loop(raw_http, engine.port, get(b"Accept: a", *lines, b"X-Last: b"))
    [asked] = origin.requests
    [number] = asked.values("x-request-id")
    assert number == kept if kept else NEW.fullmatch(number)
    assert asked.values("x_request_id") == []
    assert (asked.value("accept"), asked.value("x-last")) == (b"a", b"b")


@on_both_loops
async def test_a_trace_goes_on_under_a_span_of_ours() -> None:
    with recording() as origin:
        async with http_engine(origin.port, tracing=Tracing(sample_rate=0.0)) as engine:
            lines = b"traceparent: " + CONTEXT, b"tracestate: a=1", b"Tracestate: b=2"
            await off_loop(raw_http, engine.port, get(*lines, last=False) * 2 + get(*lines))
    spans = set()
    for asked in origin.requests:
        [parent] = asked.values("traceparent")
        found = re.fullmatch(b"00-%b-([0-9a-f]{16})-01" % TRACE, parent)
        assert found
        spans.add(found[1])
        assert asked.values("tracestate") == [b"a=1,b=2"]
    assert len(spans | {PARENT}) == 4


@pytest.mark.parametrize(("rate", "flags"), [(0.0, b"00"), (1.0, b"01")])
@pytest.mark.parametrize(
    "lines", [[], [b"traceparent: nonsense", b"tracestate: a=1"], [b"traceparent: " + CONTEXT] * 2]
)
@on_both_loops
async def test_a_trace_begins_where_there_is_none(lines: list[bytes], rate: float, flags: bytes) -> None:
    with recording() as origin:
        async with http_engine(origin.port, tracing=Tracing(sample_rate=rate)) as engine:
            await off_loop(raw_http, engine.port, get(*lines))
    [asked] = origin.requests
    [parent] = asked.values("traceparent")
    found = re.fullmatch(rb"00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9]{2})", parent)
    assert found
    assert found[1] not in (TRACE, b"0" * 32)
    assert found[2] == flags
    assert asked.values("tracestate") == []


@on_both_loops
async def test_every_way_to_a_server_carries_them() -> None:
    with recording() as main, recording() as copy:
        services = mirrored(main.port, copy.port)
        balancer = services["main"].load_balancer
        assert balancer is not None
        balancer.servers = [Server(url=f"http://127.0.0.1:{main.port}/below", preserve_path=True)]
        async with http_engine(services=services, http=NUMBERED, tracing=Tracing()) as engine:
            await off_loop(http_get, engine.port, "/a/../b")
            await until_async(lambda: copy.requests)
    [asked], [copied] = main.requests, copy.requests
    assert (asked.target, copied.target) == ("/below/b", "/b")
    assert len(asked.values("x-request-id")) == 1
    assert [asked.value(name) for name in FIELDS] == [copied.value(name) for name in FIELDS]


@on_both_loops
async def test_requests_that_are_read_the_long_way_have_them_too() -> None:
    with recording() as origin:
        async with http_engine(origin.port, http=NUMBERED, tracing=Tracing()) as engine:
            await off_loop(raw_http, engine.port, b"GET / HTTP/1.0\r\nHost: a\r\nX-Request-Id: mine\r\n\r\n")
    [asked] = origin.requests
    assert len(asked.values("traceparent")) == 1
    assert NEW.fullmatch(asked.value("x-request-id") or b"")
