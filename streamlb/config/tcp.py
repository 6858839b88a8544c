"""What must hold for TCP's own options: middlewares, who names them, what load balancers of other protocols lack.

What lives here: one kind per middleware, ranges, references to middlewares, options that only TCP has.
What must not: what a middleware does (`runtime/gates.py`). Called by `check.py` with everything the providers gave.
Specified by Traefik's pages on TCP middlewares and TCP services.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlb.config.address import check_network
from streamlb.config.model import qualify
from streamlb.config.near import nearest

if TYPE_CHECKING:
    from streamlb.config.model import Config, LoadBalancer, TcpMiddleware
    from streamlb.config.reading import Path, Reading

KINDS = ("ipAllowList", "inFlightConn")

NOT_FOR_HTTP = {
    "proxyProtocol": "HTTP servers get a PROXY header by their transport: `proxyProtocol` under `serversTransports`",
    "terminationDelay": "only TCP connections are half-closed on their own",
    "idleTimeout": "for HTTP, `timeouts.idle` of the service or its routers bounds the silence",
}
NOT_FOR_UDP = {
    "proxyProtocol": "the PROXY protocol is for TCP connections",
    "terminationDelay": "datagrams have no connections that could end",
    "idleTimeout": "`udp.timeout` of the entry point ends silent flows",
}
NO_TLS = {
    "http": ("an HTTP server that speaks TLS says so in its URL", '`url: "https://..."`'),
    "udp": ("TLS is for TCP connections", "remove it"),
}


def check(config: Config, reading: Reading) -> None:
    for name, middleware in config.tcp.middlewares.items():
        _check_middleware(name, middleware, reading)
    _check_references(config, reading)
    for protocol in ("http", "tcp", "udp"):
        for name, service in config.section(protocol).services.items():
            if service.load_balancer is not None:
                _check_balancer(protocol, (protocol, "services", name, "loadBalancer"), service.load_balancer, reading)


# --- middlewares -------------------------------------------------------------------------------------------------


def _check_middleware(name: str, middleware: TcpMiddleware, reading: Reading) -> None:
    path: Path = ("tcp", "middlewares", name)
    reading.check_own_name(path)
    if reading.is_broken(path):
        return
    given = [kind for kind in KINDS if reading.has((*path, kind))]
    if len(given) > 1:
        reason = f"a middleware is of one kind, this one has {' and '.join(f'`{kind}`' for kind in given)}"
        reading.error(path, reason, "make two middlewares", at_key=True)
        return
    if not given:
        if not any(broken[: len(path)] == path for broken in reading.broken):
            reading.error(path, "the middleware has no kind", f"one of {', '.join(KINDS)}", at_key=True)
        return
    allowed = middleware.ip_allow_list
    if allowed is None:
        return
    where = (*path, "ipAllowList", "sourceRange")
    for index, network in enumerate(allowed.source_range):
        reason = check_network(network)
        if reason:
            reading.error((*where, index), reason)
    if not allowed.source_range and not reading.is_broken(where):
        reading.error(where, "nobody would get in: there is no range", "for example `[10.0.0.0/8]`", at_key=True)


def _check_references(config: Config, reading: Reading) -> None:
    known = config.tcp.middlewares
    for name, router in config.tcp.routers.items():
        path: Path = ("tcp", "routers", name, "middlewares")
        for index, reference in enumerate(router.middlewares):
            where = (*path, index)
            wanted = qualify(reference, name)
            if wanted in known or reading.is_broken(where) or reading.is_broken(("tcp", "middlewares")):
                continue
            guess = nearest(wanted, known)
            suggestion = f"did you mean `{guess}`?" if guess else "define it under `tcp.middlewares`"
            reading.error(where, f"unknown middleware `{reference}`", suggestion)


# --- load balancers ----------------------------------------------------------------------------------------------


def _check_balancer(protocol: str, path: Path, balancer: LoadBalancer, reading: Reading) -> None:
    foreign = {"http": NOT_FOR_HTTP, "udp": NOT_FOR_UDP, "tcp": {}}[protocol]
    for key, reason in foreign.items():
        if reading.has((*path, key)):
            reading.error((*path, key), reason, at_key=True)
    for index in range(len(balancer.servers)):
        where = (*path, "servers", index, "tls")
        if protocol in NO_TLS and reading.has(where):
            reading.error(where, *NO_TLS[protocol], at_key=True)
