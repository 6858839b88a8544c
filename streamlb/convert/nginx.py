"""nginx's configuration as ours.

What lives here: the whole way; `http`: servers, locations and where they lead.
What must not: upstreams (`nginx_services.py`), `stream` (`nginx_stream.py`), entry points (`nginx_listen.py`), files.
Called by the command line. Specified by nginx's modules core, http, proxy, upstream, rewrite (`return`) and mirror.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streamlb.convert import nginx_stream
from streamlb.convert.draft import Draft, Inline, Left, duration
from streamlb.convert.nginx_listen import EntryPoints, Place
from streamlb.convert.nginx_reasons import reason_of
from streamlb.convert.nginx_services import HOST_OF_THE_CLIENT, Cannot, Services, seconds_of
from streamlb.convert.nginx_text import Directive, parse
from streamlb.convert.rules import EVERYTHING, NoRule, Rule, all_of, any_of, hosts, literal, matcher, none_of, pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

TO_HTTPS = re.compile(r"https://(?:\$host|\$server_name|\$http_host)(?::(\d+))?\$request_uri")
KINDS = ("exact", "wildcard", "suffix", "regex", "default")
SEARCHED = {"http", "stream", "server", "location", "upstream", "split_clients", "map"}
"""Blocks whose directives are told one by one."""
STEP = 1_000  # priorities between a server and the next


def convert(text: str, source: str) -> Draft:
    """The draft of a configuration file, or of what `nginx -T` prints. Raises ConvertError."""
    root = parse(text)
    draft = Draft(source)
    for block in root.all("http"):
        block.used = True
        _Http(block, draft).convert()
    for block in root.all("stream"):
        block.used = True
        nginx_stream.convert(block, draft)
    if not root.all("http", "stream"):  # A file of conf.d, which others include into `http`.
        _Http(root, draft).convert()
    _list(root, draft)
    return draft


def _list(block: Directive, draft: Draft) -> None:
    """What of a block was left; another module's block, of which nothing was used, is one line."""
    for directive in block.inside or []:
        inside = [*directive.walk()][1:]
        reason = directive.reason or reason_of(directive)
        if directive.used or directive.name in SEARCHED or not inside:
            if not directive.used:
                draft.left.append(Left(directive.place, directive.text, reason))
            _list(directive, draft)
        else:
            told = f"{reason}; with the {len(inside)} inside"
            draft.left.append(Left(directive.place, directive.text, told))


@dataclass(slots=True)
class _Hosts:
    """Names of a server that are asked in one turn. rank: lower is asked first."""

    server: Directive
    kind: str
    rule: Rule | None
    rank: tuple[int, int]
    has_all: bool = False


class _Http:
    """`http`, or a file that is included there."""

    def __init__(self, block: Directive, draft: Draft) -> None:
        self.block = block
        self.draft = draft
        self.entry_points = EntryPoints(draft, "http")
        splits = {each.args[1]: each for each in block.all("split_clients") if len(each.args) > 1}
        upstreams = {each.args[0]: each for each in block.all("upstream") if each.args}
        self.services = Services(draft, "http", upstreams, splits)

    def convert(self) -> None:
        servers = self.block.all("server")
        for server in servers:
            server.used = True
            self.entry_points.listen(server)
        for place in self.entry_points.places.values():
            self._redirections(place)
        groups = _turns(servers, self.entry_points)
        for number, group in enumerate(groups):
            above = [each for each in groups[:number] if not each.has_all and self._meet(each, group)]
            self._server(group, above, (len(groups) - number) * STEP)

    def _meet(self, one: _Hosts, other: _Hosts) -> bool:
        """Whether a request for a host of the one could be taken by the other on some entry point."""
        shared = set(self.entry_points.of(one.server)) & set(self.entry_points.of(other.server))
        return (
            bool(shared) and one.server is not other.server and other.kind in ("regex", "default", "wildcard", "suffix")
        )

    # --- servers ---------------------------------------------------------------------------------------------

    def _server(self, group: _Hosts, above: list[_Hosts], priority: int) -> None:
        server = group.server
        names = [name for name in self.entry_points.of(server) if not self.entry_points.is_redirected(server, name)]
        if not names:
            return
        redirect = _redirect_of(server)
        if redirect is not None and not server.all("location"):
            redirect.reason = (
                "sends everybody elsewhere while others of its address are served; redirections hold for "
                "whole entry points"
            )
        apart = [none_of(each.rule) for each in above if each.rule is not None]
        options = self.entry_points.tls_options(server)
        for rank, location, path in _locations(server):
            conditions = [*([group.rule] if group.rule else []), *([path] if path else []), *apart]
            rule = all_of(conditions) if conditions else Rule(EVERYTHING)
            self._location(location, rule, names, priority + rank, options, group)

    def _location(
        self, location: Directive, rule: Rule, names: list[str], priority: int, options: str, group: _Hosts
    ) -> None:
        passing = location.first("proxy_pass")
        if location.first("internal") is not None:
            location.reason = location.reason or "only nginx itself asks for it"
            return
        location.used = True
        if passing is None:
            if location.name == "location":
                location.used = False
                location.reason = (
                    "nothing is passed on here, so streamlb has nothing to do; requests go to the next best"
                )
            return
        try:
            service = self._service(passing, location)
        except Cannot as error:
            passing.reason, location.used, location.reason = str(error), False, str(error)
            return
        passing.used = True
        if (location.name == "location" and location.args[-1] == "/") or location.name == "server":
            group.has_all = True
        router: dict[str, Any] = {"rule": str(rule), "service": service, "entryPoints": names, "priority": priority}
        timeouts = self._timeouts(location)
        if timeouts:
            router["timeouts"] = timeouts
        if options:
            router["tls"] = Inline(options=options)
        wanted = "-".join([_name_of(location.around if location.name == "location" else location), *_words(location)])
        path = ("http", "routers", self.draft.free_name(wanted, "http", "routers"))
        self.draft.put(path, router, location.place)

    def _timeouts(self, location: Directive) -> Inline:
        for directive in location.inherited("proxy_read_timeout"):
            directive.used = True
            text = duration(seconds_of(directive))
            return Inline(firstByte=text, idle=text)
        return Inline()

    # --- services --------------------------------------------------------------------------------------------

    def _service(self, passing: Directive, location: Directive) -> str:
        found = re.fullmatch(r"(https?)://([^/]+)(/.*)?", passing.args[0] if passing.args else "")
        if not found:
            raise Cannot("where it leads is only known with each request")
        scheme, target, path = found[1], found[2], found[3] or ""
        tail = _tail(path, location)
        options = self._balancing(location, target, scheme)
        service = self.services.named(target, scheme, options, location, tail=tail)
        mirrors = [each for each in location.inherited("mirror") if each.args and each.args[0] != "off"]
        copies = [Inline(name=name, percent=100) for each in mirrors for name in self._mirror(each, location)]
        if not copies:
            return service
        body = [each for each in location.inherited("mirror_request_body") if each.args == ["off"]]
        for each in body:
            each.used = True
        mirroring = {"service": service, "mirrors": copies, **({"mirrorBody": False} if body else {})}
        known = self.draft.at("http", "services")
        for name, other in known.items():
            if other == {"mirroring": mirroring}:
                return name
        name = self.draft.free_name(f"{service}-mirrored", "http", "services")
        self.draft.put(("http", "services", name), {"mirroring": mirroring}, mirrors[0].place)
        return name

    def _mirror(self, mirror: Directive, location: Directive) -> Iterator[str]:
        """The service that a mirror's location leads to."""
        server = location.around if location.name == "location" else location
        for target in server.all("location") if server else []:
            if target.args[-1:] == mirror.args[:1] and (passing := target.first("proxy_pass")):
                found = re.fullmatch(r"(https?)://([^/$]+)(?:\$request_uri|\$uri)?", passing.args[0])
                if found:
                    options = self._balancing(target, found[2], found[1])
                    yield self.services.named(found[2], found[1], options, target)
                    for each in (mirror, passing, target, *target.all("internal")):
                        each.used = True
                    return
        mirror.reason = "a mirror is the name of a location that passes on `$request_uri`"

    def _balancing(self, location: Directive, target: str, scheme: str) -> dict[str, Any]:
        options: dict[str, Any] = {}
        fields = location.inherited("proxy_set_header")
        for each in fields:
            if len(each.args) < 2:
                continue
            if each.args[0].lower() == "host":
                each.used = each.args[1] in {*HOST_OF_THE_CLIENT, "$proxy_host"}
        hosts_sent = [each.args[1] for each in fields if each.args[0].lower() == "host" and len(each.args) > 1]
        if not hosts_sent or hosts_sent[0] not in HOST_OF_THE_CLIENT:
            options["passHostHeader"] = False
        transport = self._transport(location, scheme)
        if transport:
            options["serversTransport"] = transport
        return options

    def _transport(self, location: Directive, scheme: str) -> str:
        """The name of the transport that says what location says about connections to servers; empty for none."""
        transport: dict[str, Any] = {}
        said: list[Directive] = []
        for directive in location.inherited("proxy_connect_timeout"):
            transport["forwardingTimeouts"] = {"dialTimeout": duration(seconds_of(directive))}
            said.append(directive)
        if scheme == "https":
            verified = any(each.args == ["on"] for each in location.inherited("proxy_ssl_verify"))
            said += location.inherited("proxy_ssl_verify")
            if not verified:
                transport["insecureSkipVerify"] = True  # nginx trusts any certificate unless told otherwise.
            for name, key in (("proxy_ssl_trusted_certificate", "rootCAs"), ("proxy_ssl_name", "serverName")):
                for directive in location.inherited(name):
                    if directive.args and "$" not in directive.args[0]:
                        transport[key] = [directive.args[0]] if key == "rootCAs" else directive.args[0]
                        said.append(directive)
        for directive in said:
            directive.used = True
        if not transport:
            return ""
        known = self.draft.at("http", "serversTransports")
        for name, other in known.items():
            if other == transport:
                return name
        name = self.draft.free_name("https" if scheme == "https" else "patience", "http", "serversTransports")
        known[name] = transport
        if said:
            self.draft.origins[("http", "serversTransports", name)] = said[0].place
        return name

    # --- redirections ----------------------------------------------------------------------------------------

    def _redirections(self, place: Place) -> None:
        """An entry point whose servers send everybody to HTTPS."""
        found = [(server, _redirect_of(server)) for server in place.servers]
        sending = [(server, each) for server, each in found if each is not None]
        others = [server for server, each in found if each is None]
        if not sending or any(not _host_names(server) or place.default is server for server in others):
            return
        redirect = sending[0][1]
        port = (TO_HTTPS.fullmatch(redirect.args[-1]) or [None, None])[1] or "443"
        target = self.entry_points.with_port(int(port)) or f":{port}"
        to = Inline(to=target, scheme="https", permanent=redirect.args[0] in ("301", "308"))
        if others:
            to["priority"] = 1
        for server, each in sending:
            each.used = True
            place.redirected.append(server)
        path = ("entryPoints", place.name, "http", "redirections")
        self.draft.put(path, Inline(entryPoint=to), redirect.place)


def _redirect_of(server: Directive) -> Directive | None:
    """The `return` of a server that sends everything to HTTPS and does nothing else."""
    inside = server.all("return") or [
        each for location in server.all("location") if location.args == ["/"] for each in location.all("return")
    ]
    for each in inside:
        if each.args[:1] in (["301"], ["302"], ["307"], ["308"]) and TO_HTTPS.fullmatch(each.args[-1]):
            if any(location.first("proxy_pass") for location in server.all("location")):
                return None
            for location in server.all("location"):
                location.used = location.used or each in (location.inside or [])
            return each
    return None


# --- names -------------------------------------------------------------------------------------------------------


def _host_names(server: Directive) -> list[str]:
    return [name for each in server.all("server_name") for name in each.args if name not in ("_", "")]


def _turns(servers: list[Directive], entry_points: EntryPoints) -> list[_Hosts]:
    """The servers' names in the order nginx looks at them: exact ones, wildcards, patterns, the default server."""
    found: list[_Hosts] = []
    for number, server in enumerate(servers):
        by_kind: dict[tuple[str, int], list[str]] = {}
        is_alone = entry_points.is_alone(server)
        for directive in server.all("server_name"):
            directive.used = True
            for name in directive.args:
                if not is_alone:
                    by_kind.setdefault(_kind_of(name), []).append(name)
        for (kind, length), names in by_kind.items():
            try:
                rule = _host_rule(kind, names)
            except NoRule as error:
                server.all("server_name")[0].used = False
                server.all("server_name")[0].reason = str(error)
                continue
            if rule is not None:
                found.append(_Hosts(server, kind, rule, (KINDS.index(kind), number - length * STEP)))
        if entry_points.is_default(server):
            found.append(_Hosts(server, "default", None, (len(KINDS), number)))
    return sorted(found, key=lambda each: each.rank)


def _kind_of(name: str) -> tuple[str, int]:
    if name.startswith("~"):
        return "regex", 0
    if name.startswith(("*.", ".")):
        return "wildcard", len(name)
    return ("suffix", len(name)) if name.endswith(".*") else ("exact", 0)


def _host_rule(kind: str, names: list[str]) -> Rule | None:
    """The rule of names of one kind; None if they say nothing. A wildcard of nginx is any number of labels."""
    if kind == "exact":
        told = [name.lower().rstrip(".") for name in names if name not in ("_", "")]
        return hosts(told) if told else None
    rules: list[Rule] = []
    for name in names:
        if kind == "regex":
            rules.append(pattern("HostRegexp", re.sub(r"\(\?<(\w+)>", r"(?P<\1>", name[1:])))
        elif kind == "suffix":
            rules.append(pattern("HostRegexp", f"^{literal(name[:-1].lower())}"))
        else:
            rest = literal(name.lstrip("*").lower().lstrip("."))
            optional = "" if name.startswith("*") else "?"
            rules.append(pattern("HostRegexp", f"^(?:.+\\.){optional}{rest}$" if optional else f"^.+\\.{rest}$"))
    return any_of(rules)


def _name_of(server: Directive | None) -> str:
    names = _host_names(server) if server is not None else []
    return names[0].lstrip("~^*.").rstrip("$") if names else "default"


def _words(location: Directive) -> list[str]:
    if location.name != "location" or location.args[-1:] == ["/"]:
        return []
    words = re.sub(r"[^A-Za-z0-9]+", "-", location.args[-1]).strip("-")
    return [words or "path"]


# --- paths -------------------------------------------------------------------------------------------------------


def _locations(server: Directive) -> Iterator[tuple[int, Directive, Rule | None]]:
    """What a server's locations are asked for, each with its rank: exact, `^~`, patterns, prefixes by their length."""
    if server.first("proxy_pass"):
        yield 0, server, None
    every = server.all("location")
    prefixes = [each for each in every if len(each.args) == 1 and not each.args[0].startswith("@")]
    patterns = [each for each in every if each.args[:1] in (["~"], ["~*"])]
    for location in every:
        for nested in location.all("location"):
            nested.reason = "a location inside another"
        if location.args[:1] == ["@"] or location.args[0].startswith("@"):
            location.reason = "a location with a name is for errors and retries only"
            continue
        try:
            yield _location_rule(location, prefixes, patterns)
        except NoRule as error:
            location.reason = str(error)


def _location_rule(
    location: Directive, prefixes: list[Directive], patterns: list[Directive]
) -> tuple[int, Directive, Rule | None]:
    sign, path = (location.args[0], location.args[1]) if len(location.args) > 1 else ("", location.args[0])
    if sign == "=":
        return 900, location, matcher("Path", path)
    if sign in ("~", "~*"):
        fitted = re.sub(r"\(\?<(\w+)>", r"(?P<\1>", path)
        rank = 600 - min(299, patterns.index(location))
        return rank, location, pattern("PathRegexp", fitted, ignore_case=sign == "~*")
    if sign == "^~":
        longer = [each.args[0] for each in prefixes if each.args[0].startswith(path) and each.args[0] != path]
        conditions = [matcher("PathPrefix", path), *(none_of(matcher("PathPrefix", each)) for each in longer)]
        return 601 + min(250, len(path)), location, all_of(conditions)
    rank = min(250, len(path))
    return rank, location, None if path == "/" else matcher("PathPrefix", path)


def _tail(path: str, location: Directive) -> str:
    """What of a proxy_pass's path is put before the paths of requests. Raises Cannot."""
    if "$" in path:
        if path in ("$request_uri", "$uri"):
            return ""
        raise Cannot("where it leads is only known with each request")
    own = location.args[0] if location.name == "location" and len(location.args) == 1 else ""
    if location.name == "location" and location.args[:1] in (["="], ["^~"]):
        own = location.args[1]
    if not path or path == own or (location.name == "server" and path == "/"):
        return ""
    if own == "/" and path.endswith("/"):
        return path.rstrip("/")
    raise Cannot(
        f"streamlb does not rewrite paths: `{own}` would become `{path}`; let the server have them as they are"
    )
