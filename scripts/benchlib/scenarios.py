"""What is measured: one row per scenario, with the goal of the project's present stage.

A name begins with its family, by which the whole family can be chosen. To add a scenario, add a row; a new kind of
load goes to `load.py` or `load_http.py`, a new kind of traffic to `peers.py`.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchlib.load import Bulk, Connections, PingPong
from benchlib.load_http import Download, Requests, Upload, Wrk

if TYPE_CHECKING:
    from benchlib.load import Load

BROWSER = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: http://myapp.test.com/start",
    "Cookie: session=9f86d081884c7d659a2feaa0c55ad015; theme=dark; _ga=GA1.2.1234567890.1700000000",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-User: ?1",
    "Priority: u=0, i",
)


@dataclass(slots=True, frozen=True)
class Scenario:
    """kind: the traffic, for the peers' configuration. origin: who answers. unit and scale: what CPU is divided by.

    reference: the peer the ratio is to. goal: the largest ratio wanted; None where none is set yet.
    haproxy: further lines for HAProxy's `defaults`. secure: the proxy ends TLS 1.3; the origin never speaks it.
    logs: each request is a JSON object of much the same fields in a file.
    """

    title: str
    kind: str
    origin: str
    load: Load
    unit: str
    reference: str
    goal: float | None = None
    scale: float = 1e6
    cost_unit: str = "us"
    haproxy: tuple[str, ...] = ()
    secure: bool = False
    logs: bool = False

    @property
    def rate(self) -> str:
        """The unit of the throughput."""
        return f"{self.unit}/s" if self.unit.isupper() else f"{self.unit}s/s"


SPLICE = ("option splice-request", "option splice-response")
"""`splice-auto` decides against splicing these streams, and copies at twice the cost."""

SCENARIOS = {
    "http-get": Scenario("HTTP GET, keep-alive, 32 connections", "http", "http", Wrk(32), "request", "haproxy", 1.25),
    "http-browser": Scenario(
        "the same with a browser's header fields", "http", "http", Wrk(32, BROWSER), "request", "haproxy", 1.3
    ),
    "http-log": Scenario(
        "http-get with an access log in JSON", "http", "http", Wrk(32), "request", "haproxy", 1.25, logs=True
    ),
    "http-conn": Scenario(
        "HTTP connections of one request, 8 at once", "http", "http", Requests(8), "connection", "haproxy", 1.3
    ),
    "http-bulk-down": Scenario(
        "HTTP answers of 100 MB, one connection, HAProxy made to splice",
        "http",
        "bodies",
        Download(),
        "GB",
        "haproxy",
        0.7,
        1e3,
        "ms",
        haproxy=SPLICE,
    ),
    "http-bulk-up": Scenario(
        "HTTP requests of 100 MB, one connection, HAProxy made to splice",
        "http",
        "bodies",
        Upload(),
        "GB",
        "haproxy",
        0.7,
        1e3,
        "ms",
        haproxy=SPLICE,
    ),
    "tcp-small": Scenario(
        "TCP, 64-byte messages to and fro, 16 connections",
        "tcp",
        "echo",
        PingPong(socket.SOCK_STREAM, 16),
        "round trip",
        "haproxy",
        1.05,
    ),
    "tcp-bulk": Scenario(
        "TCP, one download, HAProxy made to splice",
        "tcp",
        "source",
        Bulk(),
        "GB",
        "haproxy",
        0.6,
        1e3,
        "ms",
        haproxy=SPLICE,
    ),
    "tcp-conn": Scenario(
        "TCP connections of one message, 8 at once", "tcp", "echo", Connections(8), "connection", "haproxy", 1.3
    ),
    "udp-small": Scenario(
        "UDP, 64-byte datagrams to and fro, 16 flows",
        "udp",
        "udp",
        PingPong(socket.SOCK_DGRAM, 16),
        "round trip",
        "nginx",
        1.0,
    ),
    "udp-flows": Scenario(
        "the same with 1,000 flows", "udp", "udp", PingPong(socket.SOCK_DGRAM, 1000), "round trip", "nginx", 1.0
    ),
    "tls-get": Scenario(
        "HTTPS GET, TLS 1.3, keep-alive, 32 connections",
        "http",
        "http",
        Wrk(32, secure=True),
        "request",
        "nginx",
        1.0,
        secure=True,
    ),
    "tls-conn": Scenario(
        "TLS 1.3 connections of one HTTPS request, none resumed, 8 at once",
        "http",
        "http",
        Requests(8, secure=True),
        "connection",
        "haproxy",
        1.1,
        secure=True,
    ),
    "tls-bulk": Scenario(
        "HTTPS answers of 100 MB, one connection",
        "http",
        "bodies",
        Download(secure=True),
        "GB",
        "haproxy",
        None,
        1e3,
        "ms",
        secure=True,
    ),
    "tls-tcp": Scenario(
        "TCP over TLS 1.3, 64-byte messages to and fro, 16 connections",
        "tcp",
        "echo",
        PingPong(socket.SOCK_STREAM, 16, secure=True),
        "round trip",
        "haproxy",
        secure=True,
    ),
}
FAMILIES = tuple(dict.fromkeys(name.partition("-")[0] for name in SCENARIOS))


def chosen(words: list[str]) -> list[str]:
    """The scenarios that names of scenarios and families mean, each once; `all` is every one."""
    return [name for name in SCENARIOS if {"all", name, name.partition("-")[0]} & set(words)]
