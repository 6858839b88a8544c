"""What must hold for health checks beyond the types of their options.

What lives here: which option means something for which protocol, paths, fields, statuses, patterns, times.
What must not: probing (`health/`), regular expressions; whoever may import them hands in a check (`CheckPattern`).
Called by `services.py` for each load balancer.
Specified by Traefik's health check pages, `rise`, `fall`, `body`, `initialState` and UDP by docs/reference.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from streamlb.config.model import PROTOCOLS

if TYPE_CHECKING:
    from streamlb.config.model import Config, HealthCheck, LoadBalancer, PassiveHealthCheck
    from streamlb.config.reading import Path, Reading

MIN_INTERVAL = 0.01
"""Seconds; what is shorter is a slip of the pen and would keep a core busy."""

CheckPattern = Callable[[str], tuple[str, str]]
"""Takes a regular expression; says what is wrong with it and what to do, or nothing."""

_NO_MESSAGES = "only HTTP has requests and answers; here it is `send` and `expect`"
HTTP_ONLY = {
    **dict.fromkeys(("path", "scheme", "mode", "hostname", "headers", "method", "status"), _NO_MESSAGES),
    **dict.fromkeys(("followRedirects", "body"), _NO_MESSAGES),
}
NOT_HTTP = {
    "send": "an HTTP check sends a request: give its `path`, `method` and `headers`",
    "expect": "an HTTP check looks at the answer: give `status` or `body`",
}

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
TARGET = re.compile(r"[!-~]*")
HOST = re.compile(r"[A-Za-z0-9._~\[\]:-]+")
VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
STATUS = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
MANAGED = {
    "host": "`hostname` sets it",
    "connection": "the check sets it",
    "content-length": "a check has no body",
    "transfer-encoding": "a check has no body",
}


def check(protocol: str, path: Path, balancer: LoadBalancer, reading: Reading) -> None:
    """Report what is wrong with the health checks of a load balancer."""
    if balancer.health_check:
        _check_active(protocol, (*path, "healthCheck"), balancer.health_check, reading)
    if balancer.passive_health_check:
        where = (*path, "passiveHealthCheck")
        _check_passive(where, balancer.passive_health_check, reading)
        if len(balancer.servers) == 1 and not reading.is_broken(where):
            reading.note(where, "there is but one server, and the last one is never taken out")

    if balancer.slow_start and not balancer.health_check and not balancer.passive_health_check:
        reason = "no server ever comes back: there is no `healthCheck` and no `passiveHealthCheck`"
        reading.note((*path, "slowStart"), reason)


def _check_passive(path: Path, passive: PassiveHealthCheck, reading: Reading) -> None:
    if passive.failure_window < MIN_INTERVAL:
        _too_short((*path, "failureWindow"), reading)


def _check_active(protocol: str, path: Path, check: HealthCheck, reading: Reading) -> None:
    if reading.is_broken(path):
        return
    for key, reason in (NOT_HTTP if protocol == "http" else HTTP_ONLY).items():
        if reading.has((*path, key)):
            reading.error((*path, key), reason, at_key=True)
    if protocol == "http":
        _check_request(path, check, reading)
        _check_answer(path, check, reading)
    elif protocol == "udp" and not check.send:
        reason = "`send` is missing: nobody answers a UDP check that says nothing"
        reading.error((*path, "send"), reason, 'for example `send: "ping"`', at_key=True)
    for key, seconds in (
        ("interval", check.interval),
        ("unhealthyInterval", check.unhealthy_interval),
        ("timeout", check.timeout),
    ):
        if seconds is not None and seconds < MIN_INTERVAL:
            _too_short((*path, key), reading)


def _too_short(path: Path, reading: Reading) -> None:
    reading.error(path, f"this is too short: {MIN_INTERVAL * 1000:g}ms is the least")


def _check_request(path: Path, check: HealthCheck, reading: Reading) -> None:
    if check.mode == "grpc":
        reading.error((*path, "mode"), "Traefik's `mode: grpc` is not supported by streamlb yet")
        return
    if not check.path:
        reading.error((*path, "path"), "`path` is missing", "for example `path: /health`", at_key=True)
    elif "://" in check.path or check.path.startswith("//"):
        reading.error((*path, "path"), "a path only; every server is asked at its own address", "`/health`")
    elif not TARGET.fullmatch(check.path) or "#" in check.path:
        reading.error((*path, "path"), "a path holds no spaces, no `#` and nothing but ASCII", "percent-encode them")
    if check.scheme == "h2c":
        reading.error((*path, "scheme"), "Traefik's scheme `h2c` is not supported by streamlb yet")
    elif check.scheme not in ("", "http", "https"):
        reading.error((*path, "scheme"), "a scheme is `http` or `https`")
    if check.hostname and not HOST.fullmatch(check.hostname):
        reading.error((*path, "hostname"), "not a host name", "for example `myapp.test.com`")
    if not TOKEN.fullmatch(check.method) or check.method == "CONNECT":
        reading.error((*path, "method"), f"`{check.method}` is no method to ask with", "for example `GET`")
    for name, value in check.headers.items():
        _check_field((*path, "headers", name), name, value, reading)


def _check_field(path: Path, name: str, value: str, reading: Reading) -> None:
    if not TOKEN.fullmatch(name):
        reading.error(path, "a field's name takes letters, digits and !#$%&'*+-.^_`|~ only", at_key=True)
    elif name.lower() in MANAGED:
        reading.error(path, f"`{name}` cannot be given: {MANAGED[name.lower()]}", at_key=True)
    elif not VALUE.fullmatch(value):
        reading.error(path, "a field's value holds no control characters")


def _check_answer(path: Path, check: HealthCheck, reading: Reading) -> None:
    for index, text in enumerate(check.status):
        found = STATUS.fullmatch(text.replace(" ", ""))
        # A bare item has the list's own place. Traefik's 0 is the default.
        where = (*path, "status", index) if reading.has((*path, "status", index)) else (*path, "status")
        if found and found[2] and found[2] < found[1]:
            reading.error(where, "the range ends before it begins", f'"{found[2]}-{found[1]}"')
        elif not found and text != "0":
            reading.error(where, f"`{text}` is no status", 'for example 200, "200-399" or [200, 204]')
    if not check.body:
        return
    if check.method == "HEAD":
        reading.error((*path, "body"), "an answer to HEAD has no body", "`method: GET`", at_key=True)


def pattern_of(body: str) -> str | None:
    """The regular expression in `/.../`; None where `body` is plain text."""
    return body[1:-1] if len(body) > 2 and body.startswith("/") and body.endswith("/") else None


def check_patterns(config: Config, reading: Reading, check_pattern: CheckPattern) -> None:
    """Report regular expressions that cannot be used."""
    for protocol in PROTOCOLS:
        for name, service in config.section(protocol).services.items():
            active = service.load_balancer.health_check if service.load_balancer else None
            pattern = pattern_of(active.body) if active else None
            reason, suggestion = check_pattern(pattern) if pattern is not None else ("", "")
            if reason:
                reading.error((protocol, "services", name, "loadBalancer", "healthCheck", "body"), reason, suggestion)
