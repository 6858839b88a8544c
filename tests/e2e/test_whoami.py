"""`streamlb whoami` as a user starts it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess

from tests.support.http import http_get
from tests.support.programs import ROOT, STREAMLB, curl, running, running_whoami
from tests.support.until import until

TEXT = 'Hello MyApp | Version: v1 | <a href="hostname.html">Pod Name</a>'


def test_one_process_answers_over_http_tcp_and_udp() -> None:
    with running_whoami("v1", tcp=True, udp=True) as whoami:
        answer = curl("-H", "X-Test: 1", f"http://127.0.0.1:{whoami.http_port}/path?a=b").stdout
        assert answer.startswith("Name: v1\nHostname: ")
        assert "\nGET /path?a=b HTTP/1.1\n" in answer
        assert "\nX-Test: 1\n" in answer

        with socket.create_connection(("127.0.0.1", whoami.tcp_port), 5) as tcp:
            tcp.sendall(b"hello\n")
            tcp.shutdown(socket.SHUT_WR)
            assert tcp.makefile("rb").read() == b"v1: hello\n"

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(5)
            udp.sendto(b"hello", ("127.0.0.1", whoami.udp_port))
            assert udp.recv(100) == b"v1: hello"

        log = until(lambda: whoami.log() if "udp" in whoami.log().splitlines()[-1] else "")
        assert "GET /path?a=b 0 bytes" in log
        assert "closed after 6 bytes" in log
        assert whoami.stop(signal.SIGINT) == 0


def test_the_tutorial_s_text() -> None:
    with running_whoami("v1", text=TEXT) as whoami:
        assert curl(f"http://127.0.0.1:{whoami.http_port}/").stdout == TEXT + "\n"
        facts = json.loads(curl("-d", "body", f"http://127.0.0.1:{whoami.http_port}/api").stdout)
        assert (facts["name"], facts["method"], facts["bodyLength"]) == ("v1", "POST", 4)


def test_quiet_prints_no_requests() -> None:
    command = [*STREAMLB, "whoami", "--quiet", "--name", "v1", "--listen", "127.0.0.1:0"]
    with running(command, name="whoami") as whoami:
        whoami.wait_for("ready")
        port = int(whoami.wait_for("listening").rpartition(":")[2])
        assert http_get(port).status == 200
        assert whoami.stop() == 0
        assert "GET" not in whoami.log()


def test_an_address_in_use_is_one_line_and_exit_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = whoami_once("--listen", address)
    assert done.returncode == 1
    assert done.stderr == f"whoami: cannot listen on http {address}: the address is already in use\n"


def test_a_wrong_address_is_wrong_usage() -> None:
    done = whoami_once("--listen", "127.0.0.1:http")
    assert done.returncode == 2
    assert "'127.0.0.1:http' is not host:port" in done.stderr


def whoami_once(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*STREAMLB, "whoami", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=ROOT, check=False)
