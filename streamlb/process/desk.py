"""Where callers of the admin sockets are served: what they want to see, what they want done.

What lives here: `Desk`, the control process as `admin/office.py` wants it. What must not: HTTP (`admin/`), changing
anything (`steering.py`, `control.py`), what is shown of what (`views.py`). Owned by `process/control.py`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

import msgspec

from streamlb.config.diff import sealed
from streamlb.config.near import did_you_mean
from streamlb.config.steering import Map
from streamlb.errors import RefusedError
from streamlb.process.loads import EntryPointLoad, ServerLoad
from streamlb.process.steering import Done, now_text
from streamlb.process.views import Connections, Remaining, ServerView, Status, Told, see_servers, see_status

if TYPE_CHECKING:
    from streamlb.config.model import Config
    from streamlb.process.control import Control
    from streamlb.process.reload import Outcome
    from streamlb.process.steering import Steering

log = logging.getLogger(__name__)

CONVERSATIONS_TIMEOUT = 10.0
"""Seconds the workers have to say what they have in flight, while they go on with it."""

_servers = msgspec.json.Decoder(list[ServerLoad]).decode
_entry_points = msgspec.json.Decoder(list[EntryPointLoad]).decode


class Desk:
    """Serves the callers of one control process."""

    def __init__(self, control: Control, steering: Steering) -> None:
        # process
        self._control = control
        self._steering = steering
        self._begun_at = now_text()

    # --- what is shown ---------------------------------------------------------------------------------------------

    async def status(self) -> Status:
        """All there is to know at a glance."""
        return see_status(self._control, self._steering, await self._told(), self._begun_at, os.getpid())

    async def config(self) -> Config:
        """What the files say, as far as it was accepted, without the keys."""
        return sealed(self._control.configured)

    async def health(self) -> list[ServerView]:
        """Every server, its state and the reason."""
        return see_servers(self._control, await self._told())

    async def _told(self) -> Told:
        """What the workers say of themselves."""
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        servers, entry_points = await asyncio.gather(
            self._control.fleet.ask("servers"), self._control.fleet.ask("entryPoints")
        )
        return Told(
            {number: _servers(body) for number, body in servers.items()},
            {number: _entry_points(body) for number, body in entry_points.items()},
            loop.time() - asked_at,
        )

    async def remaining(self, server: str, service: str) -> Remaining:
        """What is still under way at a server."""
        places = Map(self._control.config).servers(server, service)
        wanted = {(place.protocol, place.service, name) for place in places for name in (place.child, place.of) if name}
        whole = {(place.protocol, place.service): place.child for place in places if not place.of}
        told = await self._told()
        by_worker = {
            number: sum(
                each.active
                for each in loads
                if (each.protocol, each.service, each.server) in wanted
                or each.server.startswith(f"{whole.get((each.protocol, each.service), ' ')} (")
            )
            for number, loads in told.servers.items()
        }
        return Remaining(server=server, total=sum(by_worker.values()), workers=by_worker)

    async def connections(self, limit: int) -> Connections:
        """What is under way now: at most `limit` of it in each worker, 0 for all."""
        fleet = self._control.fleet
        said = await fleet.ask("conversations", limit, CONVERSATIONS_TIMEOUT)
        entry_points = await fleet.ask("entryPoints")
        total = sum(each.active for body in entry_points.values() for each in _entry_points(body))
        return Connections(total=total, workers={worker: msgspec.Raw(body) for worker, body in said.items()})

    async def interventions(self) -> dict[str, object]:
        """What was changed at run time and is in force."""
        steering = self._steering
        return {
            "overrides": steering.interventions,
            "yielded": [*steering.yielded],
            "stateFile": steering.file.path,
            "problem": steering.file.problem,
        }

    # --- what is done ----------------------------------------------------------------------------------------------

    async def weigh(self, service: str, child: str, weight: int, by: str) -> Done:
        """Give a child of a service another weight."""
        return await self._steering.weigh(service, child, weight, by)

    async def turn(self, server: str, service: str, state: str, by: str) -> Done:
        """Make a server ready, drain it, or take it out for maintenance."""
        return await self._steering.turn(server, service, state, by)

    async def reset(self, which: str, by: str) -> Done:
        """Undo what was changed."""
        return await self._steering.reset(which, by)

    async def reload(self, by: str) -> Outcome:
        """Read the configuration again and take it over."""
        return await self._control.reload(f"reload by {by}")

    async def upgrade(self, by: str) -> Done:
        """Have a freshly started process go on in the place of this one; answered when it serves."""
        log.info("upgrade: asked for by %s", by)
        pid, reason = await self._control.replace()
        if reason:
            raise RefusedError(reason, "everything goes on as before; the log has more")
        return Done(done=[f"pid {pid} serves; pid {os.getpid()} finishes what is in flight"])

    async def resolve(self, name: str, by: str) -> Done:
        """Look a name of servers up again now, or `all` of them."""
        resolving = self._control.resolving
        names = resolving.names
        if name != "all":
            if name not in names:
                guess = did_you_mean(name, names) or f"there are {', '.join(names) or 'none'}"
                raise RefusedError(f"{name} is no name of servers with `resolve: all`", guess)
            names = [name]
        if await resolving.refresh(names):
            await self._control.apply(f"resolve by {by}")
        done = [f"{each} is {', '.join(resolving.known.get(each, ())) or 'unknown'}" for each in names]
        lost = [f"{each} does not resolve now" for each in names if each in resolving.lost]
        return Done(done=done or ["there are no names to look up"], warnings=lost)
