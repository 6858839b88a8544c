"""What an operator changes at run time: weights, states of servers, in force until they are reset or yield.

What lives here: `Steering`, the overrides of one control process and the verbs that change them.
What must not: what a name means and what a configuration becomes (`config/steering.py`), HTTP (`admin/`), what is only
shown (`views.py`). Owned by `process/control.py`. Specified in docs/reference.md ("Steering").

Every change goes the way of all others (`Control.apply`); one that the workers do not take is taken back.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from streamlb.config.near import did_you_mean
from streamlb.config.places import state_path
from streamlb.config.steering import STATES, Intervention, Map, Place, is_deserted, lapsed, standing, steered
from streamlb.errors import RefusedError
from streamlb.net.tasks import spawn
from streamlb.process.statefile import StateFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlb.config.model import Config
    from streamlb.process.control import Control

log = logging.getLogger(__name__)

MAX_YIELDED = 20
"""Overrides that have yielded and are still shown."""
MAX_INTERVENTIONS = 10_000


class Done(msgspec.Struct, rename="camel", kw_only=True):
    """What came of a verb: what is different now, in sentences, and what the operator should know besides."""

    done: list[str]
    warnings: list[str] = []


class Yielded(msgspec.Struct, rename="camel"):
    """An override that gave way to the configuration."""

    override: Intervention
    reason: str
    at: str


class Steering:
    """The overrides in force, `interventions`, and those that have `yielded`, the newest last."""

    def __init__(self, control: Control, environ: Mapping[str, str] = os.environ) -> None:
        """control: need not be complete yet, but for its files."""
        # process
        self._control = control
        # The files' absolute paths are what tells two streamlbs of one user apart.
        configuration = ":".join(map(os.path.abspath, control.paths))
        path = control.configured.ctl.state_file or state_path(configuration, environ, os.geteuid())
        self.file = StateFile(path, configuration)
        self.interventions = self.file.read()
        self.yielded: deque[Yielded] = deque(maxlen=MAX_YIELDED)
        self._turn = asyncio.Lock()

    # --- what Control asks -----------------------------------------------------------------------------------------

    def effective(self, written: Config, config: Config) -> Config:
        """`config` with the overrides in force; written: the same before names were resolved, to which they yield."""
        gone = {intervention.id for intervention, _ in lapsed(written, self.interventions)}
        return steered(config, [each for each in self.interventions if each.id not in gone])

    def settle(self, written: Config) -> None:
        """The files say this now, for good: drop what has yielded to it."""
        gone = lapsed(written, self.interventions)
        if not gone:
            return
        for intervention, reason in gone:
            log.warning("override %d has yielded: %s (%s)", intervention.id, intervention.text, reason)
            self.yielded.append(Yielded(intervention, reason, now_text()))
        ids = {intervention.id for intervention, _ in gone}
        self.interventions = [each for each in self.interventions if each.id not in ids]
        spawn(self._keep(), "overrides to the state file")

    def show(self) -> None:
        """Tell at the start that not everything is as the files say."""
        count = len(self.interventions)
        if count:
            log.warning("%d %s in force (%s):", count, "override is" if count == 1 else "overrides are", self.file.path)
        for each in self.interventions:
            log.warning("override %d: %s, by %s at %s", each.id, each.text, each.by, each.at)

    def release(self) -> None:
        """This process stops: another one may have the state file."""
        self.file.release()

    # --- verbs -----------------------------------------------------------------------------------------------------

    async def weigh(self, service: str, child: str, weight: int, by: str) -> Done:
        """Give a child of a service another weight."""
        async with self._turn:
            place = Map(self._control.config).weighted(service, child)
            made = self._made(place, weight, by)
            change = replace(made, replaced=self._standing(made))
            others = [each for each in self.interventions if each.key != made.key]
            if change.replaced == weight:
                if len(others) == len(self.interventions):
                    return Done(done=[f"the weight of {child} is {weight} already"])
                return await self._change(others, [f"{change.text.rpartition(':')[0]}: {weight}, as configured"], by)
            return await self._change([*others, change], [change.text], by)

    async def turn(self, server: str, service: str, state: str, by: str) -> Done:
        """Make a server ready, drain it, or take it out for maintenance; `service` empty: in every one that has it."""
        if state not in STATES:
            raise RefusedError(f"there is no state {state}", did_you_mean(state, STATES) or ", ".join(STATES))
        async with self._turn:
            places = Map(self._control.config).servers(server, service)
            if state == "ready":
                return await self._ready(places, by)
            changes: list[Intervention] = []
            for place in places:
                made = self._made(place, cast('Literal["drain", "maintenance"]', state), by, more=len(changes))
                changes.append(replace(made, replaced=self._standing(made)))
            inside = {each.key for each in changes}
            # What was said of single addresses of a name gives way to what is said of the name.
            others = [each for each in self.interventions if each.key not in inside and not _is_state_of(places, each)]
            return await self._change([*others, *changes], [each.text for each in changes], by)

    async def _ready(self, places: list[Place], by: str) -> Done:
        for place in places:
            for each in self.interventions:
                if place.of and each.kind == "state" and (each.service, each.child) == (place.service, place.of):
                    raise RefusedError(f"all of {place.of} is in state {each.value}", f"make {place.of} ready")
        stay = [each for each in self.interventions if not _is_state_of(places, each)]
        if len(stay) == len(self.interventions):
            return Done(done=[f"{places[0].child} is ready already"], warnings=self._weightless(places))
        done = [f"state of {each.child} in {each.protocol} service {each.service}: ready" for each in places]
        outcome = await self._change(stay, done, by)
        outcome.warnings += self._weightless(places)
        return outcome

    async def reset(self, which: str, by: str) -> Done:
        """Undo what was changed: a number, or `all`."""
        async with self._turn:
            if which == "all":
                gone = list(self.interventions)
            else:
                gone = [each for each in self.interventions if str(each.id) == which]
                if not gone:
                    numbers = ", ".join(str(each.id) for each in self.interventions)
                    hint = f"there are {numbers}" if numbers else "there are none"
                    raise RefusedError(f"there is no override {which}", hint)
            if not gone:
                return Done(done=["there are no overrides"])
            stay = [each for each in self.interventions if each not in gone]
            return await self._change(stay, [f"override {each.id} is reset ({each.text})" for each in gone], by)

    def _weightless(self, places: list[Place]) -> list[str]:
        """A server that is ready may still have no weight."""
        return [
            f"its weight in {each.protocol} service {each.service} is 0: it gets no new clients"
            for each in places
            if each.weight == 0 and self._control.config.section(each.protocol).services.get(each.service) is not None
        ]

    # --- inside ----------------------------------------------------------------------------------------------------

    def _made(
        self, place: Place, value: int | Literal["drain", "maintenance"], by: str, *, more: int = 0
    ) -> Intervention:
        number = max((each.id for each in self.interventions), default=0) + 1 + more
        if len(self.interventions) + more >= MAX_INTERVENTIONS:
            raise RefusedError(f"there are {MAX_INTERVENTIONS} overrides already", "write them into the configuration")
        return Intervention(
            id=number,
            protocol=cast('Literal["http", "tcp", "udp"]', place.protocol),
            service=place.service,
            child=place.child,
            value=value,
            replaced="ready",
            by=by,
            at=now_text(),
            of=place.of,
        )

    def _standing(self, made: Intervention) -> int | Literal["ready"]:
        """What the files say of it."""
        [says] = standing(self._control.configured, [made])
        if says is None:
            raise RefusedError(f"{made.service} is streamlb's own and not to be steered")
        return cast('int | Literal["ready"]', says)

    async def _change(self, interventions: list[Intervention], done: list[str], by: str) -> Done:
        """Have the workers serve with these overrides instead, and keep them."""
        former, self.interventions = self.interventions, interventions
        outcome = await self._control.apply(f"ctl by {by}")
        if not outcome.ok:
            self.interventions = former
            raise RefusedError("it was not taken over", "; ".join(outcome.problems))
        for sentence in done:
            log.warning("%s (by %s)", sentence, by)
        touched = {(each.protocol, each.service) for each in {*former} ^ {*interventions}}
        warnings = [
            f"{protocol} service {service} has nobody left for new clients"
            for protocol, service in sorted(touched)
            if is_deserted(self._control.config.section(protocol).services.get(service))
        ]
        await self._keep()
        if self.file.problem:
            warnings.append(f"this does not survive a restart: {self.file.problem}")
        return Done(done=done, warnings=warnings)

    async def _keep(self) -> None:
        await asyncio.to_thread(self.file.write, list(self.interventions))


def _is_state_of(places: list[Place], intervention: Intervention) -> bool:
    """Whether an override is the state of one of these servers, or of an address of one."""
    return intervention.kind == "state" and any(
        (place.protocol, place.service) == (intervention.protocol, intervention.service)
        and place.child in (intervention.child, intervention.of)
        for place in places
    )


def now_text() -> str:
    """The time for people and programs: RFC 3339, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
