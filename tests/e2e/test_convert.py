"""Moving here: a configuration that nginx or HAProxy runs is converted, and the same requests go the same ways.

The story: somebody has one of them in production, converts its file, reads what was left out, starts streamlb beside it
and compares.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.certificates import local_pair
from tests.support.foreign import HAPROXY, HAPROXY_REQUESTS, NGINX, NGINX_REQUESTS, Request, placed
from tests.support.http import Client
from tests.support.programs import STREAMLB, need, running, running_streamlb, running_whoami
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Side(NamedTuple):
    """Where the entry points of one proxy are, by the port in the sample."""

    ports: dict[str, int]


class Pair(NamedTuple):
    """A foreign proxy and streamlb with the same servers, and what `convert` said of it."""

    theirs: Side
    ours: Side
    told: str


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, int]]:
    with contextlib.ExitStack() as stack:
        one, two, three = (
            stack.enter_context(running_whoami(name, text=name, tcp=True, udp=True)) for name in ("v1", "v2", "v3")
        )
        yield {
            "8081": one.http_port,
            "8082": two.http_port,
            "9081": one.tcp_port,
            "9082": two.tcp_port,
            "9083": three.udp_port,
        }


def converted(kind: str, text: str, folder: Path) -> tuple[str, str]:
    """The YAML for a foreign configuration, and what was told about it; it is valid."""
    (folder / "theirs.conf").write_text(text)
    out = folder / "ours.yaml"
    done = subprocess.run(
        [*STREAMLB, "convert", kind, str(folder / "theirs.conf"), "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out.read_text(), done.stderr


def words(folder: Path) -> dict[str, str]:
    pair = local_pair()
    combined = folder / "combined.pem"
    combined.write_text(pair.certificate.read_text() + pair.key.read_text())
    return {
        "FOLDER": str(folder),
        "CERTIFICATE": str(pair.certificate),
        "KEY": str(pair.key),
        "COMBINED": str(combined),
    }


@contextlib.contextmanager
def side_by_side(kind: str, sample: str, servers: dict[str, int], folder: Path) -> Iterator[Pair]:
    theirs, ours = dict(servers), dict(servers)
    foreign = placed(sample, theirs, words(folder))
    yaml, told = converted(kind, placed(sample, ours, words(folder)), folder)
    path = folder / "foreign.conf"
    path.write_text(foreign)
    if kind == "nginx":
        modules = "/usr/lib/nginx/modules/ngx_stream_module.so"
        command = [need("nginx"), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(path)]
        path.write_text(f"load_module {modules};\n{foreign}")
        check = [*command, "-t"]
    else:
        command = [need("haproxy"), "-db", "-f", str(path)]
        check = [need("haproxy"), "-c", "-f", str(path)]
    checked = subprocess.run(check, capture_output=True, text=True, timeout=30, check=False)
    assert checked.returncode == 0, checked.stderr + checked.stdout
    with running(command), running_streamlb(yaml):
        for port in ("8000", "8001", "8443", "9000", "9001"):
            until(lambda port=port: accepts(theirs[port]), 10, f"{kind} listens")  # type: ignore[misc]
        yield Pair(Side(theirs), Side(ours), told)


def accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.fixture(scope="module")
def nginx(servers: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with side_by_side("nginx", NGINX, servers, tmp_path_factory.mktemp("nginx")) as pair:
        yield pair


@pytest.fixture(scope="module")
def haproxy(servers: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with side_by_side("haproxy", HAPROXY, servers, tmp_path_factory.mktemp("haproxy")) as pair:
        yield pair


def who_answers(side: Side, request: Request) -> str:
    with Client(side.ports["8000"]) as client:
        reply = client.request(request.target, host=request.host, method=request.method, headers=request.headers)
    name = re.search(r'^(?:.*"name": ")?(v\d)\b', reply.text, re.DOTALL)
    return f"{reply.status} {name[1] if name else ''}"


@pytest.mark.parametrize("request_", NGINX_REQUESTS, ids=str)
def test_nginx_requests(nginx: Pair, request_: Request) -> None:
    theirs = who_answers(nginx.theirs, request_)
    assert theirs.startswith("200 v")
    assert who_answers(nginx.ours, request_) == theirs


@pytest.mark.parametrize("request_", HAPROXY_REQUESTS, ids=str)
def test_haproxy_requests(haproxy: Pair, request_: Request) -> None:
    theirs = who_answers(haproxy.theirs, request_)
    assert theirs.startswith("200 v")
    assert who_answers(haproxy.ours, request_) == theirs


def test_what_nobody_takes_is_not_found(nginx: Pair) -> None:
    for side in (nginx.theirs, nginx.ours):
        assert who_answers(side, Request("/", "x.wild.test")).startswith("40")


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_to_https(kind: str, request: pytest.FixtureRequest) -> None:
    pair: Pair = request.getfixturevalue(kind)
    for side in (pair.theirs, pair.ours):
        with Client(side.ports["8001"]) as client:
            reply = client.request("/a?b=c", host="plain.test")
        location = next(value for name, value in reply.headers if name.lower() == b"location").decode()
        assert reply.status == 301
        assert re.fullmatch(r"https://plain\.test(:\d+)?/a\?b=c", location)


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_over_tls(kind: str, request: pytest.FixtureRequest) -> None:
    pair: Pair = request.getfixturevalue(kind)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    shown = set()
    for side in (pair.theirs, pair.ours):
        with (
            socket.create_connection(("127.0.0.1", side.ports["8443"]), 5) as raw,
            context.wrap_socket(raw, server_hostname="secure.test") as sock,
        ):
            shown.add(sock.getpeercert(binary_form=True))
            sock.sendall(b"GET / HTTP/1.1\r\nHost: secure.test\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda sock=sock: sock.recv(4096), b""))  # type: ignore[misc]
        assert b"200" in answer.splitlines()[0]
        assert b"v2" in answer
    assert len(shown) == 1


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_tcp(kind: str, request: pytest.FixtureRequest) -> None:
    pair: Pair = request.getfixturevalue(kind)
    for side in (pair.theirs, pair.ours):
        with socket.create_connection(("127.0.0.1", side.ports["9000"]), 5) as sock:
            sock.sendall(b"hello\n")
            assert sock.recv(100) == b"v1: hello\n"


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_tls_is_passed_on_by_its_name(kind: str, request: pytest.FixtureRequest) -> None:
    """The servers echo the ClientHello with their names in front, so one sees where it went."""
    pair: Pair = request.getfixturevalue(kind)
    for side in (pair.theirs, pair.ours):
        for name, server in (("a.test", b"v1: \x16\x03\x01"), ("b.test", b"v2: \x16\x03\x01")):
            hello = client_hello(name)
            with socket.create_connection(("127.0.0.1", side.ports["9001"]), 5) as sock:
                sock.sendall(hello + b"\n")
                assert sock.recv(10_000).startswith(server)


def client_hello(name: str) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


def test_udp(nginx: Pair) -> None:
    for side in (nginx.theirs, nginx.ours):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.sendto(b"hello", ("127.0.0.1", side.ports["9002"]))
            assert sock.recv(100) == b"v3: hello"


def test_what_was_left_is_told(nginx: Pair, haproxy: Pair) -> None:
    for line in ("worker_processes 1;", "location /stripped/ {", "down;", "events {", "keepalive 4;"):
        assert line in nginx.told
    for line in ("maxconn 256", "server a2 127.0.0.1:1 disabled", "http-response set-header"):
        assert line in haproxy.told


def streamlb(*args: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [*STREAMLB, "convert", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=30, check=False)
    assert "Traceback" not in done.stderr
    return done


def test_from_stdin_to_stdout() -> None:
    done = streamlb("nginx", "-", stdin="server { listen 80; location / { proxy_pass http://127.0.0.1:1; } }")
    assert done.returncode == 0
    assert 'url: "http://127.0.0.1:1"' in done.stdout


def test_what_cannot_be_read(tmp_path: Path) -> None:
    done = streamlb("nginx", "-", stdin="server {\n listen 80\n}")
    assert (done.returncode, done.stderr) == (1, "Error: -:3: a `;` is missing before this `}`\n")
    assert streamlb("haproxy", "-", stdin="bind :80").returncode == 1
    assert streamlb("haproxy", tmp_path / "missing").returncode == 1
    assert streamlb("haproxy", tmp_path).returncode == 1
    assert streamlb("apache", "-").returncode == 2


def test_a_result_that_is_not_valid_here_is_told() -> None:
    certificate = "ssl_certificate /no/a.pem; ssl_certificate_key /no/a.key;"
    text = f"server {{ listen 443 ssl; {certificate} location / {{ proxy_pass http://a; }} }}"
    done = streamlb("nginx", "-", stdin=text)
    assert done.returncode == 1
    assert "The result is not valid here:" in done.stderr
    assert "cannot read `/no/a.pem`" in done.stderr
    assert "certFile" in done.stdout


def test_nothing_to_carry_over_is_told() -> None:
    done = streamlb("haproxy", "-", stdin="global\n daemon\n")
    assert done.returncode == 1
    assert "nothing is listened on" in done.stderr
    assert "line 2: daemon" in done.stderr
    assert done.stdout == ""
