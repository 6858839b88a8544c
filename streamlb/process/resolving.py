"""The names of servers looked up again and again, in the control process, once for all workers.

What lives here: `Resolving`, for servers with `resolve: all`. A name that stops resolving keeps the addresses it had.
What must not: what a configuration makes of the addresses (`config/resolution.py`). Other names are looked up when a
connection is needed (`net/resolve.py`). Called by `process/control.py`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from typing import TYPE_CHECKING

from streamlb.config.resolution import names_of, resolved
from streamlb.net.tasks import spawn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from streamlb.config.model import Config

log = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds between two lookups of a name. The system does not tell us the record's own time to live."""
LOOKUP_TIMEOUT = 10.0
"""Seconds a lookup may take; what comes later is not waited for."""


async def look_up(name: str) -> list[str]:
    """The numeric addresses of a name. Raises OSError."""
    loop = asyncio.get_running_loop()
    answers = await loop.getaddrinfo(name, 0, type=socket.SOCK_STREAM)
    return [str(where[0]) for _, _, _, _, where in answers]


class Resolving:
    """The addresses of all names of a configuration that want it.

    on_change: gets the configuration with a server for each address, as often as an address comes or goes.
    known: by name, sorted, so that an answer in another order is no news. lost: names that do not resolve now.
    """

    def __init__(
        self,
        config: Config,
        on_change: Callable[[Config], None],
        *,
        interval: float = INTERVAL,
        look_up: Callable[[str], Awaitable[list[str]]] = look_up,
    ) -> None:
        # process
        self._config = config
        self._on_change = on_change
        self._interval = interval
        self._look_up = look_up
        self._names = names_of(config)
        self.known: dict[str, list[str]] = {}
        self.lost: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._is_on = False

    def start(self) -> None:
        """Begin, if there is anything to look up."""
        self._is_on = True
        if self._names:
            self._task = spawn(self._run(), "lookups of the servers' names")

    def stop(self) -> None:
        self._is_on = False
        if self._task is not None:
            self._task.cancel()

    def load(self, config: Config) -> None:
        """Look up the names of this configuration from now on. What is known of those that stay is kept."""
        is_on = self._is_on
        self.stop()
        self._config = config
        self._names = names_of(config)
        self.known = {name: self.known[name] for name in self._names if name in self.known}
        self.lost.intersection_update(self._names)
        if is_on:
            self.start()

    def resolve(self, config: Config) -> Config:
        """A configuration with a server for each address that is known now."""
        return resolved(config, self.known) if self.known else config

    @property
    def names(self) -> list[str]:
        """What is looked up."""
        return [*self._names]

    async def refresh(self, names: Sequence[str]) -> bool:
        """Look names up now; whether any has other addresses than before."""
        return any(await asyncio.gather(*[self._refresh(name) for name in names]))

    async def _run(self) -> None:
        while True:
            if await self.refresh(self._names):
                self._on_change(resolved(self._config, self.known))
            await asyncio.sleep(self._interval)

    async def _refresh(self, name: str) -> bool:
        """Look a name up; whether its addresses are others than before."""
        before = self.known.get(name)
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT):
                found = await self._look_up(name)
        except (OSError, ValueError, TimeoutError) as error:  # ValueError: a name IDNA cannot encode.
            if name not in self.lost:
                self.lost.add(name)
                reason = getattr(error, "strerror", None) or "no answer in time"
                log.warning("%s does not resolve (%s)%s", name, reason, "; its addresses stay" if before else "")
            return False
        self.lost.discard(name)
        after = sorted({address.partition("%")[0] for address in found}, key=_order)
        if not after or after == before:
            return False
        self.known[name] = after
        log.info("%s is %s", name, ", ".join(after))
        return True


def _order(address: str) -> tuple[int, int]:
    """IPv4 first, then by number."""
    numeric = ipaddress.ip_address(address)
    return numeric.version, int(numeric)
