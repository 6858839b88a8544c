"""Servers behind https, as a user sets them up: certificates in files, the check, a real nginx.

The story: a service whose servers want TLS, and what the operator is told when a certificate is not right.
"""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import authority, local_pair, secure_recording
from tests.support.configs import entry_point
from tests.support.http import Client, http_get
from tests.support.ports import free_port
from tests.support.programs import ROOT, STREAMLB, curl, need, running, running_streamlb
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.certificates import Pair


def config(address: str, url: str, transport: str, service: str = "serversTransport: internal") -> str:
    return f"""
entryPoints: {{web: {{address: "{address}"}}}}
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: app}}}}
  services:
    app: {{loadBalancer: {{{service}, servers: [{{url: "{url}"}}]}}}}
  serversTransports:
    internal: {{{transport}}}
"""


@contextlib.contextmanager
def running_nginx(folder: Path, pair: Pair) -> Iterator[int]:
    """An nginx that answers `nginx` over TLS."""
    port = free_port()
    path = folder / "nginx.conf"
    path.write_text(
        f"""
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port} ssl; server_name localhost; keepalive_timeout 60s;
    ssl_protocols TLSv1.3; ssl_certificate {pair.certificate}; ssl_certificate_key {pair.key};
    location / {{ return 200 "$ssl_protocol $ssl_server_name $connection_requests\\n"; }}
  }}
}}
"""
    )
    with running([need("nginx"), "-e", folder / "error.log", "-c", path], name="nginx"):
        until(lambda: curl("-k", f"https://127.0.0.1:{port}/").returncode == 0, 10, "nginx listens")
        yield port


def test_nginx_over_tls_with_a_ca_of_one_s_own_and_kept_connections(tmp_path: Path) -> None:
    port, address = entry_point()
    ca = authority().pair.certificate
    with running_nginx(tmp_path, local_pair()) as server:
        text = config(address, f"https://localhost:{server}", f'rootCAs: ["{ca}"]')
        with running_streamlb(text), Client(port) as client:
            answers = [client.request().text for _ in range(3)]
    assert answers == ["TLSv1.3 localhost 1\n", "TLSv1.3 localhost 2\n", "TLSv1.3 localhost 3\n"]


def test_the_root_s_transport_serves_those_who_name_none() -> None:
    port, address = entry_point()
    with secure_recording() as origin:
        text = config(address, f"https://127.0.0.1:{origin.port}", "", "passHostHeader: false")
        text += f'serversTransport: {{rootCAs: ["{authority().pair.certificate}"]}}\n'
        text = text.replace("  serversTransports:\n    internal: {}\n", "")
        with running_streamlb(text):
            assert http_get(port).status == 200
    assert origin.requests[0].value("Host") == f"127.0.0.1:{origin.port}".encode()


def test_a_certificate_that_is_not_right_is_502_and_a_line_that_says_why() -> None:
    port, address = entry_point()
    with secure_recording(authority().self_signed("localhost")) as origin:
        url = f"https://localhost:{origin.port}"
        with running_streamlb(config(address, url, "maxIdleConnsPerHost: 10")) as proxy:
            assert http_get(port).status == 502
            line = proxy.wait_for("certificate verify failed")
            assert f"service app: server {url}: certificate verify failed: self-signed certificate" in line


def test_workers_have_the_certificates_too_when_the_files_are_gone(tmp_path: Path) -> None:
    port, address = entry_point()
    ca = tmp_path / "ca.pem"
    ca.write_text(authority().pair.text)
    with secure_recording() as origin:
        text = "workers: 2\n" + config(address, f"https://localhost:{origin.port}", f'rootCAs: ["{ca}"]')
        with running_streamlb(text) as proxy:
            ca.unlink()
            [victim, _] = before = proxy.workers()
            subprocess.run(["kill", "-9", str(victim)], check=True)
            until(lambda: len(proxy.workers()) == 2 and proxy.workers() != before, 10, "the worker is replaced")
            until(lambda: proxy.log().count("is ready") == 3, 10, "the new worker is ready")
            assert {http_get(port).status for _ in range(10)} == {200}


@pytest.mark.parametrize(
    ("transport", "reason"),
    [
        ("rootCAs: [{ca}.not]", "cannot read `{ca}.not`: No such file or directory"),
        ("rootCAs: [{key}]", "this is no certificate that can be read"),
        ("certificates: [{certFile: {ca}, keyFile: {key}}]", "this key is not the certificate's"),
    ],
)
def test_check_finds_what_is_wrong_with_the_files(transport: str, reason: str, tmp_path: Path) -> None:
    places = {"{ca}": str(authority().pair.certificate), "{key}": str(local_pair().key)}
    for mark, place in places.items():
        transport, reason = transport.replace(mark, place), reason.replace(mark, place)
    path = tmp_path / "lb.yaml"
    path.write_text(config("127.0.0.1:8000", "https://localhost", transport))
    done = subprocess.run([*STREAMLB, "check", path], capture_output=True, text=True, cwd=ROOT, timeout=20, check=False)
    assert done.returncode == 1
    assert f"{path}:8:" in done.stdout + done.stderr
    assert reason in done.stdout + done.stderr
