"""What must hold for entry points beyond the types of their options.

What lives here: addresses, addresses used twice, trusted networks, kept fields, redirections, what UDP has no use for.
What must not: sockets; whether an address is free shows when it is bound.
Called by `check.py`. Specified by Traefik's entry points page.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from streamlb.config.address import Address, AddressError, check_network, parse_entry_point
from streamlb.config.near import nearest

if TYPE_CHECKING:
    from streamlb.config.model import Config
    from streamlb.config.reading import Path, Reading
    from streamlb.config.static import EntryPoint
    from streamlb.config.tls import AcceptedProxyProtocol

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOPS = (
    "close connection content-length host http2-settings keep-alive proxy-authenticate proxy-authorization "
    "proxy-connection te trailer transfer-encoding upgrade"
)
HOPS = frozenset(_HOPS.split())
WHERE = ("entryPoints",)
NOT_FOR_UDP = {
    ("transport", "respondingTimeouts"): "datagrams have no requests; `udp.timeout` ends silent flows",
    ("transport", "keepAliveMaxRequests"): "datagrams have no requests",
    ("transport", "keepAliveMaxTime"): "datagrams have no connections",
    ("transport", "maxConnections"): "datagrams have no connections; `udp.maxFlows` limits the flows",
    ("http",): "a UDP entry point takes no HTTP requests",
    ("proxyProtocol",): "the PROXY protocol is for TCP connections",
}
EXAMPLE = '`web: {address: ":80"}`'


def check(config: Config, reading: Reading) -> None:
    if not config.entry_points:
        _none(reading)
    taken: dict[tuple[int, str], list[tuple[str, Address]]] = {}  # by port and network
    for name, entry_point in config.entry_points.items():
        path: Path = (*WHERE, name)
        if "@" in name:
            reading.error(path, "a name cannot hold `@`", at_key=True)
        _check_address(name, (*path, "address"), entry_point.address, taken, reading)
        for index, network in enumerate(entry_point.forwarded_headers.trusted_ips):
            reason = check_network(network)
            if reason:
                reading.error((*path, "forwardedHeaders", "trustedIPs", index), reason)
        for index, field in enumerate(entry_point.forwarded_headers.connection):
            reason = _why_not_kept(field)
            if reason:
                reading.error((*path, "forwardedHeaders", "connection", index), reason)
        if entry_point.kind == "udp":
            _check_udp(path, entry_point, reading)
            continue
        _check_proxy_protocol((*path, "proxyProtocol"), entry_point.proxy_protocol, reading)
        _check_redirection(name, (*path, "http", "redirections", "entryPoint"), config, reading)
        if reading.has((*path, "udp")):
            place = entry_point.address.partition("/")[0]
            reading.note((*path, "udp"), "without effect: this entry point takes TCP", f"for UDP, write `{place}/udp`")


def _check_proxy_protocol(path: Path, accepted: AcceptedProxyProtocol | None, reading: Reading) -> None:
    if accepted is None or reading.is_broken(path):
        return
    for index, network in enumerate(accepted.trusted_ips):
        reason = check_network(network)
        if reason:
            reading.error((*path, "trustedIPs", index), reason)
    if not accepted.insecure and not accepted.trusted_ips:
        reading.note(path, "nobody's PROXY header is believed", "name the proxies in `trustedIPs`")


def _check_redirection(name: str, path: Path, config: Config, reading: Reading) -> None:
    """The target is another entry point, and the way does not lead back."""
    redirections = config.entry_points[name].http.redirections
    where = (*path, "to")
    if redirections is None or reading.is_broken(where):
        return
    to = redirections.entry_point.to
    if to.startswith(":"):
        if not to[1:].isdecimal() or not to.isascii() or not 0 < int(to[1:]) < 65_536:
            reading.error(where, f"`{to}` is not a port", "write for example `:443`")
        return
    target = config.entry_points.get(to)
    if target is None:
        guess = nearest(to, config.entry_points)
        suggestion = f"did you mean `{guess}`?" if guess else "the name of an entry point, or a port like `:443`"
        reading.error(where, f"unknown entry point `{to}`", suggestion)
    elif target.kind != "tcp":
        reading.error(where, f"`{to}` is a UDP entry point")
    elif _comes_back(name, config):
        reading.error(where, "this redirection leads back to where it began")


def _comes_back(name: str, config: Config) -> bool:
    at, seen = name, set()
    while at not in seen:
        seen.add(at)
        entry_point = config.entry_points.get(at)
        redirections = entry_point.http.redirections if entry_point is not None else None
        if redirections is None:
            return False
        at = redirections.entry_point.to
    return at == name


def _check_udp(path: Path, entry_point: EntryPoint, reading: Reading) -> None:
    if entry_point.udp.timeout <= 0:
        reading.error((*path, "udp", "timeout"), "a flow's timeout must be longer than 0")
    per_client: Path = (*path, "udp", "maxFlowsPerClient")
    if reading.has(per_client) and entry_point.udp.max_flows_per_client > entry_point.udp.max_flows:
        reading.note(per_client, f"never reached: all clients together have {entry_point.udp.max_flows} (`maxFlows`)")
    for keys, reason in NOT_FOR_UDP.items():
        if reading.has((*path, *keys)):
            reading.error((*path, *keys), reason, "remove it", at_key=True)


def _none(reading: Reading) -> None:
    if not reading.is_broken(WHERE):
        reading.error(WHERE, "there is no entry point, so nothing would be listened on", f"for example {EXAMPLE}")


def _check_address(
    name: str, path: Path, text: str, taken: dict[tuple[int, str], list[tuple[str, Address]]], reading: Reading
) -> None:
    if reading.is_broken(path):
        return
    try:
        address = parse_entry_point(text)
    except AddressError as error:
        reading.error(path, error.reason, _write(error.suggestion))
        return
    same_port = taken.setdefault((address.port, address.network), [])
    for other, occupied in same_port:
        if address.overlaps(occupied):
            line = reading.line_of((*WHERE, other), path)
            same = "is already used by" if address == occupied else f"is part of `{occupied}`, used by"
            if occupied.host and address.host in ("", "::", "0.0.0.0") and address != occupied:
                same = f"takes `{occupied}` too, used by"
            reading.error(path, f"`{text}` {same} entry point `{other}` in {line}")
            break
    same_port.append((name, address))


def _why_not_kept(field: str) -> str:
    """Why a field cannot be kept although `Connection` names it; empty if it can."""
    if not TOKEN.fullmatch(field):
        return f"`{field}` is not the name of a header field"
    if field.lower() in HOPS:
        return f"`{field}` is about one connection only and never goes on"
    return ""


def _write(suggestion: str) -> str:
    return f"write {suggestion}" if suggestion else ""
