"""HAProxy's servers and how it shares them out, as services.

What lives here: server lines, balancing, cookies, health checks, transports of a section with servers.
What must not: who gets which requests (`haproxy.py`). Specified by chapters 4.2 and 5.2 of HAProxy's
Configuration Manual.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from os.path import join
from typing import TYPE_CHECKING, Any

from streamlb.convert.draft import Draft, Inline, Left, duration
from streamlb.convert.haproxy_text import seconds, whole

if TYPE_CHECKING:
    from streamlb.convert.haproxy_text import Line, Section

WITH_VALUE = {
    "weight", "inter", "fastinter", "downinter", "rise", "fall", "maxconn", "cookie", "ca-file", "crt", "verify", "sni",
    "slowstart", "port", "addr", "check-sni", "verifyhost", "id", "init-addr", "resolvers", "resolve-prefer", "minconn",
    "maxqueue", "observe", "on-error", "on-marked-down", "error-limit", "proto", "alpn", "pool-max-conn", "track",
    "ssl-min-ver", "ssl-max-ver", "ciphers", "on-marked-up", "namespace", "source", "redir", "agent-port", "check-alpn",
    "pool-purge-delay", "max-reuse", "check-proto", "ciphersuites", "crl-file", "agent-inter", "agent-addr",
}  # fmt: skip
VERSIONS = {"TLSv1.2": "VersionTLS12", "TLSv1.3": "VersionTLS13"}
SILENT = {"init-addr", "resolvers", "resolve-prefer", "id", "check-sni", "check-ssl", "no-check"}
USED = {
    "weight", "inter", "rise", "fall", "maxconn", "cookie", "ca-file", "verify", "slowstart", "port", "check", "ssl",
    "backup", "send-proxy", "send-proxy-v2", "crt", "downinter", "sni", "verifyhost", "ssl-min-ver", "ssl-max-ver",
}  # fmt: skip


@dataclass(slots=True)
class _Server:
    line: Line
    name: str
    address: str
    options: dict[str, str] = field(default_factory=dict)


class Services:
    """The services of sections with servers, each made once."""

    def __init__(self, draft: Draft, sections: dict[str, Section], bases: dict[str, str]) -> None:
        self.bases = bases
        self.draft = draft
        self.sections = sections
        self.made: dict[str, str] = {}

    def named(self, name: str, protocol: str) -> str:
        """The service of a section; empty when there is no such section with servers, or its mode is another."""
        section = self.sections.get(name)
        if section is None or section.mode != protocol:
            return ""
        if name not in self.made:
            self.made[name] = ""
            self.made[name] = self._make(section, protocol)
        return self.made[name]

    def _make(self, section: Section, protocol: str) -> str:
        servers = [each for each in self._servers(section) if _usable(each, protocol)]
        if not servers:
            return ""
        section.head.used = True
        shared = self._shared(section, servers, protocol)
        main = [self._server(each, protocol) for each in servers if "backup" not in each.options]
        spare = [self._server(each, protocol) for each in servers if "backup" in each.options]
        path = (protocol, "services")
        name = self.draft.free_name(section.name, *path)
        if not spare or not main:
            self.draft.put((*path, name), {"loadBalancer": {"servers": main or spare, **shared}}, section.head.place)
            return name
        pair = {"failover": {"service": f"{name}-main", "fallback": f"{name}-backup"}}
        self.draft.put((*path, name), pair, section.head.place)
        at = self.draft.at(*path)
        at[f"{name}-main"] = {"loadBalancer": {"servers": main, **shared}}
        if section.last("option allbackups") is None:
            spare = spare[:1]
        at[f"{name}-backup"] = {"loadBalancer": {"servers": spare, **shared}}
        return name

    # --- servers ---------------------------------------------------------------------------------------------

    def _servers(self, section: Section) -> list[_Server]:
        for_all: dict[str, str] = {}
        for line in section.inherited("default-server"):
            for_all |= _options(line, line.rest)
            line.used = True
        found = []
        for line in section.all("server"):
            server = _Server(line, line.word(1), line.word(2), {**for_all, **_options(line, line.words[3:])})
            line.used = "disabled" not in server.options
            line.reason = "the server is disabled"
            if line.used:
                found.append(server)
        for line in section.all("server-template"):
            line.reason = "write a server with `resolve: all`: it is as many servers as its name has addresses"
        return found

    def _server(self, server: _Server, protocol: str) -> Inline:
        options = server.options
        more: dict[str, Any] = {}
        if "weight" in options and options["weight"] != "1":
            more["weight"] = whole(options["weight"], server.line)
        if "maxconn" in options and options["maxconn"] != "0":
            more["maxConnections"] = whole(options["maxconn"], server.line)
        address = re.sub(r"^(?:ipv4@|ipv6@|\*)", "", server.address)
        if protocol == "http":
            return Inline(url=f"{'https' if 'ssl' in options else 'http'}://{address}", **more)
        if "ssl" in options:
            more["tls"] = True
        return Inline(address=address, **more)

    # --- what all servers of a section share -----------------------------------------------------------------

    def _shared(self, section: Section, servers: list[_Server], protocol: str) -> dict[str, Any]:
        shared: dict[str, Any] = {}
        self._balance(section, protocol, shared)
        if protocol == "http":
            self._cookie(section, shared)
        self._check(section, servers, protocol, shared)
        slow = [each for each in servers if "slowstart" in each.options]
        if slow and "healthCheck" in shared:
            shared["slowStart"] = duration(seconds(slow[0].options["slowstart"], slow[0].line))
        line = section.last("timeout queue")
        if line is not None and any("maxconn" in each.options for each in servers):
            shared["queue"] = Inline(timeout=duration(seconds(line.word(2), line)))
            line.used = True
        if protocol == "tcp":
            silence = [each for each in (section.last("timeout server"), section.last("timeout client")) if each]
            if silence:
                shared["idleTimeout"] = duration(min(seconds(each.word(2), each) for each in silence))
            for each in silence:
                each.used = True
        transport = self._transport(section, servers, protocol)
        if transport:
            shared["serversTransport"] = transport
        return shared

    def _balance(self, section: Section, protocol: str, shared: dict[str, Any]) -> None:
        line = section.last("balance")
        if line is None:
            return
        kind = line.word(1)
        line.used = True
        field_of = re.fullmatch(r"hdr\(([^)]+)\)", kind)
        if kind == "leastconn":
            shared["strategy"] = "leastconn"
        elif kind == "random" or kind.startswith("random("):
            shared["strategy"] = "p2c"
        elif kind == "source":
            shared["strategy"] = "hrw"
        elif field_of and protocol == "http":
            shared |= {"strategy": "hrw", "hashBy": Inline(header=field_of[1])}
        elif kind not in ("roundrobin", "static-rr"):
            line.used = False
            line.reason = f"`{kind}` is not there; weights in turns instead"

    def _cookie(self, section: Section, shared: dict[str, Any]) -> None:
        line = section.last("cookie")
        if line is None:
            return
        if "insert" not in line.rest:
            line.reason = "cookies that servers make cannot be followed; `insert` can"
            return
        cookie = Inline(name=line.word(1))
        for word, key in (("secure", "secure"), ("httponly", "httpOnly")):
            if word in line.rest:
                cookie[key] = True
        if "domain" in line.rest:
            cookie["domain"] = line.word(line.words.index("domain") + 1)
        shared["sticky"] = {"cookie": cookie}
        line.used = True

    def _check(self, section: Section, servers: list[_Server], protocol: str, shared: dict[str, Any]) -> None:
        checked = [each for each in servers if "check" in each.options]
        if not checked:
            return
        http = section.last("option httpchk")
        if protocol == "http" and http is None:
            for each in checked:
                each.line.reason = "`check` that only connects: give the service a `healthCheck` with a `path`"
                self._note(each.line)
            return
        options = checked[0].options
        line = checked[0].line
        check = Inline(interval=duration(seconds(options.get("inter", "2s"), line)))
        if "downinter" in options:
            check["unhealthyInterval"] = duration(seconds(options["downinter"], line))
        check["rise"] = whole(options.get("rise", "2"), line)
        check["fall"] = whole(options.get("fall", "3"), line)
        patience = section.last("timeout check")
        check["timeout"] = duration(seconds(patience.word(2), patience)) if patience else check["interval"]
        if patience:
            patience.used = True
        if "port" in options:
            check["port"] = whole(options["port"], line)
        if protocol == "http" and http is not None:
            check = Inline(path="/", **check)
            self._request(section, http, check)
        shared["healthCheck"] = check

    def _note(self, line: Line) -> None:
        """Tell about a part of a line that is used otherwise."""
        note = Left(line.place, line.text, f"in part: {line.reason}")
        if note not in self.draft.left:
            self.draft.left.append(note)

    def _request(self, section: Section, http: Line, check: Inline) -> None:
        """`option httpchk` and `http-check`."""
        http.used = True
        words = http.words[2:]
        if words:
            check["path"] = words[0] if len(words) == 1 else words[1]
            if len(words) > 1 and words[0] != "GET":
                check["method"] = words[0]
        for line in section.inherited("http-check send"):
            pairs = dict(zip(line.words[2::2], line.words[3::2], strict=False))
            line.used = set(pairs) <= {"meth", "uri", "ver", "hdr"} and "hdr" not in pairs
            line.reason = "fields of a check: give `hostname` and `headers` of the `healthCheck`"
            if "uri" in pairs:
                check["path"] = pairs["uri"]
            if pairs.get("meth", "GET") != "GET":
                check["method"] = pairs["meth"]
        for line in section.inherited("http-check expect"):
            words = [word for word in line.words[2:] if word != "!"]
            if len(words) == 2 and words[0] == "status" and "!" not in line.words:
                check["status"] = words[1].split(",")
                line.used = True
            elif len(words) == 2 and words[0] == "string" and "!" not in line.words:
                check["body"] = words[1]
                line.used = True
            else:
                line.reason = "a check expects statuses, or a `body` with a text or a /pattern/"

    def _transport(self, section: Section, servers: list[_Server], protocol: str) -> str:
        transport: dict[str, Any] = {}
        line = section.last("timeout connect")
        if line is not None:
            line.used = True
            dial = duration(seconds(line.word(2), line))
            transport |= (
                {"forwardingTimeouts": Inline(dialTimeout=dial)} if protocol == "http" else {"dialTimeout": dial}
            )
        line = section.last("timeout server")
        if line is not None and protocol == "http":
            line.used = True
            times = transport.setdefault("forwardingTimeouts", Inline())
            patience = duration(seconds(line.word(2), line))
            times |= {"responseHeaderTimeout": patience, "readTimeout": patience}
        options: dict[str, str] = {}
        for each in servers:
            options |= each.options
        if "send-proxy" in options or "send-proxy-v2" in options:
            transport["proxyProtocol"] = Inline(version=2 if "send-proxy-v2" in options else 1)
        if "ssl" in options:
            for word, base in (("ca-file", "ca-base"), ("crt", "crt-base")):
                if word in options and not options[word].startswith("@"):
                    options[word] = join(self.bases.get(base, ""), options[word])
            tls = _tls(options)
            if protocol == "http":
                transport |= tls
            elif tls:
                transport["tls"] = tls
        if not transport:
            return ""
        known = self.draft.at(protocol, "serversTransports")
        same = [name for name, other in known.items() if other == transport]
        if same:
            return same[0]
        name = self.draft.free_name("servers", protocol, "serversTransports")
        known[name] = transport
        self.draft.origins[(protocol, "serversTransports", name)] = section.head.place
        return name


def _tls(options: dict[str, str]) -> dict[str, Any]:
    tls: dict[str, Any] = {}
    if options.get("verify") == "none":
        tls["insecureSkipVerify"] = True
    elif options.get("ca-file", "@system-ca") != "@system-ca":
        tls["rootCAs"] = [options["ca-file"]]
    name = options.get("verifyhost") or re.sub(r"^str\((.*)\)$", r"\1", options.get("sni", ""))
    if re.fullmatch(r"[A-Za-z0-9.-]+", name):
        tls["serverName"] = name
    if "crt" in options:
        tls["certificates"] = [Inline(certFile=options["crt"], keyFile=options["crt"])]
    for word, key in (("ssl-min-ver", "minVersion"), ("ssl-max-ver", "maxVersion")):
        if options.get(word) in VERSIONS:
            tls[key] = VERSIONS[options[word]]
    return tls


def _usable(server: _Server, protocol: str) -> bool:
    """Whether we can reach a server; says why not."""
    if re.match(r"(?:unix|abns|fd)@|/", server.address):
        server.line.used, server.line.reason = False, "servers at Unix sockets"
    elif not re.search(r":\d+$", server.address):
        server.line.used, server.line.reason = False, "a server without a port"
    return server.line.used


def _options(line: Line, words: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        found[word] = rest.pop(0) if word in WITH_VALUE and rest else ""
        if word.startswith("no-"):
            found.pop(word[3:], None)
    return found


def unknown_options(line: Line) -> list[str]:
    """Words of a server line that have no part in the result."""
    return [word for word in _options(line, line.words[3:]) if word not in USED | SILENT]
