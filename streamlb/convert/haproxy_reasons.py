"""Why a line of HAProxy's configuration has no place in ours.

What lives here: the reasons, by keyword. What must not: translation (`haproxy.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlb.convert.haproxy_text import Line, Section

_ITSELF = "streamlb does this by itself"
_NO_CHANGES = "streamlb does not change requests or answers"
_LOGS = "see `log` and `accessLog` in streamlb's reference"

_REASONS = {
    _ITSELF: [
        "option forwardfor", "option http-server-close", "option http-keep-alive", "option redispatch", "retries",
        "option http-use-htx", "http-reuse", "option httpclose", "option dontlognull", "option clitcpka",
        "option srvtcpka", "option tcpka", "option splice-auto", "option splice-request", "option splice-response",
        "option tcp-smart-accept", "option tcp-smart-connect", "option http-ignore-probes", "option tcp-check",
        "option prefer-last-server", "option abortonclose", "option contstats",
    ],
    _LOGS: ["log", "option httplog", "option tcplog", "log-format", "option dontlog-normal", "unique-id-format",
            "unique-id-header", "capture", "log-tag", "option logasap", "error-log-format", "option log-health-checks"],
    _NO_CHANGES: [
        "http-request set-header", "http-request add-header", "http-request del-header", "http-request set-path",
        "http-request replace-path", "http-request set-uri", "http-request replace-header", "http-response", "reqrep",
        "rspadd", "reqadd", "compression", "http-request replace-uri", "http-after-response", "http-request set-query",
    ],
    "streamlb does not restrict HTTP requests; a rule with ClientIP can": [
        "http-request deny", "http-request tarpit", "http-request reject", "http-request auth",
        "http-request track-sc0",
        "stick-table", "stick", "http-request silent-drop", "http-request allow", "block",
    ],
    "TCP connections can be let in by `ipAllowList` only": ["tcp-request connection", "tcp-request content",
                                                            "tcp-request session"],
    "streamlb answers errors in its own words": ["errorfile", "errorloc", "errorfiles", "http-error",
                                                 "http-request return"],
    "see streamlb's own metrics and `streamlb ctl`": ["stats", "monitor-uri", "option external-check", "monitor"],
    "no condition that was carried over asks it": ["acl"],
    "nothing that was carried over needs it": ["timeout", "balance", "cookie", "default-server", "mode", "server",
                                               "default_backend", "option httpchk", "http-check", "maxconn"],
    "streamlb has rules instead of maps and variables": ["http-request set-var", "use-server", "http-request lua",
                                                         "http-request use-service", "filter"],
    "not carried over": ["tcp-check", "fullconn", "source", "id", "description", "hash-type", "backlog",
                         "option allbackups", "option persist", "load-server-state-from-file", "enabled", "disabled"],
}  # fmt: skip
_BY_KEYWORD = {keyword: reason for reason, keywords in _REASONS.items() for keyword in keywords}
_BY_SECTION = {
    "global": "about HAProxy's own processes",
    "peers": "streamlb's instances share nothing",
    "resolvers": "names are looked up every 5 s, as the system does it",
    "userlist": "streamlb does not ask for passwords",
    "mailers": "streamlb writes no mail",
    "cache": "streamlb keeps no copies of answers",
}


def reason_of(section: Section, line: Line) -> str:
    """Why it was left."""
    if section.kind in _BY_SECTION:
        return _BY_SECTION[section.kind]
    if line is section.head:
        return "no route leads to it" if section.kind == "backend" else "streamlb has nothing like it"
    for count in (2, 1):
        found = _BY_KEYWORD.get(" ".join(line.words[:count]))
        if found:
            return found
    return "streamlb has nothing like it"
