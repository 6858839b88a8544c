"""Why a directive of nginx has no place in our configuration.

What lives here: the reasons, by directive. What must not: translation (`nginx.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlb.convert.nginx_text import Directive

_ITSELF = "streamlb does this by itself"
_NO_FILES = "streamlb serves no files"
_NO_CHANGES = "streamlb does not change requests or answers"
_PROCESS = "about nginx's own processes"
_NO_CACHE = "streamlb keeps no copies of answers"
_NO_ACCESS = "streamlb does not restrict HTTP requests; a rule with ClientIP can"

_REASONS = {
    _ITSELF: "proxy_http_version proxy_buffering proxy_request_buffering proxy_buffers proxy_buffer_size "
    "proxy_busy_buffers_size keepalive zone tcp_nodelay tcp_nopush sendfile proxy_next_upstream "
    "proxy_next_upstream_tries proxy_next_upstream_timeout proxy_redirect proxy_ssl_server_name proxy_socket_keepalive "
    "ssl_session_cache ssl_session_timeout ssl_session_tickets ssl_prefer_server_ciphers real_ip_header aio "
    "proxy_responses preread_timeout ssl_dhparam",
    _NO_FILES: "root alias index try_files autoindex types default_type expires etag internal error_page charset",
    _NO_CHANGES: "rewrite add_header more_set_headers sub_filter proxy_hide_header proxy_pass_header "
    "proxy_cookie_path proxy_cookie_domain gzip gzip_types gzip_vary gzip_min_length gzip_proxied gzip_comp_level "
    "gzip_disable client_max_body_size proxy_method proxy_set_body server_tokens proxy_pass_request_headers",
    _PROCESS: "user worker_processes events worker_connections worker_rlimit_nofile pid daemon master_process "
    "multi_accept use load_module error_log thread_pool worker_cpu_affinity pcre_jit env",
    _NO_CACHE: "proxy_cache proxy_cache_path proxy_cache_valid proxy_cache_key proxy_cache_use_stale "
    "proxy_cache_bypass proxy_no_cache proxy_cache_lock",
    _NO_ACCESS: "allow deny satisfy auth_basic auth_basic_user_file auth_request limit_req limit_req_zone limit_conn "
    "limit_conn_zone",
    "see `accessLog` in streamlb's reference": "access_log log_format open_log_file_cache",
    "streamlb answers by itself with redirections of whole entry points only": "return",
    "only routers decide, by their rules": "if set map geo",
    "streamlb speaks HTTP only": "fastcgi_pass uwsgi_pass scgi_pass grpc_pass memcached_pass fastcgi_param uwsgi_param",
    "give `tls.options.NAME.cipherSuites` in Go's names": "ssl_ciphers ssl_conf_command",
    "give `tls.options.NAME.curvePreferences`": "ssl_ecdh_curve",
    "streamlb speaks HTTP/1.1": "http2 http3 http2_push",
    "looked up every 5 s, as the system does it": "resolver resolver_timeout",
    "between bytes there is `writeTimeout` for clients; servers are given `proxy_read_timeout`": "proxy_send_timeout",
    "no route leads to it": "upstream split_clients",
    "no server that was carried over speaks TLS": "ssl_protocols ssl_certificate ssl_certificate_key ssl_verify_client",
    "its entry points take no part": "listen server_name",
}
_BY_NAME = {name: reason for reason, names in _REASONS.items() for name in names.split()}
_OWN_FIELDS = {
    "x-forwarded-for",
    "x-real-ip",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "connection",
}
_OWN_FIELDS |= {"upgrade", "x-forwarded-server", "x-scheme", "x-forwarded-scheme", "accept-encoding"}


def reason_of(directive: Directive) -> str:
    """Why it was left."""
    if directive.name == "proxy_set_header" and directive.args:
        name = directive.args[0].lower()
        if name in _OWN_FIELDS:
            return _ITSELF if name != "accept-encoding" else _NO_CHANGES
        return _NO_CHANGES if name != "host" else "streamlb sends the client's Host, or the server's"
    own = _BY_NAME.get(directive.name)
    if own:
        return own
    around = directive.around
    while around is not None and around.name:
        if not around.used:
            return f"inside what was left: {around.name}"
        around = around.around
    return "streamlb has nothing like it"
