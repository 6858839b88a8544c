"""nginx's `listen` as entry points, with TLS and patience of their servers.

What lives here: addresses, who is the default server, certificates, TLS options, PROXY headers, timeouts of clients.
What must not: who gets which requests (`nginx.py`). Specified by nginx's modules core (`listen`) and ssl.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from streamlb.convert.draft import Draft, Inline, duration
from streamlb.convert.nginx_services import seconds_of, whole

if TYPE_CHECKING:
    from streamlb.convert.nginx_text import Directive

ANY = {"*", "0.0.0.0", "[::]", ""}
VERSIONS = {"TLSv1.2": "VersionTLS12", "TLSv1.3": "VersionTLS13"}
NAMES = {80: "web", 443: "websecure"}
PATIENCE = {
    "client_header_timeout": ("respondingTimeouts", "readHeaderTimeout"),
    "client_body_timeout": ("respondingTimeouts", "readTimeout"),
    "send_timeout": ("respondingTimeouts", "writeTimeout"),
    "keepalive_timeout": ("respondingTimeouts", "idleTimeout"),
}
CLIENT_AUTH = {
    "on": "RequireAndVerifyClientCert",
    "optional": "VerifyClientCertIfGiven",
    "off": "NoClientCert",
}


@dataclass(slots=True)
class Place:
    """An entry point, its servers in order, the default one among them, and those that only redirect there."""

    name: str
    host: str
    port: int
    network: str
    servers: list[Directive] = field(default_factory=list)
    default: Directive | None = None
    redirected: list[Directive] = field(default_factory=list)


class EntryPoints:
    """All that is listened on. protocol: what for."""

    def __init__(self, draft: Draft, protocol: str) -> None:
        self.draft = draft
        self.protocol = protocol
        self.places: dict[tuple[str, int, str], Place] = {}
        self.options: dict[int, str] = {}

    def listen(self, server: Directive) -> list[Place]:
        """Make the entry points of a server."""
        directives = server.all("listen")
        found = [place for each in directives if (place := self._listen(each, server)) is not None]
        if not directives and self.protocol == "http":
            found = [self._place("", 80, "tcp", server.place)]
        for place in found:
            if server not in place.servers:
                place.servers.append(server)
            place.default = place.default or server
            self._patience(place, server)
        if any(self._is_tls(each) for each in directives) or server.all("ssl_certificate"):
            self._certificates(server, found)
        return found

    def _listen(self, directive: Directive, server: Directive) -> Place | None:
        address, words = (directive.args[0] if directive.args else ""), directive.args[1:]
        found = re.fullmatch(r"(?:(.*):)?(\d+)", address)
        if address.startswith("unix:") or (not found and "$" in address):
            directive.reason = "streamlb listens on addresses and ports only"
            return None
        host, port = (found[1] or "", int(found[2])) if found else (address, 80)
        host = "" if host in ANY else host
        network = "udp" if "udp" in words else "tcp"
        if host and ("", port, network) in self.places:
            host = ""  # The wildcard takes it, too.
        place = self._place(host, port, network, directive.place)
        directive.used = True
        if "default_server" in words or "default" in words:
            place.default = server
        if "proxy_protocol" in words:
            self._believe(place, server)
        if self._is_tls(directive) and self.protocol == "http":
            self.draft.at("entryPoints", place.name, "http").setdefault("tls", Inline())
        return place

    def _is_tls(self, listen: Directive) -> bool:
        return "ssl" in listen.args or "quic" in listen.args

    def _place(self, host: str, port: int, network: str, origin: str) -> Place:
        key = (host, port, network)
        if key not in self.places:
            plain = NAMES.get(port, f"port-{port}") if network == "tcp" else f"udp-{port}"
            wanted = f"{plain}-{host.strip('[]')}" if host else plain
            name = self.draft.free_name(wanted.replace(":", "-"), "entryPoints")
            self.places[key] = Place(name, host, port, network)
            address = f"{host}:{port}" + ("/udp" if network == "udp" else "")
            self.draft.put(("entryPoints", name), {"address": address}, origin)
        return self.places[key]

    def _believe(self, place: Place, server: Directive) -> None:
        networks = server.inherited("set_real_ip_from")
        for each in networks:
            each.used = True
        believed = Inline(trustedIPs=[each.args[0] for each in networks]) if networks else Inline(insecure=True)
        self.draft.at("entryPoints", place.name)["proxyProtocol"] = believed

    def _patience(self, place: Place, server: Directive) -> None:
        if self.protocol != "http":
            return
        transport = self.draft.at("entryPoints", place.name, "transport")
        for name, (section, key) in PATIENCE.items():
            for directive in server.inherited(name):
                times = transport.setdefault(section, {})
                text = duration(seconds_of(directive))
                directive.used = times.setdefault(key, text) == text
                directive.reason = "another server of the same address has another time"
        for directive in server.inherited("keepalive_requests"):
            most = whole(directive.args[0], directive)
            directive.used = transport.setdefault("keepAliveMaxRequests", most) == most

    # --- TLS -------------------------------------------------------------------------------------------------

    def _certificates(self, server: Directive, places: list[Place]) -> None:
        chains, keys = server.inherited("ssl_certificate"), server.inherited("ssl_certificate_key")
        for chain, key in zip(chains, keys, strict=False):
            if "$" in chain.args[0] or key.args[0].startswith("engine:"):
                chain.reason = key.reason = "a certificate that is only known with each connection"
                continue
            known: list[Any] = self.draft.at("tls").setdefault("certificates", [])
            pair = Inline(certFile=chain.args[0], keyFile=key.args[0])
            chain.used = key.used = True
            if pair not in known:
                known.append(pair)
                self.draft.origins[("tls", "certificates", len(known) - 1)] = chain.place
            if any(place.default is server for place in places):
                self.draft.at("tls", "stores", "default").setdefault("defaultCertificate", Inline(pair))
        options: dict[str, Any] = {}
        for directive in server.inherited("ssl_protocols"):
            known_versions = [VERSIONS[word] for word in directive.args if word in VERSIONS]
            directive.used = len(known_versions) == len(directive.args)
            directive.reason = "versions of TLS below 1.2 are not spoken"
            if known_versions and len(known_versions) < len(VERSIONS):
                options |= {"minVersion": min(known_versions), "maxVersion": max(known_versions)}
        self._client_auth(server, options)
        if options:
            self.options[id(server)] = self._options_named(options, server)

    def _client_auth(self, server: Directive, options: dict[str, Any]) -> None:
        for directive in server.inherited("ssl_verify_client"):
            kind = CLIENT_AUTH.get(directive.args[0])
            authorities = server.inherited("ssl_client_certificate")
            if kind is None:
                directive.reason = "certificates that nobody has verified are worth nothing"
            elif kind != "NoClientCert" and authorities:
                options["clientAuth"] = Inline(caFiles=[authorities[0].args[0]], clientAuthType=kind)
                directive.used = authorities[0].used = True
            elif kind == "NoClientCert":
                directive.used = True

    def _options_named(self, options: dict[str, Any], server: Directive) -> str:
        known = self.draft.at("tls", "options")
        for name, other in known.items():
            if other == options:
                return name
        name = self.draft.free_name("nginx", "tls", "options")
        known[name] = options
        self.draft.origins[("tls", "options", name)] = server.place
        return name

    # --- asking ----------------------------------------------------------------------------------------------

    def tls_options(self, server: Directive) -> str:
        """The name of the TLS options of a server; empty for the defaults."""
        return self.options.get(id(server), "")

    def of(self, server: Directive) -> list[str]:
        """The entry points of a server."""
        return [place.name for place in self.places.values() if server in place.servers]

    def is_default(self, server: Directive) -> bool:
        """Whether a server takes hosts that nobody names, on any of its entry points."""
        return any(place.default is server for place in self.places.values())

    def is_alone(self, server: Directive) -> bool:
        """Whether nobody else is served where a server is: then its names do not matter."""
        return all(place.servers == [server] for place in self.places.values() if server in place.servers)

    def is_redirected(self, server: Directive, name: str) -> bool:
        """Whether all that a server does at an entry point is to redirect."""
        return any(place.name == name and server in place.redirected for place in self.places.values())

    def with_port(self, port: int) -> str:
        """The name of the entry point at a port, or nothing."""
        return next((place.name for place in self.places.values() if place.port == port and place.network == "tcp"), "")
