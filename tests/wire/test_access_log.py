"""The access log follows the configuration: what is told, of whom, and where to."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from streamlb.config.model import Config, HttpSection, Router
from streamlb.config.observation import AccessLog as Options
from streamlb.config.observation import AccessLogFilters, Observability, Tracing
from streamlb.config.static import EntryPoint
from streamlb.observe import writer as writer_module
from streamlb.observe.access import AccessLog, Filters
from streamlb.proxy.marking import Marks
from streamlb.wire.trace import Trace
from tests.support.loops import on_both_loops
from tests.support.records import connection, flow, head, request, route
from tests.support.until import until_async

if TYPE_CHECKING:
    from pathlib import Path

    from streamlb.observe.spans import Span

TRACE = Trace(b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331", b"00f067aa0ba902b7", sampled=True)


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "FLUSH_INTERVAL", 0.02)


def config(path: Path | None, **said: Any) -> Config:
    options = None if path is None else Options(file_path=str(path), format="json", **said)
    quiet = EntryPoint(address=":2", observability=Observability(access_logs=False))
    routers = {"shop": Router(service="carts"), "ping": Router(service="ping@internal")}
    return Config(
        entry_points={"web": EntryPoint(address=":1"), "quiet": quiet, "pg": EntryPoint(address=":3")},
        access_log=options,
        http=HttpSection(routers=routers),
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ({}, ["200", "404", "503", "slow", "retried"]),
        ({"status_codes": ["400-499", "503"]}, ["404", "503"]),
        ({"retry_attempts": True}, ["retried"]),
        ({"min_duration": 1.0}, ["slow"]),
        ({"min_duration": 1.0, "status_codes": ["404"], "retry_attempts": True}, ["404", "slow", "retried"]),
    ],
)
def test_any_filter_accepts(filters: dict[str, Any], told: list[str]) -> None:
    made = Filters.of(AccessLogFilters(**filters))
    cases = {"200": (0.1, 0, 200), "404": (1.0, 0, 404), "503": (0.1, 0, 503), "slow": (1.1, 0, 200),
             "retried": (0.1, 1, 200)}  # fmt: skip
    assert [name for name, case in cases.items() if made is None or made.accept(*case)] == told


@on_both_loops
async def test_who_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "log"
    access = AccessLog(asyncio.get_running_loop())
    access.adopt(config(path))
    assert access.on
    access.http(request())
    access.http(request(route=route("ping")))
    access.http(request(route=route("silent", Observability(access_logs=False))))
    access.http(request(route=None))
    access.tcp(connection())
    access.udp(flow())
    quiet = request(route=None)
    quiet.entry_point = "quiet"
    access.http(quiet)
    access.close()
    assert [line.get("RouterName") for line in lines(path)] == ["shop", None, "db", "dns"]
    assert [line["RequestCount"] for line in lines(path)[:2]] == [1, 4]


@on_both_loops
async def test_internal_services_are_told_of_where_that_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "log"
    access = AccessLog(asyncio.get_running_loop())
    access.adopt(config(path, add_internals=True))
    access.http(request(route=route("ping")))
    access.close()
    assert [line["RouterName"] for line in lines(path)] == ["ping"]


@on_both_loops
async def test_another_configuration(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    access = AccessLog(asyncio.get_running_loop())
    access.adopt(config(None))
    assert not access.on
    access.http(request())
    access.adopt(config(first))
    access.http(request(status=201))
    access.adopt(config(first, filters=AccessLogFilters(status_codes=["404"])))
    access.http(request(status=202))
    access.http(request(status=404))
    access.adopt(config(second))
    access.http(request(status=203))
    access.adopt(config(None))
    access.http(request(status=204))
    await until_async(lambda: len(lines(first)) == 2 and len(lines(second)) == 1)
    assert [line["DownstreamStatus"] for line in lines(first) + lines(second)] == [201, 404, 203]
    access.adopt(config(first))
    access.http(request(status=205))
    access.close()
    assert lines(first)[-1]["DownstreamStatus"] == 205
    assert not access.on


@on_both_loops
async def test_sampled_requests_become_spans(tmp_path: Path) -> None:
    told: list[tuple[list[Span], int]] = []
    access = AccessLog(asyncio.get_running_loop(), lambda spans, lost: told.append((spans, lost)))
    options = config(None)
    options.tracing = Tracing()
    access.adopt(options)
    assert access.on
    for trace, observed in (
        (TRACE, Observability()),
        (TRACE, Observability(tracing=False)),
        (TRACE._replace(sampled=False), Observability()),
        (None, Observability()),
    ):
        asked = head(pairs=((b"user-agent", b"curl/8"),))
        asked.mark(Marks(b"", b"", trace))
        access.http(request(head=asked, route=route("shop", observed)))
    access.http(request())
    access.http(request(head=None))
    access.close()
    [([span], lost)] = told
    assert lost == 0
    assert (span.trace_id, span.span_id, span.parent_id) == tuple(part.decode() for part in TRACE[:3])
    assert span.end - span.start == 12_500_000
    assert (span.method, span.target, span.user_agent) == ("GET", "/a?b=REDACTED", "curl/8")
    assert (span.router, span.service, span.server, span.status) == ("shop", "carts", "10.0.0.1:8080", 200)


@on_both_loops
async def test_spans_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlb.observe.spans.MAX_SPANS", 3)
    monkeypatch.setattr("streamlb.observe.spans.DISPATCH_INTERVAL", 0.01)
    told: list[tuple[list[Span], int]] = []
    access = AccessLog(asyncio.get_running_loop(), lambda spans, lost: told.append((spans, lost)))
    options = config(None)
    options.tracing = Tracing()
    access.adopt(options)
    asked = head()
    asked.mark(Marks(b"", b"", TRACE))
    for _ in range(5):
        access.http(request(head=asked))
    await until_async(lambda: told)
    assert (len(told[0][0]), told[0][1]) == (3, 2)
    access.close()
