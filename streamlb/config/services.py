"""What must hold for services beyond the types of their options.

What lives here: one kind per service, what is legal for which protocol, servers, references, cycles, cookies.
What must not: how a service balances. Called by `check.py` with everything the providers gave.
Specified by Traefik's services pages; RFC 6265 section 4.1.1 for cookies.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from streamlb.config import health
from streamlb.config.address import AddressError, parse_server, parse_url
from streamlb.config.failover import check_failover
from streamlb.config.model import PROTOCOLS, bare, qualify
from streamlb.config.naming import to_camel
from streamlb.config.near import nearest
from streamlb.config.observation import METRICS, PING
from streamlb.config.overrides import check_overrides
from streamlb.config.strategies import TOKEN, check_hash_by, check_strategy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlb.config.model import Config, HighestRandomWeight, LoadBalancer, Server, Service, Sticky, Weighted
    from streamlb.config.reading import Path, Reading

MAX_UNIX_PATH = 107
"""What unix(7) takes."""
INTERNAL = {PING: "ping", METRICS: "metrics.prometheus"}
"""What turns a service of streamlb's own on."""

MAX_DEPTH = 32  # services below one another; a pick walks them all

KINDS = ("loadBalancer", "weighted", "highestRandomWeight", "failover", "mirroring")

HTTP_ONLY = {
    ("loadBalancer", "sticky"): "a cookie can stick a client to a server over HTTP only",
    ("weighted", "overrides"): "only HTTP requests have fields and cookies",
    ("weighted", "sticky"): "a cookie can stick a client to a service over HTTP only",
    ("loadBalancer", "passHostHeader"): "only HTTP has a Host header",
    ("loadBalancer", "hashBy"): "only HTTP requests have fields and cookies; here the client's address is hashed",
    (
        "highestRandomWeight",
        "hashBy",
    ): "only HTTP requests have fields and cookies; here the client's address is hashed",
    ("failover", "errors"): "only HTTP answers have a status",
    ("loadBalancer", "responseForwarding"): "only HTTP has answers to forward",
    ("mirroring", "mirrorBody"): "only HTTP requests have a body",
    ("mirroring", "maxBodySize"): "only HTTP requests have a body",
}
"""Options that mean nothing for TCP and UDP."""

SAFE = "/-._~!$&'()*+,;=:@"
TAIL = re.compile(rf"(?:[A-Za-z0-9{re.escape(SAFE)}]|%[0-9A-Fa-f]{{2}})*")  # a path as RFC 3986 section 3.3 has it
ATTRIBUTE = re.compile(r"[\x20-\x3a\x3c-\x7e]*")  # no `;`, no control characters


def check(config: Config, reading: Reading) -> None:
    for protocol in PROTOCOLS:
        services = config.section(protocol).services
        for name, service in services.items():
            _check_service(protocol, name, service, config, reading)
        _check_graph(protocol, services, reading)


def _check_service(protocol: str, name: str, service: Service, config: Config, reading: Reading) -> None:
    path: Path = (protocol, "services", name)
    if reading.is_broken(path):
        return
    kinds = [kind for kind in KINDS if reading.has((*path, kind))]
    given = [getattr(service, field.name) for field in dataclasses.fields(service) if to_camel(field.name) in KINDS]
    if sum(kind is not None for kind in given) > 1 or len(kinds) > 1:
        listed = " and ".join(f"`{kind}`" for kind in kinds)
        reading.error(path, f"a service is of one kind, this one has {listed}", "make two services", at_key=True)
        return
    if all(kind is None for kind in given) and not _any_broken(path, reading):
        reading.error(path, "the service has no kind", f"one of {', '.join(KINDS)}", at_key=True)
        return
    if protocol != "http":
        for (kind, key), reason in HTTP_ONLY.items():
            if reading.has((*path, kind, key)):
                reading.error((*path, kind, key), reason, at_key=True)
    if protocol == "udp" and reading.has((*path, "loadBalancer", "serversTransport")):
        reason = "UDP has no connections, so there are no options for them"
        reading.error((*path, "loadBalancer", "serversTransport"), reason, at_key=True)
    if service.load_balancer:
        _check_load_balancer(protocol, (*path, "loadBalancer"), service.load_balancer, reading)
    if service.weighted:
        _check_weighted((*path, "weighted"), service.weighted, reading)
        _check_sticky((*path, "weighted", "sticky"), service.weighted.sticky, reading)
        check_overrides((*path, "weighted"), service.weighted, reading)
    if service.highest_random_weight:
        _check_weighted((*path, "highestRandomWeight"), service.highest_random_weight, reading)
        check_hash_by((*path, "highestRandomWeight", "hashBy"), service.highest_random_weight.hash_by, reading)
    if service.failover:
        check_failover((*path, "failover"), service.failover, reading)
    for reference, where in references(service, path):
        check_reference(protocol, name, reference, where, config, reading)


def _any_broken(path: Path, reading: Reading) -> bool:
    """Whether something directly below a path is misspelt or not supported: then it is what the user meant."""
    return any(len(broken) == len(path) + 1 and broken[: len(path)] == path for broken in reading.broken)


# --- load balancers ----------------------------------------------------------------------------------------------


def _check_load_balancer(protocol: str, path: Path, balancer: LoadBalancer, reading: Reading) -> None:
    seen: dict[str, int] = {}
    for index, server in enumerate(balancer.servers):
        where = (*path, "servers", index)
        _check_server(protocol, where, server, reading)
        key = server.url or server.address
        if key and key in seen and not reading.is_broken(where):
            reading.note(where, f"`{key}` is listed twice", "give it a `weight` instead")
        seen[key] = index
    if not balancer.servers and not reading.is_broken((*path, "servers")):
        answer = "every request is answered 503" if protocol == "http" else "every client is refused"
        reading.note(path, f"the load balancer has no servers: {answer}")
    _check_sticky((*path, "sticky"), balancer.sticky, reading)
    health.check(protocol, path, balancer, reading)
    check_strategy(protocol, path, balancer, reading)
    _check_queue(protocol, (*path, "queue"), balancer, reading)


def _check_queue(protocol: str, path: Path, balancer: LoadBalancer, reading: Reading) -> None:
    if protocol == "udp" and reading.has(path):
        reading.error(path, "datagrams cannot wait", "remove it", at_key=True)
    if balancer.queue.timeout <= 0:
        reading.error((*path, "timeout"), "a queue's timeout must be longer than 0", "`maxSize: 0` for no queue")
    if reading.has(path) and not any(server.max_connections for server in balancer.servers):
        reading.note(path, "nobody ever waits: no server has `maxConnections`")


def _check_server(protocol: str, path: Path, server: Server, reading: Reading) -> None:
    right, wrong = ("url", "address") if protocol == "http" else ("address", "url")
    given, other = (server.url, server.address) if protocol == "http" else (server.address, server.url)
    if reading.is_broken((*path, right)) or reading.is_broken((*path, wrong)):
        return
    if other or reading.has((*path, wrong)):
        reason = f"{_article(protocol)} server is given by its `{right}`, not by `{wrong}`"
        suggestion = "remove it" if given else _translated(protocol, other)
        reading.error((*path, wrong), reason, suggestion, at_key=True)
        return
    if not given and not reading.has((*path, right)):
        example = '`url: "http://127.0.0.1:8081"`' if right == "url" else '`address: "127.0.0.1:8081"`'
        reading.error((*path, right), f"`{right}` is missing", f"for example {example}", at_key=True)
        return
    if protocol != "http" and reading.has((*path, "preservePath")):
        reading.error((*path, "preservePath"), "only HTTP requests have a path", at_key=True)
    if protocol == "http" and given.lower().startswith("unix:"):
        _check_unix((*path, right), server, reading)
        return
    try:
        if protocol == "http":
            url = parse_url(given)
            address = url.address
            _check_tail((*path, right), url.path, server.preserve_path, reading)
        else:
            address = parse_server(given, protocol)
        if server.resolve == "all" and address.is_numeric:
            reading.note((*path, "resolve"), f"`{address.host}` is an address: there is nothing to resolve")
    except AddressError as error:
        reading.error((*path, right), error.reason, _write(error.suggestion))


def _check_unix(where: Path, server: Server, reading: Reading) -> None:
    """A server at a Unix socket: `unix:/run/app.sock` (streamlb's own)."""
    name = server.url[len("unix:") :]
    if not server.url.startswith("unix:") or name.startswith("//") or not name.startswith("/"):
        guess = f"write `unix:/{name.lstrip('/')}`" if name.strip("/") else "for example `unix:/run/app.sock`"
        reading.error(where, "the path of a Unix socket follows `unix:` and begins with one slash", guess)
    elif len(name.encode()) > MAX_UNIX_PATH or "\0" in name:
        reading.error(where, f"the path of a Unix socket has at most {MAX_UNIX_PATH} bytes, none of them zero")
    elif server.preserve_path:
        reading.error((*where[:-1], "preservePath"), "a Unix socket has no path for requests", "remove it", at_key=True)
    elif server.resolve == "all":
        reading.error((*where[:-1], "resolve"), "a Unix socket has no name to resolve", "remove it", at_key=True)


def _check_tail(where: Path, tail: str, is_preserved: bool, reading: Reading) -> None:
    """The path of a server's URL: put before that of each request if the user says so."""
    if is_preserved:
        if not TAIL.fullmatch(tail):
            reason = f"`{tail}` cannot stand in a path as it is"
            suggestion = f"`{quote(tail, safe=SAFE)}`" if tail.isprintable() else ""
            reading.error(where, reason, suggestion)
    elif tail not in ("", "/"):
        reason = f"the path `{tail}` of a server's URL is ignored, as in Traefik"
        reading.note(where, reason, "`preservePath: true` puts it before the path of each request", at_key=False)


def _translated(protocol: str, value: str) -> str:
    try:
        if protocol == "http":
            return f'write `url: "http://{parse_server(value)}"`'
        return f'write `address: "{parse_url(value).address}"`'
    except AddressError:
        return ""


def _article(protocol: str) -> str:
    return {"http": "an HTTP", "tcp": "a TCP", "udp": "a UDP"}[protocol]


def _write(suggestion: str) -> str:
    if not suggestion:
        return ""
    return suggestion if suggestion.startswith("use ") else f"write {suggestion}"


# --- weights and cookies -----------------------------------------------------------------------------------------


WORDS = {"weighted": "weighted service", "highestRandomWeight": "service"}


def _check_weighted(path: Path, weighted: Weighted | HighestRandomWeight, reading: Reading) -> None:
    seen: set[str] = set()
    for index, child in enumerate(weighted.services):
        where = (*path, "services", index)
        if child.name in seen and not reading.is_broken((*where, "name")):
            reading.note(where, f"`{child.name}` is listed twice", "add the weights up in one of them")
        seen.add(child.name)
    if not weighted.services and not reading.is_broken((*path, "services")):
        reading.note(path, f"the {WORDS[str(path[-1])]} has no services: it never has a server to give")


def _check_sticky(path: Path, sticky: Sticky | None, reading: Reading) -> None:
    if sticky is None or reading.is_broken(path):
        return
    cookie, where = sticky.cookie, (*path, "cookie")
    if cookie.name and not TOKEN.fullmatch(cookie.name):
        allowed = re.sub(r"[^!#$%&'*+.^_`|~0-9A-Za-z-]", "_", cookie.name)
        reason = "a cookie's name takes letters, digits and !#$%&'*+-.^_`|~ only"
        reading.error((*where, "name"), reason, f"for example `{allowed}`")
    for key, value in (("path", cookie.path), ("domain", cookie.domain)):
        if not ATTRIBUTE.fullmatch(value):
            reading.error((*where, key), f"a cookie's {key} holds no `;` and no control characters")
    if cookie.path and not cookie.path.startswith("/"):
        reading.error((*where, "path"), "a cookie's path begins with `/`", f"`/{cookie.path}`")
    if cookie.same_site == "none" and not cookie.secure:
        reason = "browsers drop a cookie with `sameSite: none` that is not `secure: true`"
        reading.note((*where, "sameSite"), reason, at_key=False)


# --- references between services ---------------------------------------------------------------------------------


def references(service: Service, path: Path) -> Iterator[tuple[str, Path]]:
    """What a service refers to, as written, and where."""
    if service.weighted:
        for index, child in enumerate(service.weighted.services):
            yield child.name, (*path, "weighted", "services", index, "name")
    if service.highest_random_weight:
        for index, child in enumerate(service.highest_random_weight.services):
            yield child.name, (*path, "highestRandomWeight", "services", index, "name")
    if service.failover:
        yield service.failover.service, (*path, "failover", "service")
        yield service.failover.fallback, (*path, "failover", "fallback")
    if service.mirroring:
        yield service.mirroring.service, (*path, "mirroring", "service")
        for index, mirror in enumerate(service.mirroring.mirrors):
            yield mirror.name, (*path, "mirroring", "mirrors", index, "name")


def check_reference(
    protocol: str, referrer: str, reference: str, where: Path, config: Config, reading: Reading
) -> None:
    """Report a service that does not exist."""
    if reading.is_broken(where) or reading.is_broken((protocol, "services")):
        return
    services = config.section(protocol).services
    if not reference:
        reading.error(where, "the name of a service is missing")
        return
    wanted = qualify(reference, referrer)
    if wanted in services:
        return
    if wanted in INTERNAL:
        _check_internal(protocol, wanted, where, config, reading)
        return
    if wanted.endswith("@internal"):
        reading.error(where, f"Traefik's internal service `{reference}` is not supported by streamlb yet")
        return
    for other in PROTOCOLS:
        if wanted in config.section(other).services:
            reason = f"`{reference}` is {_article(other)} service; {_article(protocol)} one is needed here"
            reading.error(where, reason, f"services for this are under `{protocol}.services`")
            return
    guess = nearest(wanted, services) or nearest(bare(wanted), services)
    if not guess:
        by_bare = {bare(name): name for name in services}
        guess = by_bare.get(nearest(bare(wanted), by_bare), "")
    suggestion = f"did you mean `{guess}`?" if guess else f"define it under `{protocol}.services`"
    reading.error(where, f"unknown service `{reference}`", suggestion)


def _check_internal(protocol: str, wanted: str, where: Path, config: Config, reading: Reading) -> None:
    key, options = INTERNAL[wanted], config.ping if wanted == PING else config.metrics.prometheus
    if protocol != "http" or where[1] != "routers":
        reading.error(where, f"`{wanted}` answers HTTP requests: an HTTP router can lead to it, nothing else can")
    elif options is None and not reading.is_broken(tuple(key.split("."))):
        section, _, inner = key.partition(".")
        reading.error(where, f"`{wanted}` is not on", f"add `{section}: {f'{{{inner}: {{}}}}' if inner else '{}'}`")


def _check_graph(protocol: str, services: dict[str, Service], reading: Reading) -> None:
    """Find cycles and trees too deep to walk, by a depth-first search without recursion."""
    height: dict[str, int] = {}  # of finished services: how many levels there are, itself included
    on_trail: dict[str, None] = {}  # services whose children are being visited, in order
    for root in services:
        todo: list[tuple[str, bool, Path]] = [(root, False, ())]
        while todo:
            name, is_done, where = todo.pop()
            if is_done:
                del on_trail[name]
                below = [height.get(child, 0) for child, _ in _children(protocol, name, services)]
                height[name] = 1 + max(below, default=0)
                if height[name] == MAX_DEPTH + 1:
                    reason = f"services are nested deeper than {MAX_DEPTH} levels"
                    reading.error((protocol, "services", name), reason, at_key=True)
            elif name in on_trail:
                trail = list(on_trail)
                cycle = [*trail[trail.index(name) :], name]
                reason = f"the services form a cycle: {_arrows(cycle)}"
                reading.error(where, reason, "one of them must end in servers")
            elif name not in height:
                on_trail[name] = None
                todo.append((name, True, where))
                children = list(_children(protocol, name, services))
                todo.extend((child, False, spot) for child, spot in reversed(children))


def _arrows(cycle: list[str]) -> str:
    if len(cycle) > 12:
        cycle = [*cycle[:6], "...", *cycle[-5:]]
    return " -> ".join(f"`{name}`" if name != "..." else name for name in cycle)


def _children(protocol: str, name: str, services: dict[str, Service]) -> Iterator[tuple[str, Path]]:
    for reference, where in references(services[name], (protocol, "services", name)):
        child = qualify(reference, name)
        if child in services:
            yield child, where
