"""What is different between two configurations, in an operator's words.

What lives here: `diff`, which finds the changes, and `texts`, which says so many of them as anybody reads.
What must not: secrets. Of PEM text, keys, sent strings and the values of header fields it says only that they changed.
Called by the control process at each reload and by `streamlb check --diff-running`. Specified in docs/reference.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from streamlb.config.model import PROTOCOLS, MirrorChild, Server, WeightedChild
from streamlb.config.naming import to_camel
from streamlb.config.report import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from streamlb.config.model import Config, Service
    from streamlb.config.static import TcpServersTransport
    from streamlb.config.tls import Certificate, ClientTls, ServedCertificate, Tls

    AnyTls = TypeVar("AnyTls", bound=ClientTls)
    AnyCertificate = TypeVar("AnyCertificate", bound=Certificate)

MAX_CHANGES = 200
"""Changes told; whoever has more has another configuration."""
MAX_DETAILS = 6
"""Of one object."""
MAX_VALUE = 80
"""Characters of one value."""
MAX_NAMES = 3
"""Hosts of a certificate."""

SECRET = {"key_file", "send", "expect"}
"""Fields whose values are nobody's business: a key, and what is said to a server, which may be a password."""
SECRET_MAPPINGS = {"headers"}
"""Fields whose keys may be told, and their values not."""
OBJECTS = {"entry_points", "http", "tcp", "udp", "tls"}
"""What of the root is a collection of named objects."""
KINDS = ("load_balancer", "weighted", "highest_random_weight", "failover", "mirroring")

MISSING: Any = object()


class Change(NamedTuple):
    """One object that came (+), went (-) or is another now (~), and what of it, in sentences without an end."""

    sign: str
    what: str
    details: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """One line, whatever its parts hold: `~ http service canary: weight of v2 1 -> 3`."""
        told = [*self.details[:MAX_DETAILS]]
        if len(self.details) > MAX_DETAILS:
            told.append(f"{len(self.details) - MAX_DETAILS} more")
        return clean(f"{self.sign} {self.what}{': ' if told else ''}{'; '.join(told)}")


def diff(old: Config, new: Config) -> list[Change]:
    """Everything that is different, entry points first."""
    changes = [*_named("entry point", old.entry_points, new.entry_points)]
    for protocol in PROTOCOLS:
        before, after = old.section(protocol), new.section(protocol)
        changes += _named(f"{protocol} router", before.routers, after.routers)
        changes += _services(protocol, before.services, after.services)
    changes += _named("tcp middleware", old.tcp.middlewares, new.tcp.middlewares)
    changes += _named("http servers transport", old.http.servers_transports, new.http.servers_transports)
    changes += _named("tcp servers transport", old.tcp.servers_transports, new.tcp.servers_transports)
    changes += _tls(old.tls, new.tls)
    for each in fields(old):
        if each.name not in OBJECTS:
            changes += _setting(to_camel(each.name), getattr(old, each.name), getattr(new, each.name))
    return changes


def texts(changes: Sequence[Change], limit: int = MAX_CHANGES) -> list[str]:
    """The changes as lines, at most `limit` and one that counts the rest."""
    lines = [change.text for change in changes[:limit]]
    if len(changes) > limit:
        lines.append(f"and {len(changes) - limit} more changes")
    return lines


def _setting(name: str, old: Any, new: Any) -> Iterator[Change]:
    """A setting of the root, or a group of them."""
    if old == new:
        return
    if is_dataclass(old) and is_dataclass(new):
        yield Change("~", name, tuple(_inside("", old, new)))
    elif is_dataclass(old) or is_dataclass(new):
        yield Change("-" if new is None else "+", name)
    else:
        yield Change("~", name, (f"{_value(old, '')} -> {_value(new, '')}",))


def sealed(config: Config) -> Config:
    """The configuration with its keys replaced by what tells one from another, and from which none can be made."""
    transports = {name: _sealed(each) for name, each in config.http.servers_transports.items()}
    tcp = {name: _sealed_tcp(each) for name, each in config.tcp.servers_transports.items()}
    stores = {
        name: replace(each, default_certificate=each.default_certificate and _without_key(each.default_certificate))
        for name, each in config.tls.stores.items()
    }
    certificates = [_without_key(each) for each in config.tls.certificates]
    return replace(
        config,
        servers_transport=_sealed(config.servers_transport),
        tcp_servers_transport=_sealed_tcp(config.tcp_servers_transport),
        http=replace(config.http, servers_transports=transports),
        tcp=replace(config.tcp, servers_transports=tcp),
        tls=replace(config.tls, certificates=certificates, stores=stores),
    )


def _sealed(transport: AnyTls) -> AnyTls:
    return replace(transport, certificates=[_without_key(each) for each in transport.certificates])


def _sealed_tcp(transport: TcpServersTransport) -> TcpServersTransport:
    return replace(transport, tls=_sealed(transport.tls) if transport.tls is not None else None)


def _without_key(certificate: AnyCertificate) -> AnyCertificate:
    return replace(certificate, key_file=hashlib.sha256(certificate.key_file.encode()).hexdigest())


# --- objects with names --------------------------------------------------------------------------------------------


def _named(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new:
            yield Change("-", f"{what} {name}")
        elif name not in old:
            yield Change("+", f"{what} {name}")
        elif old[name] != new[name]:
            yield Change("~", f"{what} {name}", tuple(_inside("", old[name], new[name])))


def _services(protocol: str, old: Mapping[str, Service], new: Mapping[str, Service]) -> Iterator[Change]:
    for change in _named(f"{protocol} service", old, new):
        name = change.what.removeprefix(f"{protocol} service ")
        if change.sign != "~":
            yield change
            continue
        before, after = old[name], new[name]
        kinds = [next((kind for kind in KINDS if getattr(each, kind) is not None), "") for each in (before, after)]
        if kinds[0] != kinds[1]:
            yield change._replace(details=(f"{to_camel(kinds[0])} -> {to_camel(kinds[1])}",))
            continue
        details = [*_inside("", getattr(before, kinds[0]), getattr(after, kinds[1]))] if kinds[0] else []
        details += _differences("", "timeouts", before.timeouts, after.timeouts, "")
        yield change._replace(details=tuple(details))


def _tls(old: Tls, new: Tls) -> Iterator[Change]:
    yield from _certificates(old.certificates, new.certificates)
    defaults = [
        [store.default_certificate for store in each.stores.values() if store.default_certificate is not None]
        for each in (old, new)
    ]
    for change in _certificates(*defaults):
        yield change._replace(what=f"default {change.what}")
    yield from _named("TLS options", old.options, new.options)


def _certificates(old: Sequence[ServedCertificate], new: Sequence[ServedCertificate]) -> Iterator[Change]:
    """Certificates are known by the hosts they are good for."""
    before, after = _by_hosts(old), _by_hosts(new)
    for hosts in [*before, *(hosts for hosts in after if hosts not in before)]:
        what = f"certificate for {_enumerated(hosts)}"
        gone = [each for each in before.get(hosts, ()) if each not in after.get(hosts, ())]
        come = [each for each in after.get(hosts, ()) if each not in before.get(hosts, ())]
        for then, now in zip(gone, come, strict=False):
            if then.cert_file == now.cert_file:
                details = ("its key or its stores have changed",)
            else:
                details = (f"renewed, valid until {datetime.fromtimestamp(now.expires_at, UTC):%Y-%m-%d}",)
            yield Change("~", what, details)
        yield from [Change("-", what)] * (len(gone) - len(come))
        yield from [Change("+", what)] * (len(come) - len(gone))


def _by_hosts(certificates: Iterable[ServedCertificate]) -> dict[tuple[str, ...], list[ServedCertificate]]:
    found: dict[tuple[str, ...], list[ServedCertificate]] = {}
    for certificate in certificates:
        found.setdefault(tuple(certificate.names), []).append(certificate)
    return found


def _enumerated(hosts: Sequence[str]) -> str:
    more = f" and {len(hosts) - MAX_NAMES} more" if len(hosts) > MAX_NAMES else ""
    return f"{', '.join(hosts[:MAX_NAMES])}{more}" if hosts else "no name"


# --- what is inside them -------------------------------------------------------------------------------------------


def _inside(path: str, old: Any, new: Any) -> Iterator[str]:
    """What is different in two objects of one class."""
    for each in fields(old):
        yield from _differences(path, each.name, getattr(old, each.name), getattr(new, each.name), each.type)


def _differences(path: str, name: str, old: Any, new: Any, kind: Any) -> Iterator[str]:
    """What is different in one field."""
    if old == new:
        return
    label = f"{path}{to_camel(name)}"
    if is_dataclass(old) and is_dataclass(new):
        yield from _inside(f"{label}.", old, new)
    elif is_dataclass(old) or is_dataclass(new):
        yield f"{label} {'removed' if new is None else 'added'}"
    elif isinstance(old, list) and isinstance(new, list) and _are_children(old, new):
        yield from _children(old, new)
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            then, now = old.get(key, MISSING), new.get(key, MISSING)
            if MISSING in (then, now) or name in SECRET_MAPPINGS:
                word = "added" if then is MISSING else "removed" if now is MISSING else "changed"
                if then != now:
                    yield f"{label} {key} {word}"
            else:
                yield from _differences(f"{label}.", key, then, now, "")
    elif name in SECRET or _is_opaque(old) or _is_opaque(new):
        yield f"{label} changed"
    else:
        yield f"{label} {_value(old, kind)} -> {_value(new, kind)}"


def _are_children(old: list[Any], new: list[Any]) -> bool:
    """Whether these are servers, services or mirrors, each of which can be told by its name."""
    if not all(isinstance(each, Server | WeightedChild | MirrorChild) for each in [*old, *new]):
        return False
    return all(len({each.name for each in children}) == len(children) for children in (old, new))


def _children(old: list[Any], new: list[Any]) -> Iterator[str]:
    before, after = {each.name: each for each in old}, {each.name: each for each in new}
    noun = {Server: "server", WeightedChild: "service", MirrorChild: "mirror"}[type([*old, *new][0])]
    for name in [*before, *(name for name in after if name not in before)]:
        if name not in after:
            yield f"{noun} {_address(name)} removed"
        elif name not in before:
            yield f"{noun} {_address(name)} added{_share(after[name])}"
        else:
            for said in _inside("", before[name], after[name]):
                field, _, rest = said.partition(" ")
                yield f"{field} of {_address(name)} {rest}"
    if [name for name in before if name in after] != [name for name in after if name in before]:
        yield f"order of {noun}s changed"


def _share(child: Server | WeightedChild | MirrorChild) -> str:
    if isinstance(child, MirrorChild):
        return f" with {child.percent} %"
    return f" with weight {child.weight}" if child.weight != 1 else ""


# --- values --------------------------------------------------------------------------------------------------------


def _value(value: Any, kind: Any) -> str:
    """A value as the configuration writes it."""
    if value is None or value in ("", []):
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}{'s' if 'Duration' in str(kind) else ''}"
    if isinstance(value, list):
        value = f"[{', '.join(_value(each, '') for each in value)}]"
    text = _address(str(value))
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 3]}..."


def _address(text: str) -> str:
    """A URL without the password in it."""
    if "@" in text and "://" in text:
        try:
            parts = urlsplit(text)
        except ValueError:
            return text.partition("://")[0] + "://..."
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return text


def _is_opaque(value: Any) -> bool:
    """Whether a value is PEM text, or a list that holds such, or objects, which say nothing on a line."""
    if isinstance(value, list):
        return any(_is_opaque(each) for each in value)
    return is_dataclass(value) or (isinstance(value, str) and "-----BEGIN" in value)
