"""`/ping` and `streamlb healthcheck`, as a load balancer in front of streamlb and a container see them."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import local_pair
from tests.support.http import Client, http_get, recording
from tests.support.load import constant_load
from tests.support.ports import free_port
from tests.support.programs import STREAMLB, running_streamlb
from tests.support.until import until

if TYPE_CHECKING:
    from pathlib import Path


def config(web: int, internal: int, origin: int = 1, *, ping: str = "{}", more: str = "") -> str:
    return f"""
entryPoints:
  web: {{address: "127.0.0.1:{web}", transport: {{lifeCycle: {{requestAcceptGraceTimeout: 3s}}}}}}
  traefik: {{address: "127.0.0.1:{internal}", transport: {{lifeCycle: {{requestAcceptGraceTimeout: 3s}}}}}}
ping: {ping}
{more}
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: app}}}}
  services: {{app: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{origin}"}}]}}}}}}
"""


def asked(*args: object) -> subprocess.CompletedProcess[str]:
    command = [*STREAMLB, "healthcheck", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_ping_fails_first_and_no_request_does(tmp_path: Path) -> None:
    """During `requestAcceptGraceTimeout` whoever balances over several streamlbs sees that this one is leaving."""
    web, internal = free_port(), free_port()
    path = tmp_path / "lb.yaml"
    with recording() as origin:
        path.write_text(config(web, internal, origin.port, ping="{terminatingStatusCode: 418}"))
        with running_streamlb(path) as proxy, constant_load(web) as load, Client(internal) as kept:
            assert http_get(internal, "/ping").text == "OK"
            assert kept.request("/ping", method="HEAD").status == 200
            assert http_get(internal).status == 404, "routers without entry points do not join the internal one"
            assert asked(path).stdout == f"OK: http://127.0.0.1:{internal}/ping\n"
            load.await_more(20)
            proxy.signal(signal.SIGTERM)
            until(lambda: http_get(internal, "/ping").status == 418, 5)
            told = asked("--url", f"http://127.0.0.1:{internal}/ping")
            assert (told.returncode, told.stdout) == (1, "")
            assert "418 I'm a Teapot" in told.stderr
            assert kept.request("/ping").status == 418
            load.await_more(20)
            load.stop()
            assert load.failed == 0, load
            assert proxy.wait() == 0


def test_ping_beside_others_and_over_tls(tmp_path: Path) -> None:
    web = free_port()
    pair = local_pair()
    more = f"tls: {{certificates: [{{certFile: '{pair.certificate}', keyFile: '{pair.key}'}}]}}"
    text = config(web, free_port(), ping="{entryPoint: web}", more=more)
    text = text.replace("requestAcceptGraceTimeout: 3s}}", "requestAcceptGraceTimeout: 0}}, http: {tls: {}}", 1)
    path = tmp_path / "lb.yaml"
    path.write_text(text)
    with running_streamlb(path):
        told = asked(path)
        assert told.stdout == f"OK: https://127.0.0.1:{web}/ping\n", told.stderr


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--url", "nonsense"], 1, "'nonsense' is not a URL: write http://HOST:PORT/ping"),
        (["--url", "http://127.0.0.1:99999/"], 1, "is not a URL"),
        (["/nowhere.yaml"], 1, "/nowhere.yaml"),
        (["--url", "http://a", "x.yaml"], 2, "no configuration is needed"),
        (["--wrong"], 2, "No such option"),
    ],
)
def test_wrong_questions(args: list[str], code: int, said: str) -> None:
    told = asked(*args)
    assert told.returncode == code
    assert said in told.stderr
    assert "Traceback" not in told.stderr


def test_nobody_answers(tmp_path: Path) -> None:
    port = free_port()
    told = asked("--url", f"http://127.0.0.1:{port}/ping")
    assert told.returncode == 1
    assert "Connection refused" in told.stderr
    path = tmp_path / "lb.yaml"
    path.write_text(config(port, free_port()).replace("ping: {}", ""))
    assert "add `ping: {}`" in asked(path).stderr
    path.write_text(config(port, free_port(), ping="{manualRouting: true}"))
    assert "say --url" in asked(path).stderr
