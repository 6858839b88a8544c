"""Logs as an operator has them: rotated under load, on full disks, in pipes, after a reload, at the end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.certificates import authority
from tests.support.http import Client, http_get, raw_http, recording
from tests.support.load import constant_load
from tests.support.ports import free_port
from tests.support.programs import STREAMLB, need, running, running_streamlb, running_whoami
from tests.support.reloading import live, plain
from tests.support.tls import trusting
from tests.support.until import until
from tests.wire.test_otlp import Collector

if TYPE_CHECKING:
    from pathlib import Path


def lines(*paths: Path) -> list[dict[str, Any]]:
    """Every line is an object, and ends with its newline."""
    text = "".join(path.read_text() for path in paths if path.exists())
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def logged(port: int, origin: int, path: Path | str, *, workers: int = 1, **options: Any) -> dict[str, Any]:
    tree = plain(port, origin, workers=workers)
    tree["accessLog"] = {"filePath": str(path), "format": "json", **options}
    return tree


def test_logrotate_under_load_loses_no_line_and_doubles_none(tmp_path: Path) -> None:
    logrotate = need("logrotate")
    folder, port = tmp_path / "logs", free_port()
    access, programme = folder / "access.log", folder / "streamlb.log"
    folder.mkdir(mode=0o755)
    with running_whoami("v1", text="v1") as origin:
        tree = logged(port, origin.http_port, access, workers=2)
        tree["log"] = {"format": "common", "filePath": str(programme)}
        (tmp_path / "lb.yaml").write_text(json.dumps(tree))
        with running_streamlb(tmp_path / "lb.yaml", wait=False) as proxy:
            until(lambda: programme.exists() and "ready in" in programme.read_text(), 20)
            conf = tmp_path / "logrotate.conf"
            conf.write_text(
                f"{folder}/*.log {{\n  rotate 9\n  missingok\n  sharedscripts\n  size 1\n"
                f"  postrotate\n    kill -USR1 {proxy.pid}\n  endscript\n}}\n"
            )
            conf.chmod(0o600)
            with constant_load(port, fresh=2, kept=2) as load:
                for number in range(1, 4):
                    load.await_more(200)
                    until(lambda: access.stat().st_size > 0)
                    command = [logrotate, "--force", "--state", str(tmp_path / "state"), str(conf)]
                    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
                    assert done.returncode == 0, done.stderr
                    until(lambda: access.exists() and access.stat().st_size > 0)
                    assert (folder / f"access.log.{number}").stat().st_size > 0
                load.await_more(200)
                load.stop()
                assert load.failed == 0, str(load)
            assert proxy.stop() == 0
            found = lines(access, *folder.glob("access.log.*"))
            assert len(found) == load.answered
            assert {line["DownstreamStatus"] for line in found} == {200}
            clients = [line["ClientAddr"] for line in found]
            assert len(set(clients)) == load.connections
            assert "stopped" in programme.read_text()
            assert "SIGUSR1" in programme.read_text() + (folder / "streamlb.log.1").read_text()
            assert proxy.log() == ""


def test_what_became_of_each(tmp_path: Path) -> None:
    web, raw, dns, path = free_port(), free_port(), free_port("udp"), tmp_path / "access.log"
    with running_whoami("v1", text="v1", tcp=True, udp=True) as origin:
        tree = logged(web, origin.http_port, path)
        tree["entryPoints"]["raw"] = {"address": f"127.0.0.1:{raw}"}
        tree["entryPoints"]["dns"] = {"address": f"127.0.0.1:{dns}/udp", "udp": {"timeout": "200ms"}}
        tree["http"]["routers"]["all"] = {"rule": "Path(`/app`)", "service": "app", "entryPoints": ["web"]}
        for protocol, port in (("tcp", origin.tcp_port), ("udp", origin.udp_port)):
            balancer = {"loadBalancer": {"servers": [{"address": f"127.0.0.1:{port}"}]}}
            rule = {"rule": "HostSNI(`*`)", "entryPoints": ["raw"]} if protocol == "tcp" else {}
            tree[protocol] = {"routers": {protocol: {"service": "s", **rule}}, "services": {"s": balancer}}
        with running_streamlb(json.dumps(tree)) as proxy:
            http_get(web, "/app?x=1")
            http_get(web, "/other")
            raw_http(web, b"nonsense \x1b[31m\r\n\r\n")
            with socket.create_connection(("127.0.0.1", raw)) as sock:
                sock.sendall(b"hello\n")
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(100):
                    pass
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"hello", ("127.0.0.1", dns))
                sock.settimeout(5)
                assert sock.recv(100)
            until(lambda: len(lines(path)) == 5, what="five lines")
            assert proxy.stop() == 0
    good, unrouted, bad, tcp, udp = lines(path)
    assert (good["RouterName"], good["ServiceName"], good["DownstreamStatus"]) == ("all", "app", 200)
    assert good["ServiceURL"] == f"http://127.0.0.1:{origin.http_port}"
    assert good["RequestPath"] == "/app?x=1"
    assert good["Duration"] > good["OriginDuration"] > 0
    assert good["DownstreamContentSize"] == good["OriginContentSize"] == 3
    assert (unrouted["DownstreamStatus"], unrouted["RouteReason"]) == (404, "no router matches")
    assert "OriginStatus" not in unrouted
    assert bad["DownstreamStatus"] == 400
    assert "\x1b" not in path.read_text()
    assert (tcp["Protocol"], tcp["BytesReceived"], tcp["BytesSent"], tcp["End"]) == ("tcp", 6, 10, "closed")
    assert (udp["Protocol"], udp["BytesReceived"], udp["BytesSent"], udp["End"]) == ("udp", 5, 9, "idle")


def test_a_killed_worker_loses_what_it_had_not_written_and_nothing_else(tmp_path: Path) -> None:
    port, path = free_port(), tmp_path / "access.log"
    with (
        running_whoami("v1", text="v1") as origin,
        running_streamlb(json.dumps(logged(port, origin.http_port, path))) as proxy,
    ):
        http_get(port)
        until(lambda: len(lines(path)) == 1)
        [worker] = proxy.workers()
        os.kill(worker, signal.SIGKILL)
        until(lambda: proxy.workers() not in ([], [worker]))
        assert http_get(port).status == 200
        assert proxy.stop() == 0
    assert len(lines(path)) == 2


def test_a_full_disk_and_a_closed_stdout_harm_no_request(tmp_path: Path) -> None:
    port, path = free_port(), tmp_path / "access.log"
    path.symlink_to("/dev/full")
    with running_whoami("v1", text="v1") as origin:
        with live(logged(port, origin.http_port, path)) as streamlb:
            for _ in range(20):
                assert http_get(port).status == 200
            streamlb.proxy.wait_for("No space left on device")
            path.unlink()
            streamlb.proxy.signal(signal.SIGUSR1)
            until(lambda: len(lines(path)) == 20)
            assert streamlb.proxy.log().count("No space left on device") == 1
            assert streamlb.proxy.stop() == 0
        tree = json.dumps(logged(port, origin.http_port, ""))
        (tmp_path / "lb.yaml").write_text(tree)
        command = f"exec {' '.join(STREAMLB)} run {tmp_path}/lb.yaml >&-"
        with running(["sh", "-c", command], name="closed") as closed:
            closed.wait_for("ready in")
            with Client(port) as client:
                assert [client.request().status for _ in range(20)] == [200] * 20
            assert closed.stop() == 0


def test_a_reload_changes_what_is_told(tmp_path: Path) -> None:
    port, first, second = free_port(), tmp_path / "first.log", tmp_path / "second.log"
    with running_whoami("v1", text="v1") as origin, live(logged(port, origin.http_port, first)) as streamlb:
        with Client(port) as client:
            client.request()
            streamlb.tree["accessLog"] = {"filePath": str(second), "format": "genericCLF"}
            streamlb.reload()
            client.request("/clf")
            streamlb.tree["http"]["routers"]["all"]["observability"] = {"accessLogs": False}
            streamlb.reload()
            client.request("/silent")
            del streamlb.tree["accessLog"]
            streamlb.reload()
            client.request("/off")
        streamlb.tree["accessLog"] = {"filePath": str(tmp_path)}
        refused = streamlb.reload(ok=False)
        assert any(f"accessLog.filePath: {tmp_path} cannot be written: Is a directory" in line for line in refused)
        assert streamlb.proxy.stop() == 0
    assert len(lines(first)) == 1
    assert re.fullmatch(r'127\.0\.0\.1 - - \[.*\] "GET /clf HTTP/1\.1" 200 3 "-" "-"\n', second.read_text())


@pytest.mark.parametrize("option", ["log", "accessLog"])
def test_a_log_that_cannot_be_written_is_known_at_the_start(option: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tree = plain(free_port(), 1)
    tree[option] = {"filePath": str(tmp_path / "file" / "x.log")}
    with running_streamlb(json.dumps(tree), wait=False) as proxy:
        assert proxy.wait() == 1
        assert f"{option}.filePath: {tmp_path}/file/x.log cannot be written: Not a directory" in proxy.log()
        assert "Traceback" not in proxy.log()


def test_numbers_and_traces_are_the_same_everywhere(tmp_path: Path) -> None:
    port, path, collector = free_port(), tmp_path / "access.log", Collector()
    with recording() as origin:
        tree = logged(port, origin.port, path)
        tree["entryPoints"]["web"]["http"] = {"requestId": "X-Request-Id"}
        endpoint = f"http://127.0.0.1:{collector.port}/v1/traces"
        tree["tracing"] = {"serviceName": "edge", "otlp": {"http": {"endpoint": endpoint}}}
        with running_streamlb(json.dumps(tree)) as proxy:
            http_get(port, "/a?secret=1")
            assert proxy.stop() == 0
    collector.close()
    [asked], [line], [span] = origin.requests, lines(path), collector.spans
    assert asked.values("x-request-id") == [line["RequestId"].encode()]
    [context] = asked.values("traceparent")
    assert context == f"00-{line['trace_id']}-{line['span_id']}-01".encode()
    assert (span["traceId"], span["spanId"]) == (line["trace_id"], line["span_id"])
    assert int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"]) == line["Duration"]
    attributes = {each["key"]: each["value"] for each in span["attributes"]}
    assert attributes["url.query"] == {"stringValue": "secret=REDACTED"}


def test_tls_and_who_the_client_is(tmp_path: Path) -> None:
    port, path, clients = free_port(), tmp_path / "access.log", authority("clients")
    pair, shown = authority().certificate("a.test"), clients.certificate("c")
    with recording() as origin:
        tree = logged(port, origin.port, path)
        tree["http"]["routers"]["all"]["tls"] = {}
        known = {
            "clientAuth": {"caFiles": [str(clients.pair.certificate)], "clientAuthType": "VerifyClientCertIfGiven"}
        }
        certificate = {"certFile": str(pair.certificate), "keyFile": str(pair.key)}
        tree["tls"] = {"options": {"default": known}, "certificates": [certificate]}
        with running_streamlb(json.dumps(tree)) as proxy:
            for context in (trusting(shown=shown), trusting()):
                with Client(port) as client:
                    client.secure(context, "a.test")
                    assert client.request(host="a.test").status == 200
            assert proxy.stop() == 0
    known_line, other = lines(path)
    assert (known_line["TLSVersion"], known_line["RequestScheme"]) == ("1.3", "https")
    assert known_line["TLSCipher"].startswith("TLS_")
    assert known_line["TLSClientSubject"].startswith("CN=")
    assert "TLSClientSubject" not in other
