"""HAProxy's configuration as ours.

What lives here: the whole way; what is bound, and who gets what arrives there.
What must not: conditions (`haproxy_conditions.py`), servers (`haproxy_services.py`), files.
Called by the command line. Specified by chapter 4.2 of HAProxy's Configuration Manual.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from os.path import join
from typing import TYPE_CHECKING, Any

from streamlb.convert.draft import Draft, Inline, Left, duration
from streamlb.convert.haproxy_conditions import Conditions
from streamlb.convert.haproxy_reasons import reason_of
from streamlb.convert.haproxy_services import Services, unknown_options
from streamlb.convert.haproxy_text import Line, parse, seconds, whole
from streamlb.convert.rules import EVERY_CONNECTION, EVERYTHING, NoRule

if TYPE_CHECKING:
    from streamlb.convert.haproxy_text import Section

TOP = 1_000  # the priority of the first rule of a section
ENTRIES = ("frontend", "listen")
PATIENCE = {
    "timeout http-request": "readHeaderTimeout",
    "timeout client": "readTimeout",
    "timeout http-keep-alive": "idleTimeout",
}


@dataclass(slots=True)
class _Bound:
    """An entry point made of an address that is bound."""

    name: str
    port: int
    is_tls: bool
    is_redirected: bool = False


def convert(text: str, source: str) -> Draft:
    """The draft of a configuration file. Raises ConvertError."""
    sections = parse(text)
    draft = Draft(source)
    served = {each.name: each for each in sections if each.kind in ("backend", "listen")}
    bases = _bases(sections)
    services = Services(draft, served, bases)
    taken: dict[tuple[str, int], str] = {}
    for section in sections:
        if section.kind in ENTRIES:
            _Entry(section, draft, services, taken).convert()
    for section in sections:
        for line in [section.head, *section.lines]:
            if line is section.head and section.kind == "defaults":
                continue
            if not line.used:
                draft.left.append(Left(line.place, line.text, line.reason or reason_of(section, line)))
            elif line.words[0] == "server" and (unknown := unknown_options(line)):
                draft.left.append(Left(line.place, line.text, f"in part: without {', '.join(unknown)}"))
    draft.left.sort(key=lambda each: int(each.place.removeprefix("line ")))
    return draft


def _bases(sections: list[Section]) -> dict[str, str]:
    """Where relative paths of certificates and of authorities begin."""
    found = {}
    for section in sections:
        for line in section.all("crt-base", "ca-base") if section.kind == "global" else []:
            found[line.words[0]] = line.word(1)
            line.used = True
    return found


class _Entry:
    """A section with `bind` lines."""

    def __init__(self, section: Section, draft: Draft, services: Services, taken: dict[tuple[str, int], str]) -> None:
        self.section = section
        self.draft = draft
        self.services = services
        self.taken = taken
        self.protocol = section.mode
        self.bound: list[_Bound] = []
        self.by_name = False  # whether a rule looks at the name in a handshake that is passed on

    def convert(self) -> None:
        if self.protocol not in ("http", "tcp"):
            self.section.head.reason = f"streamlb has no mode `{self.protocol}`"
            return
        self.section.head.used = True
        addresses = [(line, each) for line in self.section.all("bind") for each in line.word(1).split(",")]
        for line, address in addresses:
            self._bind(line, address, len(addresses))
        self._redirect()
        for is_tls in (False, True):
            names = [each.name for each in self.bound if each.is_tls == is_tls and not each.is_redirected]
            if names:
                self._routes(names, is_tls)

    # --- entry points ----------------------------------------------------------------------------------------

    def _bind(self, line: Line, address: str, count: int) -> None:
        found = re.fullmatch(r"(?:ipv4@|ipv6@)?(.*?):(\d+)", address)
        if not found or address.startswith(("/", "unix@", "abns@", "fd@")):
            line.reason = "streamlb listens on addresses and single ports only"
            return
        host, port = found[1], int(found[2])
        host = "" if host in ("*", "0.0.0.0", "::", "[::]") else host
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        if (host, port) in self.taken or ("", port) in self.taken:
            line.reason = "the address is taken already"
            return
        line.used = True
        options = line.words[2:]
        name = self.draft.free_name(self.section.name if count == 1 else f"{self.section.name}-{port}", "entryPoints")
        self.taken[(host, port)] = name
        path = ("entryPoints", name)
        self.draft.put(path, {"address": f"{host}:{port}"}, line.place)
        is_tls = "ssl" in options
        self.bound.append(_Bound(name, port, is_tls))
        if "accept-proxy" in options:
            self.draft.at(*path)["proxyProtocol"] = Inline(insecure=True)
        self._limits(path)
        if is_tls:
            if self.protocol == "http":
                self.draft.at(*path, "http")["tls"] = Inline()
            self._certificates(line, options)

    def _limits(self, path: tuple[str, ...]) -> None:
        maximum = self.section.last("maxconn")
        transport = self.draft.at(*path, "transport")
        if maximum is not None:
            transport["maxConnections"] = whole(maximum.word(1), maximum)
            maximum.used = True
        if self.protocol != "http":
            return
        times: dict[str, str] = {}
        for keyword, key in PATIENCE.items():
            line = self.section.last(keyword)
            if line is not None:
                times[key] = duration(seconds(line.words[-1], line))
                line.used = True
        if "readTimeout" in times:
            times["writeTimeout"] = times["readTimeout"]
            times.setdefault("idleTimeout", times.get("readHeaderTimeout", times["readTimeout"]))
        if times:
            transport["respondingTimeouts"] = times

    def _certificates(self, line: Line, options: list[str]) -> None:
        known: list[Any] = self.draft.at("tls").setdefault("certificates", [])
        base = self.services.bases.get("crt-base", "")
        files = [join(base, options[at + 1]) for at, word in enumerate(options[:-1]) if word == "crt"]
        for number, file in enumerate(files):
            pair = Inline(certFile=file, keyFile=file)
            if file.endswith("/"):
                self._partly(line, f"the files in {file} are not known here: name them under `tls.certificates`")
                continue
            if number == 0:
                self.draft.at("tls", "stores", "default").setdefault("defaultCertificate", Inline(pair))
            if pair not in known:
                known.append(pair)
                self.draft.origins[("tls", "certificates", len(known) - 1)] = line.place
        for word in ("ca-file", "verify", "crt-list", "ciphers", "ssl-min-ver", "alpn"):
            if word in options and not (word == "alpn" and options[options.index(word) + 1] == "http/1.1"):
                self._partly(line, _TLS_WORDS[word])

    def _partly(self, line: Line, reason: str) -> None:
        self.draft.left.append(Left(line.place, line.text, f"in part: {reason}"))

    # --- redirections ----------------------------------------------------------------------------------------

    def _redirect(self) -> None:
        """`redirect scheme https`: of all requests in the clear."""
        for line in self.section.all("http-request redirect", "redirect"):
            words = line.words[2:] if line.words[0] == "http-request" else line.words[1:]
            if words[:2] != ["scheme", "https"]:
                line.reason = "redirections hold for whole entry points, to https only"
                continue
            at = next((at for at, word in enumerate(words) if word in ("if", "unless")), len(words))
            code = words[words.index("code") + 1] if "code" in words[:-1] else "302"
            try:
                conditions = {is_tls: self._conditions(is_tls) for is_tls in (False, True)}
                answers = {is_tls: each.read(words[at:]) for is_tls, each in conditions.items()}
            except NoRule as error:
                line.reason = str(error)
                continue
            clear = [each for each in self.bound if not each.is_tls]
            if not answers[False].always or (not answers[True].never and any(each.is_tls for each in self.bound)):
                line.reason = "redirections hold for whole entry points"
                continue
            for each in (line, *conditions[False].used):
                each.used = True
            secure = [each for each in self.bound if each.is_tls]
            for bound in clear:
                bound.is_redirected = True
                target = secure[0].name if len(secure) == 1 else ":443"
                to = Inline(to=target, scheme="https", permanent=code in ("301", "308"))
                path = ("entryPoints", bound.name, "http", "redirections")
                self.draft.put(path, Inline(entryPoint=to), line.place)

    def _conditions(self, is_tls: bool) -> Conditions:
        return Conditions(self.section, self.protocol, is_tls)

    # --- routers ---------------------------------------------------------------------------------------------

    def _routes(self, names: list[str], is_tls: bool) -> None:
        for number, line in enumerate(self.section.all("use_backend")):
            conditions = self._conditions(is_tls)
            service = self._service(line, line.word(1))
            if not service:
                continue
            try:
                answer = conditions.read(line.words[2:])
            except NoRule as error:
                line.used, line.reason = False, f"{error}; its requests go to what comes next"
                continue
            line.used = True
            for each in conditions.used:
                each.used = True
            if not answer.never:
                rule = str(answer.rule) if answer.rule is not None else ""
                for tls in self._ways(rule, is_tls):
                    self._router(service, rule, names, TOP - number, tls, line)
        line = self.section.last("default_backend") or self.section.head
        name = line.word(1) if line.words[0] == "default_backend" else self.section.name
        if line.words[0] == "default_backend" or self.section.all("server"):
            service = self._service(line, name)
            if service:
                line.used = True
                for tls in self._ways("", is_tls):
                    self._router(service, "", names, 1, tls, line)
        for each in self.section.all("tcp-request inspect-delay", "tcp-request content accept"):
            each.used = self.protocol == "tcp"

    def _ways(self, rule: str, is_tls: bool) -> list[Inline | None]:
        """The `tls` of the routers for a rule. TLS that is only passed on needs a router of its own."""
        if self.protocol == "http":
            return [None]
        if is_tls:
            return [Inline()]
        if "HostSNI" in rule:
            self.by_name = True
            return [Inline(passthrough=True)]
        return [Inline(passthrough=True), None] if self.by_name else [None]

    def _service(self, line: Line, name: str) -> str:
        service = self.services.named(name, self.protocol)
        if not service:
            line.reason = f"`{name}` has no server that could be carried over in mode {self.protocol}"
        return service

    def _router(self, service: str, rule: str, names: list[str], priority: int, tls: Inline | None, line: Line) -> None:
        everything = EVERYTHING if self.protocol == "http" else EVERY_CONNECTION
        router: dict[str, Any] = {
            "rule": rule or everything,
            "service": service,
            "entryPoints": names,
            "priority": priority,
        }
        if tls is not None:
            router["tls"] = tls
        if self.protocol == "http":
            tunnel = self.section.last("timeout tunnel")
            if tunnel is not None:
                tunnel.used = True
                router["timeouts"] = Inline(idle=duration(seconds(tunnel.word(2), tunnel)))
        wanted = f"{self.section.name}-{service}" if service != self.section.name else service
        path = (self.protocol, "routers", self.draft.free_name(wanted, self.protocol, "routers"))
        self.draft.put(path, router, line.place)


_TLS_WORDS = {
    "ca-file": "give `tls.options.default.clientAuth`",
    "verify": "give `tls.options.default.clientAuth`",
    "crt-list": "name the files under `tls.certificates`",
    "ciphers": "give `tls.options.default.cipherSuites` in Go's names",
    "ssl-min-ver": "give `tls.options.default.minVersion`; it is TLS 1.2 already",
    "alpn": "streamlb speaks HTTP/1.1",
}
