"""Metrics as those who watch see them: by curl, by promtool, and by a real Prometheus that the boards' queries are put
to."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
import urllib.parse
from contextlib import contextmanager
from signal import SIGKILL
from typing import TYPE_CHECKING, Any

from tests.support.http import Client, http_get
from tests.support.ports import free_port
from tests.support.programs import curl, need, running, running_streamlb, running_whoami
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.programs import Proxy, Whoami

CONFIG = """
entryPoints:
  web: {{address: "127.0.0.1:{web}"}}
  raw: {{address: "127.0.0.1:{raw}"}}
  metrics: {{address: "127.0.0.1:{metrics}"}}
workers: {workers}
metrics: {{prometheus: {{entryPoint: metrics, addRoutersLabels: true}}}}
http:
  routers:
    shop: {{rule: "PathPrefix(`/`)", service: shop, entryPoints: [web]}}
{more}
  services:
    shop: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{http}"}}]}}}}
tcp:
  routers:
    db: {{rule: "HostSNI(`*`)", service: db, entryPoints: [raw]}}
  services:
    db: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{tcp}"}}]}}}}
"""


class Scene:
    def __init__(self, proxy: Proxy, ports: dict[str, int], config: str) -> None:
        self.proxy = proxy
        self.ports = ports
        self.config = config

    def scrape(self, accept: str = "text/plain") -> str:
        done = curl("-H", f"Accept: {accept}", f"http://127.0.0.1:{self.ports['metrics']}/metrics")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def value(self, name: str, **labels: str) -> float:
        """The sum of all series of that name with these labels."""
        total = 0.0
        for line in self.scrape().splitlines():
            found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if (
                found
                and found[1] == name
                and all(f'{key}="{text}"' in (found[2] or "") for key, text in labels.items())
            ):
                total += float(found[3])
        return total

    def requests(self) -> float:
        return self.value("traefik_entrypoint_requests_total", entrypoint="web", code="200")


@contextmanager
def scene(workers: int = 1) -> Iterator[Scene]:
    ports = {name: free_port() for name in ("web", "raw", "metrics")}
    with running_whoami(tcp=True) as whoami:
        config = written(ports, whoami, workers)
        with running_streamlb(config) as proxy:
            yield Scene(proxy, {**ports, "http": whoami.http_port, "tcp": whoami.tcp_port}, config)


def written(ports: dict[str, int], whoami: Whoami, workers: int, more: str = "") -> str:
    return CONFIG.format(**ports, http=whoami.http_port, tcp=whoami.tcp_port, workers=workers, more=more)


def test_what_is_asked_and_moved_is_counted() -> None:
    with scene() as here:
        for _ in range(5):
            assert http_get(here.ports["web"]).status == 200
        with socket.create_connection(("127.0.0.1", here.ports["raw"]), 5) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            until(lambda: here.value("traefik_open_connections", entrypoint="raw") == 1)
        until(lambda: here.value("streamlb_tcp_received_bytes_total", service="db@file") == 18)
        assert here.requests() == 5
        assert here.value("traefik_service_requests_total", service="shop@file") == 5
        assert here.value("traefik_router_requests_total", router="shop@file", service="shop@file") == 5
        assert here.value("traefik_entrypoint_request_duration_seconds_count", entrypoint="web") == 5
        assert here.value("traefik_service_server_up", service="shop@file") == 1
        assert here.value("traefik_entrypoint_requests_total", entrypoint="metrics") == 0
        checked = subprocess.run(
            [need("promtool", "prometheus"), "check", "metrics"], input=here.scrape(), capture_output=True, text=True
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
        assert here.scrape("application/openmetrics-text; version=1.0.0").endswith("# EOF\n")


def test_counts_outlive_a_worker() -> None:
    with scene(workers=2) as here:
        for _ in range(20):
            assert http_get(here.ports["web"]).status == 200
        until(lambda: here.requests() == 20)
        idle = Client(here.ports["web"])
        with idle:
            until(lambda: here.value("traefik_open_connections", entrypoint="web") == 1)
            for worker in here.proxy.workers():
                os.kill(worker, SIGKILL)
                until(lambda: len(here.proxy.workers()) == 2 and here.value("streamlb_worker_up") == 2, 30)
        assert here.requests() == 20
        assert here.value("streamlb_worker_restarts_total") == 2
        assert here.value("traefik_open_connections", entrypoint="web") == 0
        assert http_get(here.ports["web"]).status == 200
        until(lambda: here.requests() == 21)


def test_what_is_removed_disappears_and_begins_anew(tmp_path: Path) -> None:
    ports = {name: free_port() for name in ("web", "raw", "metrics")}
    file = tmp_path / "lb.yaml"
    with running_whoami(tcp=True) as whoami:
        more = '    extra: {rule: "Path(`/extra`)", service: shop, entryPoints: [web], priority: 99}'
        with_it, without = written(ports, whoami, 1, more), written(ports, whoami, 1)
        file.write_text(with_it)
        with running_streamlb(file) as proxy:
            here = Scene(proxy, ports, with_it)
            for path in ("/extra", "/extra", "/"):
                assert http_get(ports["web"], path).status == 200
            until(lambda: here.value("traefik_router_requests_total", router="extra@file") == 2)
            reloads = here.value("traefik_config_reloads_total")
            file.write_text(without)
            proxy.ctl("reload")
            assert "extra@file" not in here.scrape()
            assert here.value("traefik_router_requests_total", router="shop@file") == 1
            assert here.value("traefik_config_reloads_total") > reloads
            file.write_text(with_it)
            proxy.ctl("reload")
            assert http_get(ports["web"], "/extra").status == 200
            until(lambda: here.value("traefik_router_requests_total", router="extra@file") == 1)
            file.write_text("entryPoints: [")
            proxy.ctl("reload", code=1)
            assert here.value("streamlb_config_failures_total") >= 1


BOARD = {
    "sum(traefik_entrypoint_requests_total) by (entrypoint)": 30.0,
    'sum(traefik_service_requests_total{code=~"2.."}) by (service)': 30.0,
    'count(traefik_config_reloads_total{job="streamlb"})': 1.0,
    'sum(traefik_entrypoint_request_duration_seconds_bucket{le="0.3",code="200"}) by (entrypoint)': 30.0,
    '(sum(traefik_entrypoint_request_duration_seconds_bucket{le="0.3",code="200"}) by (method) '
    '+ sum(traefik_entrypoint_request_duration_seconds_bucket{le="1.2",code="200"}) by (method)) / 2 '
    "/ sum(traefik_entrypoint_request_duration_seconds_count) by (method)": 1.0,
    'sum(traefik_open_connections{entrypoint="web"}) by (entrypoint)': 0.0,
    'min(traefik_service_server_up{service=~"shop.*"})': 1.0,
    "count(histogram_quantile(0.95, sum(traefik_service_request_duration_seconds_bucket) by (le, service)))": 1.0,
    "count(traefik_entrypoint_responses_bytes_total > 0)": 1.0,
}
"""What Traefik's own boards ask, with the rates taken out so that the answers are known."""


def test_a_real_prometheus_answers_the_boards(tmp_path: Path) -> None:
    prometheus, port = need("prometheus"), free_port()
    with scene() as here:
        for _ in range(30):
            assert http_get(here.ports["web"]).status == 200
        until(lambda: here.requests() == 30)
        config = tmp_path / "prometheus.yml"
        target = f'"127.0.0.1:{here.ports["metrics"]}"'
        config.write_text(
            "global: {scrape_interval: 1s}\n"
            f"scrape_configs: [{{job_name: streamlb, static_configs: [{{targets: [{target}]}}]}}]\n"
        )
        command = [
            prometheus,
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with running(command, name="prometheus"):
            until(lambda: answers(port, "up") == [1.0], 30)
            for query, value in BOARD.items():
                assert answers(port, query) == [value], query
            # Rates: what the boards show over time.
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                assert http_get(here.ports["web"]).status == 200
                rates = answers(port, "sum(rate(traefik_entrypoint_requests_total[10s])) by (entrypoint)")
                if rates and rates[0] > 0:
                    break
            assert rates[0] > 0


def answers(port: int, query: str) -> list[float]:
    """The values of an instant query; nothing while it is not ready."""
    done = curl("--fail", f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}")
    if done.returncode:
        return []
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["status"] == "success", said
    return [float(each["value"][1]) for each in said["data"]["result"]]
