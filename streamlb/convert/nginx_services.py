"""nginx's upstreams, split_clients and proxy_pass as services.

What lives here: servers with their parameters, strategies, shares, transports. What must not: who gets which requests
(`nginx.py`). Specified by nginx's modules ngx_http_upstream, ngx_stream_upstream, split_clients and proxy.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from math import gcd
from typing import TYPE_CHECKING, Any

from streamlb.convert.draft import ConvertError, Draft, Inline, duration

if TYPE_CHECKING:
    from streamlb.convert.nginx_text import Directive

TIME = re.compile(r"(\d+)(ms|s|m|h|d|w|M|y)?")
UNITS = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "M": 2592000, "y": 31536000}
HASHED = re.compile(r"\$\{?(http|cookie)_([a-z0-9_]+)\}?")
CLIENT = re.compile(r"\$\{?(?:binary_)?remote_addr\}?")
HOST_OF_THE_CLIENT = {"$host", "$http_host", "$host:$server_port", "$host:$proxy_port"}


class Cannot(Exception):
    """A directive that has no place in the result; the message says why."""


@dataclass(slots=True)
class Services:
    """Services made on demand, each once. protocol: http or tcp or udp. upstreams, splits: by name and by variable."""

    draft: Draft
    protocol: str
    upstreams: dict[str, Directive]
    splits: dict[str, Directive]
    made: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def named(self, target: str, scheme: str, options: dict[str, Any], location: Directive, *, tail: str = "") -> str:
        """The service behind `http://target`: an upstream, a variable of split_clients, or a server. Raises Cannot."""
        key = (target, scheme, tail, repr(sorted(options.items())))
        if key not in self.made:
            self.made[key] = self._make(target, scheme, options, location, tail)
        return self.made[key]

    def _make(self, target: str, scheme: str, options: dict[str, Any], location: Directive, tail: str) -> str:
        split = self.splits.get(target.replace("{", "").replace("}", ""))
        if split is not None:
            return self._split(split, scheme, options, location, tail)
        if "$" in target:
            raise Cannot("where it leads is only known with each request")
        upstream = self.upstreams.get(target)
        if upstream is not None:
            return self._upstream(upstream, scheme, options, tail)
        address = self.address(target, scheme)
        name = self.draft.free_name(target.replace("[", "").replace("]", ""), self.protocol, "services")
        balancer = {"servers": [self._server(address, scheme, tail)], **options}
        self.draft.put((self.protocol, "services", name), {"loadBalancer": balancer}, location.place)
        return name

    def _server(self, address: str, scheme: str, tail: str = "", **more: Any) -> Inline:
        if self.protocol != "http":
            return Inline(address=address, **more)
        kept = {"preservePath": True} if tail else {}
        return Inline(url=f"{scheme}://{address}{tail}", **kept, **more)

    def address(self, text: str, scheme: str = "") -> str:
        """`host:port` of a server. Raises Cannot."""
        if text.startswith("unix:"):
            raise Cannot("servers at Unix sockets")
        if re.search(r":\d+$", text):
            return text
        if self.protocol != "http":
            raise Cannot("a server without a port")
        return f"{text}:{443 if scheme == 'https' else 80}"

    # --- upstreams -------------------------------------------------------------------------------------------

    def _upstream(self, upstream: Directive, scheme: str, options: dict[str, Any], tail: str) -> str:
        main, spare, passive = self._servers(upstream, scheme, tail)
        balancer: dict[str, Any] = {"servers": main, **self._strategy(upstream), **options}
        if passive:
            balancer["passiveHealthCheck"] = passive
        upstream.used = True
        name = self.draft.free_name(upstream.args[0], self.protocol, "services")
        path = (self.protocol, "services")
        if not spare:
            self.draft.put((*path, name), {"loadBalancer": balancer}, upstream.place)
            return name
        if not main:
            self.draft.put((*path, name), {"loadBalancer": {**balancer, "servers": spare}}, upstream.place)
            return name
        self.draft.put((*path, name), {"failover": {"service": f"{name}-main", "fallback": f"{name}-backup"}}, "")
        self.draft.origins[(*path, name)] = upstream.place
        self.draft.at(*path)[f"{name}-main"] = {"loadBalancer": balancer}
        self.draft.at(*path)[f"{name}-backup"] = {"loadBalancer": {**balancer, "servers": spare}}
        return name

    def _servers(self, upstream: Directive, scheme: str, tail: str) -> tuple[list[Inline], list[Inline], Inline | None]:
        """The servers, those for when no other is left, and what takes one out."""
        main: list[Inline] = []
        spare: list[Inline] = []
        limits: set[tuple[int, float]] = set()
        for directive in (each for each in upstream.all("server") if each.args):
            more: dict[str, Any] = {}
            words = directive.args[1:]
            values = dict(word.partition("=")[::2] for word in words)
            try:
                address = self.address(directive.args[0], scheme)
            except Cannot as error:
                directive.reason = str(error)
                continue
            if "down" in values:
                directive.reason = "the server is marked down"
                continue
            directive.used = True
            if "weight" in values:
                more["weight"] = whole(values["weight"], directive)
            if whole(values.get("max_conns", "0"), directive):
                more["maxConnections"] = whole(values["max_conns"], directive)
            if _is_name(address):
                more["resolve"] = "all"
            fails = whole(values.get("max_fails", "1"), directive)
            if fails and ("max_fails" in values or "fail_timeout" in values):
                limits.add((fails, _seconds(values.get("fail_timeout", "10s"), directive)))
            (spare if "backup" in values else main).append(self._server(address, scheme, tail, **more))
        if not limits:
            return main, spare, None
        fails, window = max(limits)
        return main, spare, Inline(maxFailedAttempts=fails, failureWindow=duration(window))

    def _strategy(self, upstream: Directive) -> dict[str, Any]:
        for directive in upstream.inside or []:
            try:
                found = self._strategy_of(directive)
            except Cannot as error:
                directive.reason = str(error)
                continue
            if found is not None:
                directive.used = True
                return found
        return {}

    def _strategy_of(self, directive: Directive) -> dict[str, Any] | None:
        if directive.name == "least_conn":
            return {"strategy": "leastconn"}
        if directive.name == "least_time":
            return {"strategy": "leasttime"}
        if directive.name == "random":
            return {"strategy": "p2c"}
        if directive.name == "ip_hash":
            return {"strategy": "hrw"}
        if directive.name == "hash" and directive.args:
            by = hashed_by(directive.args[0], self.protocol)
            return {"strategy": "hrw", **({"hashBy": by} if by else {})}
        return None

    # --- shares ----------------------------------------------------------------------------------------------

    def _split(self, split: Directive, scheme: str, options: dict[str, Any], location: Directive, tail: str) -> str:
        """split_clients: by what it hashes where we can hash that, else shares in turns."""
        children: list[Inline] = []
        rest = 10_000
        for part in split.inside or []:
            if part.name != "*" and not re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]{1,2})?%", part.name):
                raise ConvertError(part.line, f"`{part.name}` is no share")
            share = rest if part.name == "*" else round(float(part.name.rstrip("%")) * 100)
            rest -= share
            target = re.sub(r"^https?://", "", part.args[0]) if part.args else ""
            try:
                name = self.named(target, scheme, options, location, tail=tail)
            except Cannot as error:
                part.reason = str(error)
                continue
            part.used = True
            same = [child for child in children if child["name"] == name]
            if same:
                same[0]["weight"] += share
            else:
                children.append(Inline(name=name, weight=share))
        if not children:
            raise Cannot("none of its shares leads to a server")
        step = gcd(*(child["weight"] for child in children)) or 1
        for child in children:
            child["weight"] //= step
        try:
            by = hashed_by(split.args[0], self.protocol)
            kind: dict[str, Any] = {"highestRandomWeight": {"services": children, **({"hashBy": by} if by else {})}}
        except Cannot:
            kind = {"weighted": {"services": children}}
        split.used = True
        name = self.draft.free_name(split.args[1].lstrip("$"), self.protocol, "services")
        self.draft.put((self.protocol, "services", name), kind, split.place)
        return name


def hashed_by(text: str, protocol: str) -> Inline | None:
    """What `hrw` is to hash; None for the client's address. Raises Cannot."""
    found = HASHED.search(text)
    if found and protocol == "http":
        return Inline(
            {"header" if found[1] == "http" else "cookie": found[2].replace("_", "-" if found[1] == "http" else "_")}
        )
    if CLIENT.search(text):
        return None
    raise Cannot(f"hashing by {text}")


def _is_name(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def _seconds(text: str, directive: Directive) -> float:
    parts = TIME.findall(text)
    if not parts or "".join("".join(part) for part in parts) != text.replace(" ", ""):
        raise ConvertError(directive.line, f"`{text}` is no time")
    return float(sum(int(number) * UNITS[unit] for number, unit in parts))


def whole(text: str, directive: Directive) -> int:
    """A whole number of a directive. Raises ConvertError."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ConvertError(directive.line, f"`{text}` is no whole number")
    return int(text)


def seconds_of(directive: Directive) -> float:
    """The time a directive names as its first word. Raises ConvertError."""
    return _seconds(directive.args[0] if directive.args else "", directive)
