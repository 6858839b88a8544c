"""Every example in conf/ is run and answers as its first lines promise.

Only the ports are changed, so that the examples may run beside whatever already uses theirs.
"""

from __future__ import annotations

import re
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.support.http import Client
from tests.support.ports import free_port
from tests.support.programs import ROOT, curl, running_streamlb, running_whoami

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVERS = {"8081": "http", "8082": "http", "9081": "tcp", "9082": "tcp"}
ALWAYS_V1 = {"failover.yaml", "mirror.yaml", "kubernetes-mirror.yaml"}
OTHERS = {"tls.yaml", "passthrough.yaml", "proxy-protocol.yaml", "files.yaml"}
"""Those whose entry points want more than a request; each has a test of its own."""
CONFS = sorted(path.name for path in (ROOT / "conf").glob("*.yaml") if path.name not in OTHERS)


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """The ports in the examples, and the ones that stand for them here."""
    with running_whoami("v1", text="v1", tcp=True, udp=True) as v1:
        with running_whoami("v2", text="v2", tcp=True, udp=True) as v2:
            yield {
                "8081": v1.http_port,
                "8082": v2.http_port,
                "9081": v1.tcp_port,
                "9082": v2.tcp_port,
                "9081/udp": v1.udp_port,
                "9082/udp": v2.udp_port,
            }


def moved(name: str, ports: dict[str, int]) -> tuple[str, dict[str, int]]:
    """The example with its ports replaced, and the entry points' new ports."""
    text = (ROOT / "conf" / name).read_text().replace("paths: [kubernetes", f"paths: [{ROOT}/conf/kubernetes")
    entries = {"8000": free_port(), "8443": free_port(), "9000": free_port("both")}
    udp_at = re.search(r"^udp:", text, re.MULTILINE)
    end_of_tcp = udp_at.start() if udp_at else len(text)

    def new_port(match: re.Match[str]) -> str:
        port = match[1]
        if port in entries:
            return f"127.0.0.1:{entries[port]}"
        return f"127.0.0.1:{ports[f'{port}/udp' if match.start() > end_of_tcp else port]}"

    return re.sub(r"127\.0\.0\.1:(\d+)", new_port, text), entries


@pytest.mark.parametrize("name", CONFS)
def test_the_example_runs(name: str, ports: dict[str, int]) -> None:
    text, entries = moved(name, ports)
    with running_streamlb(text):
        if "web:" in text:
            with Client(entries["8000"]) as client:
                answers = [client.request(host="myapp.test.com").text for _ in range(6)]
            if name == "hashing.yaml":
                assert len(set(answers)) == 1
            else:
                assert answers == (["v1\n"] * 6 if name in ALWAYS_V1 else ["v1\n", "v2\n", "v2\n"] * 2)
        if re.search(r"^tcp:", text, re.MULTILINE):
            with socket.create_connection(("127.0.0.1", entries["9000"]), 5) as sock:
                sock.sendall(b"hello\n")
                assert sock.recv(100) == b"v1: hello\n"
        if re.search(r"^udp:", text, re.MULTILINE):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(5)
                sock.sendto(b"hello", ("127.0.0.1", entries["9000"]))
                assert sock.recv(100) == b"v1: hello"


def test_https_with_a_certificate_of_our_own(ports: dict[str, int]) -> None:
    text, entries = moved("tls.yaml", ports)
    with running_streamlb(text):
        assert curl("-kL", f"http://127.0.0.1:{entries['8000']}/").stdout == "v1\n"
        assert curl("-k", f"https://127.0.0.1:{entries['8443']}/").stdout == "v1\n"


def test_what_is_not_passed_through_ends_here(ports: dict[str, int]) -> None:
    text, entries = moved("passthrough.yaml", ports)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with running_streamlb(text), socket.create_connection(("127.0.0.1", entries["9000"]), 5) as raw:
        with context.wrap_socket(raw, server_hostname="other.example.com") as sock:
            sock.sendall(b"hello\n")
            assert sock.recv(100) == b"v1: hello\n"


def test_behind_another_proxy(ports: dict[str, int]) -> None:
    text, entries = moved("proxy-protocol.yaml", ports)
    with running_streamlb(text):
        for more in ((), ("--haproxy-protocol",)):
            assert curl(*more, f"http://127.0.0.1:{entries['8000']}/").stdout == "v1\n"


def test_the_sticky_examples_accept_the_cookies_of_the_tutorial(ports: dict[str, int]) -> None:
    for name in ("sticky.yaml", "kubernetes-sticky.yaml"):
        text, entries = moved(name, ports)
        with running_streamlb(text), Client(entries["8000"]) as client:
            for child, version in (("default-myapp2-80", "v2\n"), ("default-myapp1-80", "v1\n")):
                cookie = [("Cookie", f"lvl1={child}")]
                assert [client.request(host="myapp.test.com", headers=cookie).text for _ in range(2)] == [version] * 2
