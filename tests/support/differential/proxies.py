"""The same bytes through several proxies, each before an origin of its own, and what came of it.

What lives here: how streamlb, nginx and HAProxy are started with the same task, and `Proxy`, which says in one line
what the server and the client saw. What must not: the cases (`requests.py`, `bodies.py`, `answers.py`).
"""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.http import Reader, Recorder, ok
from tests.support.ports import free_port
from tests.support.programs import running, running_streamlb
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.http import Recorded, Script

NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
"""Sent behind each case on the same connection: whether it is served shows how the case was framed."""
SILENCE = 4.0
"""Seconds without an answer after which a proxy is taken to wait for more."""

STREAMLB = """
entryPoints: {{web: {{address: "127.0.0.1:{port}"}}}}
http:
  routers: {{all: {{rule: "PathPrefix(`/`) || Method(`OPTIONS`)", service: app}}}}
  services: {{app: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{origin}"}}]}}}}}}
"""
NGINX = """
worker_processes 1;
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream origin {{ server 127.0.0.1:{origin}; keepalive 8; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
    }}
}}
"""
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 10s
    timeout server 10s
    option forwardfor
frontend in
    bind 127.0.0.1:{port}
    http-request del-header X-Forwarded-For
    default_backend origin
backend origin
    server one 127.0.0.1:{origin}
"""


@dataclass(slots=True, frozen=True)
class Proxy:
    """A running proxy and what it leads to."""

    port: int
    origin: Recorder

    def request(self, data: bytes, show: Sequence[str] = ()) -> str:
        """What the server saw, then what the client got: `GET /a => 200`, or `=> 400, closed`.

        closed: the next request on the connection was not served. Host is told where it is not `a`, and the
        server's own address as SERVER.
        show: fields of the request to tell, if the server got them.
        """
        before = len(self.origin.requests)
        statuses = _statuses(_exchange(self.port, data + NEXT))
        seen = self.origin.requests[before:]
        is_next = bool(seen) and len(seen) == len(statuses) and seen[-1].raw.startswith(b"GET /next ")
        if is_next:
            seen, statuses = seen[:-1], statuses[:-1]
        server = " + ".join(_told(each, show) for each in seen)
        client = " ".join(statuses) or "nothing"
        told = f"{server} => {client}".lstrip() + ("" if is_next else ", closed")
        return told.replace(f"127.0.0.1:{self.origin.port}", "SERVER")

    def answer(self, script: Script, method: str = "POST", show: Sequence[str] = ()) -> str:
        """What the client got of an answer: `200 hello`, `502`, `cut, closed`.

        cut: the end is missing, visibly. closed: the client's connection was. confused: the next request was answered
        with something else than its answer. The request is a POST, which nobody repeats.
        show: fields of the answer to tell.
        """
        self.origin.answers[:] = [script]
        with socket.create_connection(("127.0.0.1", self.port), SILENCE) as sock:
            reader = Reader(sock)
            length = b"Content-Length: 0\r\n" if method == "POST" else b""
            sock.sendall(b"%b /x HTTP/1.1\r\nHost: a\r\n%b\r\n" % (method.encode(), length))
            words = _received(reader, method.encode(), show)
            self.origin.answers.clear()
            with contextlib.suppress(OSError):
                sock.sendall(NEXT)
                following = _received(reader, b"GET", ())
                if following != "nothing":
                    return words if following == "200 ok\n" else f"{words}, confused: {following}"
        return f"{words}, closed"


def _received(reader: Reader, method: bytes, show: Sequence[str]) -> str:
    words: list[str] = []
    while True:
        try:
            message = reader.message(method=method, is_answer=True)
        except (OSError, AssertionError):
            return " ".join([*words, "cut"])
        except (IndexError, ValueError):
            return " ".join([*words, "garbage"])
        if message is None:
            return " ".join(words) or "nothing"
        status = message.start_line.partition(b" ")[2].partition(b" ")[0].decode("latin-1")
        words.append(status)
        if not status.startswith("1") or status == "101":
            body = message.body.decode("latin-1")
            words += [body] if status < "400" and body else []
            words += [f"{name}={value.decode('latin-1')}" for name in show for value in message.values(name)]
            return " ".join(words)


def _answer(request: Recorded) -> bytes:
    return ok(b"") if request.method == "HEAD" else ok()


def _told(request: Recorded, show: Sequence[str]) -> str:
    words = [request.method, request.start_line.split()[1].decode("latin-1")]
    if len(words[1]) > 100:
        words[1] = f"{words[1][:10]}..."
    hosts = b",".join(request.values("host"))
    if hosts != b"a":
        words.append(f"Host={hosts.decode('latin-1')}")
    if request.body:
        words.append(f"body={request.body.decode('latin-1')}")
    for name in show:
        words += [f"{name}={value.decode('latin-1')}" for value in request.values(name)]
    return " ".join(words)


def _statuses(answer: bytes) -> list[str]:
    found = re.findall(rb"^HTTP/1\.[01] ([0-9]{3})", answer, re.MULTILINE)
    return [status.decode() for status in found if not status.startswith(b"1")]


def _exchange(port: int, data: bytes) -> bytes:
    received = []
    with socket.create_connection(("127.0.0.1", port), SILENCE) as sock, contextlib.suppress(OSError):
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
        while piece := sock.recv(65536):
            received.append(piece)
    return b"".join(received)


# --- starting them -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def streamlb() -> Iterator[Proxy]:
    port = free_port()
    with Recorder(_answer) as origin, running_streamlb(STREAMLB.format(port=port, origin=origin.port)):
        yield Proxy(port, origin)


@contextlib.contextmanager
def nginx(path: str) -> Iterator[Proxy]:
    with tempfile.TemporaryDirectory(prefix="streamlb-nginx-") as name:
        port, folder = free_port(), Path(name)
        config = folder / "nginx.conf"
        with Recorder(_answer) as origin:
            config.write_text(NGINX.format(port=port, origin=origin.port, folder=folder))
            with running([path, "-e", folder / "error.log", "-c", config]):
                _await_port(port)
                yield Proxy(port, origin)


@contextlib.contextmanager
def haproxy(path: str) -> Iterator[Proxy]:
    with tempfile.TemporaryDirectory(prefix="streamlb-haproxy-") as name:
        port, config = free_port(), Path(name) / "haproxy.cfg"
        with Recorder(_answer) as origin:
            config.write_text(HAPROXY.format(port=port, origin=origin.port))
            with running([path, "-db", "-f", config]):
                _await_port(port)
                yield Proxy(port, origin)


def version_of(command: Sequence[str]) -> str:
    """What a program says of its version: `1.22.1`."""
    said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    found = re.search(r"[0-9]+\.[0-9]+(?:\.[0-9]+)?", said.stdout + said.stderr)
    return found[0] if found else ""


def _await_port(port: int) -> None:
    def listens() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    until(listens, 10, "the proxy listens")
