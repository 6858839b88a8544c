"""Whether every worker lives and serves; who stands too long is replaced.

What lives here: `Heartbeat`, which asks all workers again and again. What must not: starting and ending processes
(`fleet.py`), what systemd hears of it (`notify.py`). Owned by `process/control.py`.
Specified in docs/reference.md (`workerTimeout`).

Silence is counted in questions without an answer, not in time: when this process was held up itself, or the whole
machine was, nobody is blamed for it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from streamlb.net.tasks import spawn
from streamlb.process.loads import Beat

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlb.process.fleet import Fleet
    from streamlb.process.slot import Slot

log = logging.getLogger(__name__)

TICK = 1.0
"""Seconds between two questions, and for an answer."""
BEATS_PER_WATCHDOG = 4
"""Rounds within the time after which a watchdog bites."""

_decode = msgspec.json.Decoder(Beat).decode


class Heartbeat:
    """The lives of all workers.

    limit: seconds of silence after which a worker is replaced, 0 for never; half of it and it is reported.
    on_beat: after each round; whether all who serve have answered, by channel and as to a client.
    lags: by worker, the worst lateness of its loop in the last round, in seconds.
    """

    def __init__(
        self, fleet: Fleet, limit: Callable[[], float], on_beat: Callable[[bool], None], watchdog: float = 0.0
    ) -> None:
        """watchdog: seconds within which `on_beat` must be called; 0 for any time."""
        # process
        self._fleet = fleet
        self._limit = limit
        self._on_beat = on_beat
        self._task: asyncio.Task[None] | None = None
        self._silences: dict[int, int] = {}
        self.lags: dict[int, float] = {}
        self.tick = min(TICK, watchdog / BEATS_PER_WATCHDOG) if watchdog else TICK

    def start(self) -> None:
        self._task = spawn(self._run(), "heartbeat")

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began_at = loop.time()
            all_well = await self._round()
            self._on_beat(all_well)
            await asyncio.sleep(max(0.0, self.tick - (loop.time() - began_at)))

    async def _round(self) -> bool:
        """Ask everybody once; whether all is well."""
        asked = [(slot, slot.pid) for slot in self._fleet.slots if slot.ready and slot.pid]
        requests = asyncio.gather(*(self._ask(slot) for slot, _ in asked))
        told, answers = await asyncio.gather(self._fleet.ask("pulse", timeout=self.tick), requests)
        self.lags.clear()
        all_well = bool(asked)
        for (slot, pid), is_answered in zip(asked, answers, strict=True):
            if slot.pid != pid:
                all_well = False
                continue  # It has ended meanwhile, which is no silence.
            beat = _beat(told.get(slot.number))
            if beat is not None:
                self.lags[slot.number] = beat.worst
            if beat is not None and (is_answered or beat.is_short):
                self._silences.pop(pid, None)
                continue
            all_well = False
            await self._on_silence(slot, pid, loop_stands=beat is None)
        alive = {slot.pid for slot in self._fleet.slots}
        self._silences = {pid: count for pid, count in self._silences.items() if pid in alive}
        return all_well

    async def _ask(self, slot: Slot) -> bool:
        return slot.lifeline is not None and await slot.lifeline.ask(self.tick)

    async def _on_silence(self, slot: Slot, pid: int, *, loop_stands: bool) -> None:
        count = self._silences[pid] = self._silences.get(pid, 0) + 1
        limit = self._limit()
        if not limit:
            return
        seconds, what = count * self.tick, "has said nothing" if loop_stands else "takes no connections"
        if seconds >= limit:
            log.error("worker %d (pid %d) %s for %g s: killing it", slot.number, pid, what, seconds)
            slot.kill()
        elif seconds >= limit / 2 > seconds - self.tick:
            where = await slot.lifeline.where(pid) if slot.lifeline is not None else ""
            log.error("worker %d (pid %d) %s for %g s; %s", slot.number, pid, what, seconds, where)


def _beat(body: bytes | None) -> Beat | None:
    return None if body is None else _decode(body)
