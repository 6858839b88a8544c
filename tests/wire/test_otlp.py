"""Spans reach a collector, a slow or broken one harms nobody, and the message is what OTLP says."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from streamlb.config.observation import Otlp, OtlpHttp, Tracing
from streamlb.observe.spans import Span
from streamlb.process import otlp
from streamlb.process.otlp import Exporter, Traces, render
from tests.support.ports import free_port
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator

SPAN = Span(
    trace_id="0af7651916cd43dd8448eb211c80319c",
    span_id="b7ad6b7169203331",
    parent_id="00f067aa0ba902b7",
    start=1_790_000_000_000_000_000,
    end=1_790_000_000_012_500_000,
    entry_point="web",
    router="shop",
    service="carts",
    server="10.0.0.1:8080",
    client="192.0.2.7",
    method="GET",
    scheme="http",
    host="shop.example.com:8443",
    target="/a?b=REDACTED",
    minor=1,
    user_agent="curl/8",
    status=200,
    reason="",
)


class Collector:
    """answers: the statuses of the next answers, then 200. got: paths, fields and bodies."""

    def __init__(self, port: int = 0) -> None:
        self.answers: list[int] = []
        self.got: list[tuple[str, dict[str, str], Any]] = []
        outer = self

        class Desk(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = outer.answers.pop(0) if outer.answers else 200
                outer.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Desk)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def spans(self) -> list[dict[str, Any]]:
        return [span for _, _, body in self.got for span in body["resourceSpans"][0]["scopeSpans"][0]["spans"]]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "RETRY_INTERVALS", (0.02,))


def options(port: int, **headers: str) -> Tracing:
    endpoint = f"http://127.0.0.1:{port}/v1/traces"
    return Tracing(service_name="edge", otlp=Otlp(http=OtlpHttp(endpoint=endpoint, headers=headers)))


def test_the_message() -> None:
    told = json.loads(render([SPAN], "edge"))["resourceSpans"][0]
    resource = {each["key"]: each["value"] for each in told["resource"]["attributes"]}
    assert resource["service.name"] == {"stringValue": "edge"}
    [span] = told["scopeSpans"][0]["spans"]
    assert (span["traceId"], span["spanId"], span["parentSpanId"]) == (
        SPAN.trace_id,
        SPAN.span_id,
        SPAN.parent_id,
    )
    assert (span["kind"], span["name"], span["status"]) == (2, "GET shop", {})
    assert (span["startTimeUnixNano"], span["endTimeUnixNano"]) == ("1790000000000000000", "1790000000012500000")
    attributes = {each["key"]: each["value"] for each in span["attributes"]}
    assert attributes["http.request.method"] == {"stringValue": "GET"}
    assert attributes["http.response.status_code"] == {"intValue": "200"}
    assert attributes["url.path"] == {"stringValue": "/a"}
    assert attributes["url.query"] == {"stringValue": "b=REDACTED"}
    assert attributes["server.port"] == {"intValue": "8443"}
    assert attributes["traefik.router.name"] == {"stringValue": "shop"}
    assert "streamlb.reason" not in attributes


def test_spans_reach_the_collector(collector: Collector) -> None:
    exporter = Exporter(options(collector.port, Authorization="Bearer x"))
    exporter.add([SPAN] * 3)
    until(lambda: exporter.exported == 3)
    exporter.add([SPAN])
    exporter.close(5.0)
    assert (exporter.exported, exporter.lost) == (4, 0)
    assert len(collector.spans) == 4
    path, fields, _ = collector.got[0]
    assert path == "/v1/traces"
    assert (fields["content-type"], fields["authorization"]) == ("application/json", "Bearer x")


def test_a_collector_that_is_not_there_yet(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    exporter = Exporter(options(port))
    exporter.add([SPAN])
    until(lambda: "takes none" in caplog.text)
    collector = Collector(port)
    until(lambda: exporter.exported == 1)
    exporter.close(5.0)
    collector.close()
    assert caplog.text.count("takes none") == 1


def test_later_is_later_and_no_is_no(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    collector.answers = [503, 429, 200, 400]
    exporter = Exporter(options(collector.port))
    exporter.add([SPAN])
    until(lambda: exporter.exported == 1)
    exporter.add([SPAN, SPAN])
    until(lambda: exporter.lost == 2)
    exporter.add([SPAN])
    until(lambda: exporter.exported == 2)
    exporter.close(5.0)
    assert "it answers 503" in caplog.text
    assert "it answers 400" in caplog.text


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "MAX_WAITING", 10)
    exporter = Exporter(options(free_port()))
    for _ in range(50):
        exporter.add([SPAN], lost=1)
    exporter.close(5.0)
    assert not exporter._thread.is_alive()
    assert exporter.exported == 0
    assert exporter.lost >= 90


def test_another_configuration(collector: Collector) -> None:
    traces = Traces()
    traces.add([SPAN], 0)
    traces.adopt(options(collector.port))
    traces.add([SPAN], 0)
    traces.adopt(options(collector.port))
    until(lambda: len(collector.spans) == 1)
    traces.adopt(None)
    traces.add([SPAN], 0)
    traces.close()
    assert len(collector.spans) == 1
