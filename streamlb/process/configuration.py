"""A configuration file read with everything known about it, the rule language and certificates included.

What lives here: handing the rule parser and the judge of PEM text to the configuration check; these rooms do not know
each other.
What must not: the checks (`config/check.py`), printing them (`config/report.py`).
Called by the command line and by the control process. Specified by docs/reference.md (`streamlb check`).
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from streamlb.config.check import Judges, Loaded
from streamlb.config.near import did_you_mean
from streamlb.config.routers import HiddenRouter, RuledRouter, RuleFault, SecureRouter
from streamlb.config.sources import Sources
from streamlb.config.tls import DEFAULT_OPTIONS, RouterTls, ServedCertificate, Store
from streamlb.config.transports import PemFault
from streamlb.net.tls import PemError, check_authorities, check_pair
from streamlb.net.tls_names import CIPHERS, CURVES, check_ciphers, check_client_auth, check_curves
from streamlb.routing import shadow
from streamlb.routing.matchers import compile_rule, compile_tcp
from streamlb.routing.pattern import PatternError, searcher
from streamlb.routing.router import HttpTable, Router, asks_for_tls, parse, priority_of
from streamlb.routing.rule import RuleError
from streamlb.runtime.secure import SecurePlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlb.config.certificates import OptionFault
    from streamlb.config.model import Config
    from streamlb.config.tls import TlsOptions


def load(path: str | os.PathLike[str], *, now: float | None = None) -> Loaded:
    """The configuration of a file, with notes. Raises ConfigError with all its problems. `now`: see `open_sources`."""
    return open_sources([path], now=now).read()


def open_sources(paths: Sequence[str | os.PathLike[str]], *, now: float | None = None) -> Sources:
    """The sources of a configuration; nothing is read yet. `now`: see `judges`."""
    return Sources(paths, judges(now), environ=os.environ)


def judges(now: float | None = None) -> Judges:
    """All that can be known to check a configuration.

    now: seconds since 1970; then notes say, too, which certificates end soon.
    """

    def remark(chain: str) -> list[tuple[str, str]]:
        from streamlb.process.certificates import remarks  # Here, because most configurations have none.

        return remarks(chain, now)

    return Judges(
        check_rule=check_rule,
        find_hidden=find_hidden,
        check_pem=check_pem,
        check_pattern=check_pattern,
        describe=describe_certificate,
        remark=remark,
        check_tls_options=check_tls_options,
        check_ciphers=suites_not_spoken,
        find_disputed=find_disputed,
    )


def check_rule(text: str, protocol: str, syntax: str = "v3", is_tls: bool = False) -> RuleFault | None:
    """What is wrong with a rule; None when a router, which is one for TLS or not, can use it."""
    try:
        rule = parse(text, protocol, syntax)
        if protocol == "tcp":
            compile_tcp(rule)
        else:
            compile_rule(rule)
    except RuleError as error:
        return RuleFault(error.message, error.column, error.suggestion, error.width)
    asking = asks_for_tls(rule) if protocol == "tcp" and not is_tls else None
    if asking is None:
        return None
    reason = f"{asking.name} looks at a TLS handshake, and the router has no `tls`"
    advice = "add `tls: {passthrough: true}`, or `tls: {}` to end TLS here; HostSNI(`*`) works without"
    return RuleFault(reason, asking.column, advice, len(asking.name))


def check_pattern(text: str) -> tuple[str, str]:
    """What is wrong with a regular expression outside rules, and what to do; empty when it can be used."""
    try:
        searcher(text.encode())
    except PatternError as error:
        return error.message, error.suggestion
    return "", ""


def find_hidden(ruled: list[RuledRouter], protocol: str) -> list[HiddenRouter]:
    """The routers of an entry point that no request can reach."""
    routers = {each.name: Router(each.name, each.rule, None, each.priority, each.syntax) for each in ruled}

    def priority(name: str) -> int:
        router = routers[name]
        return priority_of(router, parse(router.rule, protocol, router.syntax))

    return [
        HiddenRouter(
            found.name,
            tuple((name, priority(name)) for name in found.by),
            found.contradiction,
            found.but_asterisk,
        )
        for found in shadow.find_hidden(routers.values(), protocol)
    ]


def find_disputed(secure: list[SecureRouter]) -> dict[str, str]:
    """The HTTPS routers of an entry point whose TLS options do not prevail, each with a host."""
    table = HttpTable(
        Router(each.name, each.rule, None, syntax=each.syntax, tls=RouterTls(options=each.options)) for each in secure
    )
    plan = SecurePlan(table.routes)
    found = {route.name: plan.disputed(route) for route in table.routes}
    return {name: host.decode("utf-8", "replace") for name, host in found.items() if host is not None}


def check_pem(certificates: str, key: str) -> PemFault | None:
    """What is wrong with a certificate chain and its key or, without a key, with certificates of authorities."""
    try:
        if key:
            check_pair(certificates, key)
        else:
            check_authorities(certificates)
    except PemError as error:
        return PemFault(_elsewhere(certificates, key) or error.reason, error.of_key)
    return None


def describe_certificate(chain: str) -> tuple[list[str], float]:
    """The hosts a certificate is good for, and when it expires, in seconds since 1970."""
    from streamlb.process.certificates import describe  # Here, because most configurations have none.

    return describe(chain)


def add_default_certificate(config: Config) -> bool:
    """Where a client may ask for a name that no certificate is good for, and there is no default one, add one of our
    own, the same for as long as this process lives; whether that was needed."""
    store = config.tls.stores.get(DEFAULT_OPTIONS)
    ends_tls = (
        any(router.tls is not None for router in config.http.routers.values())
        or any(router.tls is not None and not router.tls.passthrough for router in config.tcp.routers.values())
        or any(entry_point.http.tls is not None for entry_point in config.entry_points.values())
    )
    if not ends_tls or (store is not None and store.default_certificate is not None):
        return False
    from streamlb.process.certificates import describe

    certificate, key = _own_certificate()
    names, expires_at = describe(certificate)
    shown = ServedCertificate(cert_file=certificate, key_file=key, names=names, expires_at=expires_at)
    config.tls.stores[DEFAULT_OPTIONS] = Store(default_certificate=shown)
    return True


@functools.cache
def _own_certificate() -> tuple[str, str]:
    """The certificate of this process, and its key."""
    from streamlb.process.certificates import self_signed

    return self_signed()


def suites_not_spoken(names: Sequence[str]) -> list[tuple[int, str, str]]:
    """What is wrong with `cipherSuites`: the index of a name, the reason, and what may have been meant."""
    return [(index, reason, did_you_mean(names[index], CIPHERS)) for index, reason in check_ciphers(names)]


def check_tls_options(options: TlsOptions) -> list[OptionFault]:
    """What of TLS options OpenSSL cannot do, by place."""
    found: list[OptionFault] = []
    for index, reason, suggestion in suites_not_spoken(options.cipher_suites):
        found.append((("cipherSuites", index), reason, suggestion))
    for index, reason in check_curves(options.curve_preferences):
        name = options.curve_preferences[index]
        found.append((("curvePreferences", index), reason, "" if name in CURVES else did_you_mean(name, CURVES)))
    auth = options.client_auth
    reason = check_client_auth(auth.client_auth_type, bool(auth.ca_files))
    return [*found, (("clientAuth", "clientAuthType"), reason, "")] if reason else found


def _elsewhere(certificates: str, key: str) -> str:
    """The commonest reason why a key does not fit: it is that of another certificate of the chain."""
    from streamlb.process.certificates import place_of

    place = place_of(certificates, key) if key else 0
    return f"this key is that of certificate {place} of the chain, which has to come first" if place > 1 else ""
