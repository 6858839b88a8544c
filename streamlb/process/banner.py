"""What an operator reads in the log of the control process: at the start, and when a configuration was taken over.

What lives here: the lines. What must not: doing anything. Called by `process/control.py`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from streamlb.net.address import parse_address

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from streamlb.config.check import Loaded
    from streamlb.config.model import Config
    from streamlb.process.fleet import Fleet
    from streamlb.process.reload import Outcome

log = logging.getLogger(__name__)

MAX_LINES = 50
"""Lines about one change of the configuration."""


def show_entry_points(config: Config, sockets: Mapping[str, socket.socket]) -> None:
    """Where each entry point listens, and what for."""
    for name, sock in sockets.items():
        address = parse_address(config.entry_points[name].address)
        address = address._replace(port=sock.getsockname()[1])
        log.info("entry point %s on %s: %s", name, address, _routers_of(config, name))


def show_unused(names: list[str]) -> None:
    """What systemd has opened and no entry point takes."""
    for name in names:
        log.warning("systemd passes a socket %r, and no entry point has that name or its address", name)


def show_notes(loaded: Loaded) -> None:
    """What is allowed but hardly meant."""
    for note in loaded.notes:
        log.warning("%s: %s: %s", note.position, note.path, note.reason)


def show_outcome(outcome: Outcome, reason: str, before: int) -> None:
    """What became of a change. before: the version that was served until now."""
    for lines, level in ((outcome.problems, logging.ERROR), (outcome.changes, logging.INFO)):
        for line in lines[:MAX_LINES]:
            log.log(level, "%s", line)
        if len(lines) > MAX_LINES:
            log.log(level, "and %d more", len(lines) - MAX_LINES)
    if outcome.kept:
        log.error("%s: the last good version of %s stays in use", reason, ", ".join(outcome.kept))
    if outcome.ok and outcome.version == before:
        log.info("%s: the configuration is as before", reason)
    elif outcome.ok:
        log.info("%s: version %d of the configuration is served", reason, outcome.version)
    else:
        log.error("%s: the new configuration is not served as a whole; version %d is", reason, outcome.version)


def status_line(config: Config, fleet: Fleet, version: int, down: int, outcome: Outcome | None) -> str:
    """How it goes, for `systemctl status`. down: servers. outcome: of the last change of the configuration."""
    ready = sum(slot.ready for slot in fleet.slots)
    parts = [
        f"serving {_count(len(config.entry_points), 'entry point')}",
        f"{ready} of {_count(fleet.size, 'worker')}" if ready < fleet.size else _count(ready, "worker"),
        f"configuration {version}",
    ]
    if down:
        parts.append(f"{_count(down, 'server')} down")
    if outcome is not None and outcome.problems:
        parts.append(f"the last change was not taken over: {outcome.problems[0]}")
    return "; ".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _routers_of(config: Config, name: str) -> str:
    """`2 HTTP routers, 1 TCP router`."""
    options = config.entry_points[name]
    is_udp = options.kind == "udp"
    counts = []
    for protocol in ("udp",) if is_udp else ("http", "tcp"):
        routers = config.section(protocol).routers.values()
        joined = sum(1 for router in routers if router.joins(name))
        if joined:
            counts.append(f"{joined} {protocol.upper()} router{'' if joined == 1 else 's'}")
    if options.http.redirections is not None:
        counts.append(f"HTTP redirected to {options.http.redirections.entry_point.to}")
    return ", ".join(counts) or "no routers"
