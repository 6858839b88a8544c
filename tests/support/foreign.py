"""Configurations of nginx and HAProxy, as people write them, for `streamlb convert`.

What lives here: one of each with ports that `placed` moves, and the requests that show who gets what.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.support.ports import free_port

NGINX = r"""
worker_processes 1;
pid FOLDER/nginx.pid;
error_log FOLDER/error.log;
daemon off;
events { worker_connections 64; }

http {
    access_log off;
    client_body_temp_path FOLDER; proxy_temp_path FOLDER; fastcgi_temp_path FOLDER;
    uwsgi_temp_path FOLDER; scgi_temp_path FOLDER;
    keepalive_timeout 75s;
    proxy_set_header Host $host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_http_version 1.1;

    upstream a { server 127.0.0.1:8081 max_fails=2 fail_timeout=5s; keepalive 4; }
    upstream b { least_conn; server 127.0.0.1:8082 weight=3; server 127.0.0.1:8081 backup; server 127.0.0.1:1 down; }
    upstream gone { server 127.0.0.1:1; server 127.0.0.1:8082 backup; }
    split_clients "$remote_addr" $variant { 0.01% a; * b; }

    server {                                    # the default: hosts that nobody names
        listen 127.0.0.1:8000 default_server;
        server_name _;
        location / { proxy_pass http://a; proxy_connect_timeout 2s; proxy_read_timeout 30s; }
    }
    server {
        listen 127.0.0.1:8000;
        server_name shop.test www.shop.test;
        location / { proxy_pass http://a; }
        location /api { proxy_pass http://b; }
        location /api/old { proxy_pass http://a; }
        location = /api/exact { proxy_pass http://a; }
        location ^~ /api/static/ { proxy_pass http://a; }
        location ~* \.(png|jpe?g)$ { proxy_pass http://b; }
        location /kept/ { proxy_pass http://b/kept/; }
        location /variant { proxy_pass http://$variant; }
        location /spare { proxy_pass http://gone; }
        location /stripped/ { proxy_pass http://b/; }
        location /copied { mirror /copy; proxy_pass http://a; }
        location = /copy { internal; proxy_pass http://b$request_uri; }
    }
    server {
        listen 127.0.0.1:8000;
        server_name *.wild.test;
        location /only { proxy_pass http://b; }
    }
    server {
        listen 127.0.0.1:8000;
        server_name one.wild.test;
        location / { proxy_pass http://b; }
    }
    server {
        listen 127.0.0.1:8000;
        server_name ~^v\d+\.regex\.test$;
        location / { proxy_pass http://b; }
    }
    server {
        listen 127.0.0.1:8001;
        server_name plain.test;
        return 301 https://$host$request_uri;
    }
    server {
        listen 127.0.0.1:8443 ssl;
        server_name secure.test;
        ssl_certificate CERTIFICATE;
        ssl_certificate_key KEY;
        ssl_protocols TLSv1.3;
        location / { proxy_pass http://b; }
    }
}

stream {
    upstream echo { server 127.0.0.1:9081; server 127.0.0.1:9082 backup; }
    map $ssl_preread_server_name $by_name { a.test 127.0.0.1:9081; default 127.0.0.1:9082; }
    server { listen 127.0.0.1:9000; proxy_pass echo; proxy_timeout 1m; proxy_connect_timeout 1s; }
    server { listen 127.0.0.1:9001; ssl_preread on; proxy_pass $by_name; }
    server { listen 127.0.0.1:9002 udp; proxy_pass 127.0.0.1:9083; proxy_timeout 2s; }
}
"""

HAPROXY = r"""
global
    maxconn 256
    log /dev/null local0

defaults
    mode http
    option forwardfor
    timeout connect 2s
    timeout client  30s
    timeout server  30000
    timeout http-request 10s

frontend www
    bind 127.0.0.1:8000
    acl is_api path_beg /api /v2
    acl is_api hdr(host) -i api.shop.test
    acl is_post method POST
    acl local src 127.0.0.0/8
    use_backend b if is_api !is_post
    use_backend b if { path_end -i .png .jpg } local
    use_backend b if { hdr(X-Version) v2 } or { url_param(v) 2 }
    use_backend b if { hdr_end(host) -i .wild.test }
    use_backend b if { path_dir admin }
    use_backend spare if { path /spare }
    use_backend b unless { src 127.0.0.0/8 }
    default_backend a

frontend both
    bind 127.0.0.1:8001
    bind 127.0.0.1:8443 ssl crt COMBINED
    http-request redirect scheme https code 301 unless { ssl_fc }
    default_backend b

backend a
    balance leastconn
    cookie SRV insert indirect nocache httponly
    option httpchk GET /health
    http-check expect status 200
    server a1 127.0.0.1:8081 check inter 1s rise 1 fall 2 cookie a1 maxconn 100
    server a2 127.0.0.1:1 disabled
    timeout queue 5s

backend b
    balance hdr(X-User)
    server b1 127.0.0.1:8082 weight 10
    http-response set-header X-Passed haproxy

backend spare
    option redispatch
    retries 1
    server gone 127.0.0.1:1 check inter 500ms fall 1
    server b1 127.0.0.1:8082 backup

listen echo
    mode tcp
    bind 127.0.0.1:9000
    server a 127.0.0.1:9081
    server b 127.0.0.1:9082 backup

frontend sni
    mode tcp
    bind 127.0.0.1:9001
    tcp-request inspect-delay 2s
    tcp-request content accept if { req_ssl_hello_type 1 }
    use_backend first if { req_ssl_sni -i a.test }
    default_backend second
backend first
    mode tcp
    server a 127.0.0.1:9081
backend second
    mode tcp
    server a 127.0.0.1:9082
"""


class Request(NamedTuple):
    """What a client asks for."""

    target: str
    host: str = "shop.test"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()


NGINX_REQUESTS = [
    Request("/"),
    Request("/", "www.shop.test"),
    Request("/", "SHOP.test"),
    Request("/", "unknown.test"),
    Request("/api"),
    Request("/apix/y"),
    Request("/api/old/x"),
    Request("/api/exact"),
    Request("/api/exact/not"),
    Request("/api/static/x.png"),
    Request("/x.PNG"),
    Request("/x.png?a=b"),
    Request("/x.png/"),
    Request("/kept/x"),
    Request("/variant"),
    Request("/spare"),
    Request("/copied"),
    Request("/only", "x.wild.test"),
    Request("/only", "y.x.wild.test"),
    Request("/only", "one.wild.test"),
    Request("/", "one.wild.test"),
    Request("/api", "v12.regex.test"),
    Request("/", "vx.regex.test"),
    Request("/api", "unknown.test", "POST"),
    Request("/a%2Fpi"),
    Request("/x/../api"),
]

HAPROXY_REQUESTS = [
    Request("/"),
    Request("/api/x"),
    Request("/v2"),
    Request("/api", method="POST"),
    Request("/", "API.shop.test"),
    Request("/x.PNG"),
    Request("/x.png.txt"),
    Request("/", headers=(("X-Version", "v2"),)),
    Request("/", headers=(("X-Version", "v22"),)),
    Request("/?v=2"),
    Request("/?v=22"),
    Request("/", "a.b.wild.test"),
    Request("/", "wild.test"),
    Request("/x/admin/y"),
    Request("/x/administrator"),
    Request("/spare"),
    Request("/spare/x"),
]


def placed(text: str, ports: dict[str, int], words: dict[str, str] | None = None) -> str:
    """A configuration with its ports moved: those in `ports` to what it says, others to free ones, which it gets."""

    def move(found: re.Match[str]) -> str:
        port = found[1]
        if port != "1" and port not in ports:
            ports[port] = free_port("both")
        return f"127.0.0.1:{ports.get(port, 1)}"

    for word, value in (words or {}).items():
        text = text.replace(word, value)
    return re.sub(r"127\.0\.0\.1:(\d+)", move, text)
