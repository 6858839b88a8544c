"""The names of servers looked up once, to see whether they mean anything on this machine.

What lives here: `strangers`, for `streamlb check --resolve`. What must not: keeping addresses (`resolving.py`).
Specified in docs/reference.md ("Commands").
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from streamlb.config.address import AddressError, parse_server, parse_url
from streamlb.config.model import PROTOCOLS
from streamlb.config.tree import problem_at
from streamlb.process.resolving import look_up

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from streamlb.config.assembly import Loaded
    from streamlb.config.reading import Path
    from streamlb.errors import Problem

LIMIT = 10.0
"""Seconds that all lookups together may take."""
AT_ONCE = 20


def strangers(loaded: Loaded, look_up: Callable[[str], Awaitable[list[str]]] = look_up) -> list[Problem]:
    """A note for each server whose name has no address."""
    wanted = list(_named(loaded))
    reasons = asyncio.run(_ask({name for _, name in wanted}, look_up))
    notes = []
    for path, name in wanted:
        if name in reasons:
            place = next(loaded.places[path[:end]] for end in range(len(path), -1, -1) if path[:end] in loaded.places)
            notes.append(problem_at(place.node, place.label, f"`{name}` has no address here: {reasons[name]}"))
    return notes


async def _ask(names: set[str], look_up: Callable[[str], Awaitable[list[str]]]) -> dict[str, str]:
    """By name: why it has no address."""
    reasons: dict[str, str] = {}
    turns = asyncio.Semaphore(AT_ONCE)
    until = asyncio.get_running_loop().time() + LIMIT

    async def ask(name: str) -> None:
        async with turns:
            try:
                async with asyncio.timeout_at(until):
                    await look_up(name)
            except TimeoutError:
                reasons[name] = "nobody answers"
            except (OSError, UnicodeError) as error:
                reasons[name] = getattr(error, "strerror", None) or str(error)

    await asyncio.gather(*(ask(name) for name in names))
    return reasons


def _named(loaded: Loaded) -> Iterator[tuple[Path, str]]:
    """Where servers are written that have a name, and the name."""
    for protocol in PROTOCOLS:
        key = "url" if protocol == "http" else "address"
        for name, service in loaded.config.section(protocol).services.items():
            for index, server in enumerate(service.load_balancer.servers if service.load_balancer else []):
                try:
                    where = parse_url(server.url).address if key == "url" else parse_server(server.address, protocol)
                except AddressError:
                    continue
                if not where.is_numeric and "/" not in where.host:
                    yield (protocol, "services", name, "loadBalancer", "servers", index, key), where.host
