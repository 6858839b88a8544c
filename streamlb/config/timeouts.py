"""What must hold for the `timeouts` of routers and services beyond their types.

What lives here: HTTP only, and timeouts that nobody would ever ask for. What must not: how an exchange is held to them.
Called by `check.py` with everything the providers gave. Specified in docs/reference.md, "Timeouts".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlb.config.model import PROTOCOLS, qualify

if TYPE_CHECKING:
    from streamlb.config.model import Config
    from streamlb.config.reading import Path, Reading


def check(config: Config, reading: Reading) -> None:
    for protocol in PROTOCOLS:
        section = config.section(protocol)
        given: list[Path] = [
            (protocol, kind, name, "timeouts")
            for kind, named in (("routers", section.routers), ("services", section.services))
            for name, each in named.items()
            if each.timeouts is not None
        ]
        for path in given if protocol != "http" else ():
            reading.error(path, "only HTTP requests have timeouts like these", "remove it", at_key=True)
    _note_unused(config, reading)


def _note_unused(config: Config, reading: Reading) -> None:
    """Between the service a router names and the load balancer that is picked, timeouts are not looked for."""
    named = {qualify(router.service, name) for name, router in config.http.routers.items()}
    for name, service in config.http.services.items():
        if service.timeouts is not None and service.load_balancer is None and name not in named:
            reason = "no router names this service, so these timeouts are not used"
            suggestion = "set them on the router, on the service it names, or on the load balancers"
            reading.note(("http", "services", name, "timeouts"), reason, suggestion)
