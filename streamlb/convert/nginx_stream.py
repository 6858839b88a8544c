"""nginx's `stream` as TCP and UDP routers.

What lives here: its servers, where they lead, and names of TLS handshakes (`ssl_preread` with a `map`).
What must not: upstreams (`nginx_services.py`), entry points (`nginx_listen.py`).
Called by `nginx.py`. Specified by nginx's modules stream_core, stream_proxy, stream_ssl_preread and stream_map.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from streamlb.convert.draft import Draft, Inline, duration
from streamlb.convert.nginx_listen import EntryPoints, Place
from streamlb.convert.nginx_services import Cannot, Services, seconds_of
from streamlb.convert.rules import EVERY_CONNECTION, NoRule, Rule, literal, matcher, pattern

if TYPE_CHECKING:
    from streamlb.convert.nginx_text import Directive

SERVER_NAME = ("$ssl_preread_server_name", "$ssl_server_name")


def convert(block: Directive, draft: Draft) -> None:
    """Add what `stream` says to the draft."""
    stream = _Stream(block, draft)
    for server in block.all("server"):
        server.used = True
        for place in stream.entry_points.listen(server):
            stream.server(server, place)


class _Stream:
    def __init__(self, block: Directive, draft: Draft) -> None:
        self.block = block
        self.draft = draft
        self.entry_points = EntryPoints(draft, "tcp")
        upstreams = {each.args[0]: each for each in block.all("upstream") if each.args}
        splits = {each.args[1]: each for each in block.all("split_clients") if len(each.args) > 1}
        self.services = {kind: Services(draft, kind, upstreams, splits) for kind in ("tcp", "udp")}
        self.maps = {each.args[1]: each for each in block.all("map") if len(each.args) > 1}

    def server(self, server: Directive, place: Place) -> None:
        passing = server.first("proxy_pass")
        if passing is None or not passing.args:
            server.used, server.reason = False, "nothing is passed on here"
            return
        is_tls = any("ssl" in each.args for each in server.all("listen"))
        kind = "udp" if place.network == "udp" else "tcp"
        by_name = self.maps.get(passing.args[0])
        try:
            if by_name is not None and by_name.args[0] in SERVER_NAME and kind == "tcp":
                self._by_name(by_name, server, place, is_tls)
            else:
                service = self.services[kind].named(passing.args[0], "", self._options(server, kind, is_tls), server)
                self._router(kind, place, service, EVERY_CONNECTION, Inline() if is_tls else None, server.place)
            passing.used = True
        except Cannot as error:
            passing.reason = server.reason = str(error)
            server.used = False
        for each in server.inherited("ssl_preread"):
            each.used = True
        if kind == "udp":
            for each in server.inherited("proxy_timeout"):
                self.draft.at("entryPoints", place.name, "udp")["timeout"] = duration(seconds_of(each))
                each.used = True

    def _by_name(self, by_name: Directive, server: Directive, place: Place, is_tls: bool) -> None:
        """A router for each name of a map."""
        by_name.used = True
        for entry in by_name.inside or []:
            if entry.name in ("hostnames", "volatile"):
                entry.used = entry.name == "hostnames"
                continue
            try:
                options = self._options(server, "tcp", is_tls)
                service = self.services["tcp"].named(entry.args[0] if entry.args else "", "", options, server)
                rule = Rule(EVERY_CONNECTION) if entry.name == "default" else _sni(entry.name)
            except (Cannot, NoRule) as error:
                entry.reason = str(error)
                continue
            entry.used = True
            tls = Inline() if is_tls else Inline(passthrough=True)
            self._router("tcp", place, service, str(rule), tls, entry.place)
            if entry.name == "default" and not is_tls:  # What is no TLS at all has no name either.
                self._router("tcp", place, service, str(rule), None, entry.place)

    def _router(self, kind: str, place: Place, service: str, rule: str, tls: Inline | None, origin: str) -> None:
        router: dict[str, Any] = {"service": service, "entryPoints": [place.name]}
        if kind == "tcp":
            router = {"rule": rule, **router}
        if tls is not None:
            router["tls"] = tls
        path = (kind, "routers", self.draft.free_name(f"{place.name}-{service}", kind, "routers"))
        self.draft.put(path, router, origin)

    def _options(self, server: Directive, kind: str, is_tls: bool) -> dict[str, Any]:
        """What a stream server says about its connections."""
        options: dict[str, Any] = {}
        if kind == "udp":
            return options
        for each in server.inherited("proxy_timeout"):
            options["idleTimeout"] = duration(seconds_of(each))
            each.used = True
        transport: dict[str, Any] = {}
        for each in server.inherited("proxy_connect_timeout"):
            transport["dialTimeout"] = duration(seconds_of(each))
            each.used = True
        for each in server.inherited("proxy_protocol"):
            if each.args == ["on"]:
                transport["proxyProtocol"] = Inline(version=1)
            each.used = True
        if transport:
            known = self.draft.at("tcp", "serversTransports")
            names = [name for name, other in known.items() if other == transport]
            name = names[0] if names else self.draft.free_name("stream", "tcp", "serversTransports")
            known[name] = transport
            options["serversTransport"] = name
        return options


def _sni(name: str) -> Rule:
    """A name of a map: exact, with a wildcard, or a pattern."""
    if name.startswith("~"):
        text = name.lstrip("~*")
        return pattern("HostSNIRegexp", text, ignore_case=name.startswith("~*"))
    if name.startswith("."):
        return pattern("HostSNIRegexp", f"^(?:.+\\.)?{literal(name[1:].lower())}$")
    if name.startswith("*."):
        return pattern("HostSNIRegexp", f"^.+\\.{literal(name[2:].lower())}$")
    if name.endswith(".*"):
        return pattern("HostSNIRegexp", f"^{literal(name[:-1].lower())}")
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise NoRule("not the name of a host")
    return matcher("HostSNI", name.lower())
