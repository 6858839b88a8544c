"""The proxies that are compared: how each is configured and started for a kind of traffic, with one thread.

What lives here: `PEERS`. All do the same work: HTTP peers add X-Forwarded-For, as streamlb always does.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchlib.programs import certificate, find, nginx_stream_module

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchlib.scenarios import Scenario

HAPROXY = """\
global
    nbthread 1
    maxconn 4000
    {log}
defaults
    mode {mode}
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    {options}
frontend in
    bind 127.0.0.1:{port}{secure}{capture}
    default_backend origin
backend origin
    server one 127.0.0.1:{origin}
"""
HAPROXY_OPTIONS = {
    "http": ("http-reuse always", "option forwardfor"),
    "tcp": ("option splice-auto",),
}
HAPROXY_LOG = (
    "log global",
    """log-format '{"StartUTC":"%T","Duration":%Ta,"OriginDuration":%Tr,"entryPointName":"%ft","RouterName":"%f",\
"ServiceName":"%b","ServiceURL":"http://%si:%sp","ServiceAddr":"%si:%sp","ClientAddr":"%ci:%cp","ClientHost":"%ci",\
"ClientPort":"%cp","RequestAddr":"%[capture.req.hdr(0)]","RequestMethod":"%HM","RequestPath":"%HU",\
"RequestProtocol":"%HV","RequestContentSize":%U,"RequestCount":%rt,"DownstreamStatus":%ST,\
"DownstreamContentSize":%B,"RetryAttempts":%rc,"RouteReason":"%ts"}'""".replace("\\\n", ""),
)
"""To stdout, which is a file: what HAProxy writes there costs it less than a datagram to a syslog daemon would."""
HAPROXY_CAPTURE = "\n    http-request capture req.hdr(host) len 64"
HAPROXY_SECURE = " ssl crt {certificate} ssl-min-ver TLSv1.3"

NGINX = """\
{load}
worker_processes 1;
daemon off;
master_process off;
pid {folder}/nginx-{port}.pid;
error_log {folder}/nginx-{port}-error.log;
events {{ worker_connections 16384; }}
{block}
"""
NGINX_BLOCKS = {
    "http": """\
http {{
    {log}
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream origin {{ server 127.0.0.1:{origin}; keepalive 300; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port}{ssl};
        {secure}
        client_max_body_size 0;
        proxy_request_buffering off;
        proxy_max_temp_file_size 0;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}""",
    "tcp": """\
stream {{
    server {{
        listen 127.0.0.1:{port}{ssl};
        {secure}
        proxy_pass 127.0.0.1:{origin};
        tcp_nodelay on;
    }}
}}""",
    "udp": """\
stream {{
    server {{
        listen 127.0.0.1:{port} udp rcvbuf=4m;
        proxy_pass 127.0.0.1:{origin};
        proxy_timeout 3s;
    }}
}}""",
}
NGINX_SECURE = """\
ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        ssl_protocols TLSv1.3;"""
NGINX_LOG = """\
log_format told escape=json '{"StartUTC":"$time_iso8601","Duration":$request_time,'
        '"OriginDuration":"$upstream_response_time","entryPointName":"$server_port","RouterName":"$server_name",'
        '"ServiceName":"$proxy_host","ServiceAddr":"$upstream_addr","ClientAddr":"$remote_addr:$remote_port",'
        '"ClientHost":"$remote_addr","ClientPort":"$remote_port","RequestAddr":"$http_host","RequestHost":"$host",'
        '"RequestMethod":"$request_method","RequestPath":"$request_uri","RequestProtocol":"$server_protocol",'
        '"RequestScheme":"$scheme","RequestContentSize":"$content_length","RequestCount":$connection_requests,'
        '"OriginStatus":"$upstream_status","DownstreamStatus":$status,"DownstreamContentSize":$body_bytes_sent}';
    access_log %s/access.log told buffer=64k flush=1s;"""
NGINX_ORIGIN = """\
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/origin-body;
    proxy_temp_path {folder}/origin-proxy;
    fastcgi_temp_path {folder}/origin-fastcgi;
    uwsgi_temp_path {folder}/origin-uwsgi;
    scgi_temp_path {folder}/origin-scgi;
    server {{ listen 127.0.0.1:{port}; location / {{ return 200 "Hello MyApp | Version: v1\\n"; }} }}
}}"""

STREAMLB = {
    "http": """\
entryPoints: {{in: {{address: "127.0.0.1:{port}"}}}}
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: origin{secure}}}}}
  services: {{origin: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{origin}"}}]}}}}}}
""",
    "tcp": """\
entryPoints: {{in: {{address: "127.0.0.1:{port}"}}}}
tcp:
  routers: {{all: {{rule: "HostSNI(`*`)", service: origin{secure}}}}}
  services: {{origin: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{origin}"}}]}}}}}}
""",
    "udp": """\
entryPoints: {{in: {{address: "127.0.0.1:{port}/udp"}}}}
udp:
  routers: {{all: {{service: origin}}}}
  services: {{origin: {{loadBalancer: {{servers: [{{address: "127.0.0.1:{origin}"}}]}}}}}}
""",
}
STREAMLB_LOG = 'accessLog: {{filePath: "{file}", format: json}}\n'
STREAMLB_SECURE = """\
tls:
  options: {{default: {{minVersion: VersionTLS13}}}}
  stores: {{default: {{defaultCertificate: {{certFile: "{certificate}", keyFile: "{key}"}}}}}}
"""


@dataclass(slots=True, frozen=True)
class Peer:
    """A proxy.

    command: from the scenario, the scratch folder, its own port and the origin's. missing: the packages it lacks.
    """

    name: str
    kinds: frozenset[str]
    command: Callable[[Scenario, Path, int, int], list[str]]
    missing: Callable[[str], str]


def _write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def _haproxy(scenario: Scenario, folder: Path, port: int, origin: int) -> list[str]:
    logged = HAPROXY_LOG if scenario.logs else ()
    options = "\n    ".join(HAPROXY_OPTIONS[scenario.kind] + scenario.haproxy + logged)
    secure = HAPROXY_SECURE.format(certificate=certificate(folder)) if scenario.secure else ""
    log, capture = ("log stdout format raw daemon", HAPROXY_CAPTURE) if scenario.logs else ("", "")
    text = HAPROXY.format(
        mode=scenario.kind, options=options, port=port, origin=origin, secure=secure, log=log, capture=capture
    )
    return [find("haproxy") or "haproxy", "-db", "-f", _write(folder / f"haproxy-{port}.cfg", text)]


def _nginx(scenario: Scenario, folder: Path, port: int, origin: int) -> list[str]:
    secure = NGINX_SECURE.format(certificate=certificate(folder)) if scenario.secure else ""
    log = NGINX_LOG % folder if scenario.logs else "access_log off;"
    marks = {"port": port, "origin": origin, "ssl": " ssl" if secure else "", "secure": secure, "log": log}
    return _run_nginx(NGINX_BLOCKS[scenario.kind].format(folder=folder, **marks), folder, port)


def nginx_origin(folder: Path, port: int) -> list[str]:
    """nginx as the HTTP origin: a small body, kept connections."""
    return _run_nginx(NGINX_ORIGIN.format(folder=folder, port=port), folder, port)


def _run_nginx(block: str, folder: Path, port: int) -> list[str]:
    module = nginx_stream_module()
    load = f"load_module {module};" if module is not None and block.startswith("stream") else ""
    text = NGINX.format(load=load, folder=folder, port=port, block=block)
    error_log = str(folder / f"nginx-{port}-error.log")
    return [find("nginx") or "nginx", "-e", error_log, "-c", _write(folder / f"nginx-{port}.conf", text)]


def whoami_origin(port: int) -> list[str]:
    """The HTTP origin where there is no nginx."""
    return [sys.executable, "-m", "streamlb", "whoami", "--quiet", "--listen", f"127.0.0.1:{port}", "--name", "v1"]


def _streamlb(scenario: Scenario, folder: Path, port: int, origin: int) -> list[str]:
    text = STREAMLB[scenario.kind].format(port=port, origin=origin, secure=", tls: {}" if scenario.secure else "")
    if scenario.secure:
        pair = certificate(folder)
        text += STREAMLB_SECURE.format(certificate=pair.with_suffix(".crt"), key=pair.with_suffix(".key"))
    if scenario.logs:
        text += STREAMLB_LOG.format(file=folder / "streamlb-access.log")
    return [sys.executable, "-m", "streamlb", "run", _write(folder / f"streamlb-{port}.yaml", text)]


def _nginx_missing(kind: str) -> str:
    if find("nginx") is None:
        return "nginx" if kind == "http" else "nginx libnginx-mod-stream"
    return "libnginx-mod-stream" if kind != "http" and nginx_stream_module() is None else ""


PEERS = {
    peer.name: peer
    for peer in (
        Peer("haproxy", frozenset({"http", "tcp"}), _haproxy, lambda _: "" if find("haproxy") else "haproxy"),
        Peer(
            "nginx",
            frozenset({"http", "tcp", "udp"}),
            _nginx,
            _nginx_missing,
        ),
        Peer("streamlb", frozenset({"http", "tcp", "udp"}), _streamlb, lambda _: ""),
    )
}
"""In the order in which they take their turns."""
