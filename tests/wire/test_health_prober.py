"""The prober: all servers at the same time, verdicts as they change, each in one line with its reason."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import pytest

from streamlb.config.model import Config, HealthCheck, HttpSection, LoadBalancer, Server, Service
from streamlb.health import prober as module
from streamlb.health.prober import Prober
from tests.support.engine import url
from tests.support.http import After, ok, recording
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.ports import free_port
from tests.support.until import until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streamlb.health.checks import Key

BAD = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"


class Heard:
    """A prober over the HTTP service `app`, and what it says."""

    def __init__(self, *ports: int, **options: Any) -> None:
        self.changes: list[tuple[str, bool]] = []
        self.back: list[tuple[int, str]] = []
        self.prober = Prober(self._on_change, self._on_back)
        self.load(*ports, **options)

    def load(self, *ports: int, **options: Any) -> None:
        options = {"path": "/health", "interval": 0.05, "timeout": 5.0, **options}
        balancer = LoadBalancer(servers=[Server(url=url(port)) for port in ports], health_check=HealthCheck(**options))
        self.prober.load(Config(http=HttpSection(services={"app": Service(load_balancer=balancer)})))

    def _on_change(self, key: Key, up: bool) -> None:
        self.changes.append((key[2], up))

    def _on_back(self, worker: int, key: Key) -> None:
        self.back.append((worker, key[2]))

    def standing(self, port: int) -> module.Standing:
        return self.prober.standings["http", "app", url(port)]


@contextlib.asynccontextmanager
async def probing(*ports: int, **options: Any) -> AsyncIterator[Heard]:
    async with no_descriptor_leak():
        heard = Heard(*ports, **options)
        try:
            yield heard
        finally:
            heard.prober.stop()
            await asyncio.sleep(0)


@on_both_loops
async def test_a_change_is_one_line_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with recording() as one, recording() as two:
        async with probing(one.port, two.port) as heard:
            await until_async(lambda: len(one.requests) > 1)
            assert heard.changes == []
            assert heard.prober.down() == []
            one.answer = BAD
            await until_async(lambda: heard.changes == [(url(one.port), False)])
            assert heard.prober.down() == [("http", "app", url(one.port))]
            standing = heard.standing(one.port)
            assert (standing.up, standing.reason) == (False, "GET /health: 503")
            assert standing.changed_at is not None
            two.answer = [After.RESET]
            await until_async(lambda: len(heard.changes) == 2)
            seen = len(one.requests)
            await until_async(lambda: len(one.requests) > seen + 2)
            assert standing.checked_at is not None
            assert standing.checked_at > standing.changed_at
            one.answer = ok()
            await until_async(lambda: len(heard.changes) == 3)
    assert [record.getMessage() for record in caplog.records] == [
        f"service app: server {url(one.port)} is down: GET /health: 503 (1 of 2 servers up)",
        f"service app: server {url(two.port)} is down: GET /health: connection reset (0 of 2 servers up)",
        f"service app: server {url(one.port)} is up: GET /health: 200 (1 of 2 servers up)",
    ]
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR", "INFO"]


@on_both_loops
async def test_rise_and_fall() -> None:
    with recording() as origin:
        origin.answers = [ok(), BAD, BAD, ok(), BAD, BAD, BAD, ok(), BAD, ok(), ok()]
        async with probing(origin.port, rise=2, fall=3) as heard:
            at: list[int] = []
            while len(at) < 2:
                await until_async(lambda: len(heard.changes) > len(at))
                at.append(heard.standing(origin.port).begun)
            assert heard.changes == [(url(origin.port), False), (url(origin.port), True)]
            assert at == [7, 11]


@on_both_loops
async def test_one_stalled_server_delays_nobody_and_only_itself() -> None:
    with recording([After.HANG]) as stalled, recording() as good, recording(BAD) as bad:
        async with probing(stalled.port, good.port, bad.port, timeout=0.6) as heard:
            await until_async(lambda: len(good.requests) > 5)
            assert heard.changes == [(url(bad.port), False)]
            assert len(stalled.requests) == 1
            await until_async(lambda: len(heard.changes) == 2)
            assert heard.standing(stalled.port).reason == "timeout after 0.6 s"


@on_both_loops
async def test_an_unhealthy_server_has_an_interval_of_its_own() -> None:
    with recording(BAD) as origin:
        async with probing(origin.port, interval=0.05, unhealthy_interval=30.0) as heard:
            await until_async(lambda: heard.changes)
            await asyncio.sleep(0.3)
            assert len(origin.requests) == 1


@pytest.mark.parametrize("state", ["up", "down", "probe"])
@on_both_loops
async def test_initial_states(state: str) -> None:
    with recording(ok()) as good, recording(BAD) as bad:
        async with probing(good.port, bad.port, rise=2, fall=2, initial_state=state) as heard:
            before = {key[2] for key in heard.prober.down()}
            await heard.prober.first_verdicts()
            if state == "up":
                assert before == set()
                await until_async(lambda: heard.changes)
                assert heard.changes == [(url(bad.port), False)]
                assert heard.standing(bad.port).begun == 2
                return
            assert before == {url(good.port), url(bad.port)}
            await until_async(lambda: heard.changes)
            assert heard.changes == [(url(good.port), True)]
            if state == "probe":
                # One result each was waited for, and it was enough.
                assert heard.standing(bad.port).reason == "GET /health: 503"
                assert heard.standing(good.port).checked_at == heard.standing(good.port).changed_at


@on_both_loops
async def test_the_first_verdicts_are_waited_for_one_timeout_at_most() -> None:
    with recording([After.HANG]) as stalled, recording() as good:
        async with probing(stalled.port, good.port, initial_state="probe", timeout=0.3) as heard:
            await asyncio.wait_for(heard.prober.first_verdicts(), 0.6)
            assert heard.changes == [(url(good.port), True)]
            assert heard.prober.down() == [("http", "app", url(stalled.port))]


@on_both_loops
async def test_what_a_worker_took_out_comes_back_after_good_probes_begun_since() -> None:
    with recording() as origin:
        async with probing(origin.port, rise=2) as heard:
            await until_async(lambda: origin.requests)
            origin.answer = [0.15, ok()]  # One probe is under way when the worker speaks.
            standing = heard.standing(origin.port)
            count = len(origin.requests)
            await until_async(lambda: len(origin.requests) > count)
            begun = standing.begun
            heard.prober.on_ejected(1, ("http", "app", url(origin.port)))
            await until_async(lambda: heard.back)
            assert heard.back == [(1, url(origin.port))]
            assert standing.begun - begun in (2, 3)
            assert standing.waiting == {}
            heard.prober.on_ejected(0, ("http", "app", url(origin.port)))
            heard.prober.forget(0)
            heard.prober.on_ejected(0, ("http", "app", "unknown"))
            assert standing.waiting == {}
            assert heard.changes == []


@on_both_loops
async def test_a_shortage_of_ours_changes_no_verdict(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_more(*_args: object) -> Any:
        raise OSError(24, "Too many open files")

    port = free_port()
    monkeypatch.setattr("streamlb.net.dial.socket.socket", no_more)
    async with probing(port) as heard:
        await until_async(lambda: heard.standing(port).begun > 3)
        assert heard.changes == []
    monkeypatch.undo()
    [record] = caplog.records
    assert "cannot be checked" in record.getMessage()
    assert "Too many open files" in record.getMessage()


@on_both_loops
async def test_probes_under_way_at_once_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = [0.1, ok()]
    with recording(answer) as one, recording(answer) as two, recording(answer) as three:
        for limit, least, most in ((1, 0.3, 5.0), (3, 0.1, 0.29)):
            monkeypatch.setattr(module, "MAX_PROBES", limit)
            async with probing(one.port, two.port, three.port, interval=10.0, initial_state="probe") as heard:
                started_at = asyncio.get_running_loop().time()
                await heard.prober.first_verdicts()
                assert least <= asyncio.get_running_loop().time() - started_at <= most


@on_both_loops
async def test_a_new_configuration_keeps_what_is_known() -> None:
    with recording() as good, recording(BAD) as bad, recording() as other:
        async with probing(good.port, bad.port) as heard:
            await until_async(lambda: heard.changes and good.requests)
            kept, changed = heard.standing(bad.port), heard.standing(good.port)
            heard.load(bad.port, other.port)
            assert heard.standing(bad.port) is kept
            assert heard.prober.down() == [("http", "app", url(bad.port))]
            seen = len(good.requests)
            await until_async(lambda: len(other.requests) > 3)
            assert len(good.requests) <= seen + 1
            # Other options, the same verdict: an interval passes before anybody would say anything else.
            heard.load(bad.port, other.port, interval=60.0, initial_state="probe")
            assert heard.prober.down() == [("http", "app", url(bad.port))]
            await asyncio.wait_for(heard.prober.first_verdicts(), 1)
            assert heard.standing(bad.port) is not kept
            assert (heard.standing(bad.port).reason, changed.up) == ("GET /health: 503", True)
            heard.load()
            assert heard.prober.standings == {}
            assert heard.changes == [(url(bad.port), False)]


def test_a_configuration_without_checks_costs_nothing() -> None:
    async def look() -> None:
        prober = Prober(lambda _key, _up: None, lambda _worker, _key: None)
        prober.load(Config())
        await prober.first_verdicts()
        assert prober.standings == {}
        assert len(asyncio.all_tasks()) == 1
        prober.stop()

    asyncio.run(look())
