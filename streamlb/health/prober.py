"""The probes of the control process: each server by itself, all at the same time, one verdict for all workers.

What lives here: `Prober`, which probes on time, has the judges decide, logs each change, and remembers why.
What must not: how to probe (`http_probe.py`, `plain_probe.py`), telling workers (`process/control.py`).
Specified in docs/reference.md ("Health") and by Traefik's health check pages; a task per server, which waits.
"""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from streamlb.balance.health import Judge
from streamlb.health.checks import Result, plan
from streamlb.health.connect import ProbeError, ShortageError
from streamlb.health.http_probe import probe_http
from streamlb.health.plain_probe import probe_tcp, probe_udp
from streamlb.net.tasks import spawn
from streamlb.observe.throttle import Throttle, often

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlb.config.model import Config
    from streamlb.health.checks import Check, Key

log = logging.getLogger(__name__)

MAX_PROBES = 1024
"""Probes under way at once; more wait for their turn, so that descriptors remain for the rest."""
FIRST_WITHIN = 1.0
"""Seconds over which the first probes are spread, so that a start is no volley."""
JITTER = 0.1
"""Share of an interval by which each wait differs, so that servers are not asked in step for ever."""
LOG_INTERVAL = 60.0

_PROBES = {"http": probe_http, "tcp": probe_tcp, "udp": probe_udp}


class Standing:
    """What is known of one probed server.

    reason: what the last probe found. checked_at: when that was; changed_at: when the verdict last changed.
    waiting: by worker, how many good probes it needs to take back a server that its clients' requests took out,
    and the number of the last probe that began too early to count. begun: probes begun so far.
    """

    __slots__ = ("begun", "changed_at", "check", "checked_at", "judge", "reason", "waiting")

    def __init__(self, check: Check) -> None:
        # process
        options = check.options
        self.check = check
        self.judge = Judge(
            rise=options.rise,
            fall=options.fall,
            up=options.initial_state == "up",
            decided=options.initial_state != "probe",
        )
        self.reason = ""
        self.checked_at: datetime | None = None
        self.changed_at: datetime | None = None
        self.begun = 0
        self.waiting: dict[int, tuple[int, int]] = {}

    def inherit(self, former: Standing) -> None:
        """The same server under other options: the verdict stands until the new ones turn it."""
        self.judge.up, self.judge.decided = former.judge.up, former.judge.decided
        self.reason, self.checked_at, self.changed_at = former.reason, former.checked_at, former.changed_at
        self.waiting = dict.fromkeys(former.waiting, (self.check.options.rise, 0))

    @property
    def up(self) -> bool:
        return self.judge.up

    @property
    def interval(self) -> float:
        """Seconds to the next probe."""
        options = self.check.options
        return options.interval if self.up or options.unhealthy_interval is None else options.unhealthy_interval


class Prober:
    """Probes every server of a configuration that asks for it.

    on_change: called with a server and whether it is up, at each change of its verdict.
    on_back: called with a worker's number and a server the worker took out and may take back.
    standings: what is known, by server.
    """

    def __init__(self, on_change: Callable[[Key, bool], None], on_back: Callable[[int, Key], None]) -> None:
        # process
        self._on_change = on_change
        self._on_back = on_back
        self._room = asyncio.Semaphore(MAX_PROBES)
        self._throttle = Throttle(LOG_INTERVAL)
        # configuration
        self.standings: dict[Key, Standing] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._counts: dict[tuple[str, str], list[int]] = {}
        self._undecided: set[Key] = set()
        self._decided = asyncio.Event()

    def load(self, config: Config) -> None:
        """Probe what this configuration asks for. What is known of a server that was there before stays known."""
        former, self.standings = self.standings, {}
        for check in plan(config):
            known = former.get(check.key)
            if known is not None and known.check == check:
                self.standings[check.key] = former.pop(check.key)
                continue
            standing = self.standings[check.key] = Standing(check)
            if known is not None:
                standing.inherit(known)
        for key in former:
            self._tasks.pop(key).cancel()
        self._undecided = {key for key, standing in self.standings.items() if not standing.judge.decided}
        self._decided.clear()
        self._note_decided()
        self._counts = {}
        for key, standing in self.standings.items():
            count = self._counts.setdefault(key[:2], [0, 0])
            count[0] += standing.up
            count[1] += 1
            if key not in self._tasks:
                self._tasks[key] = spawn(self._watch(standing), f"health of {key[2]}")

    def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    def _note_decided(self) -> None:
        if not self._undecided:
            self._decided.set()

    async def first_verdicts(self) -> None:
        """Wait for the servers nothing is assumed about (`initialState: probe`), for one timeout at most."""
        if self._decided.is_set():
            return
        patience = max((self.standings[key].check.options.timeout for key in self._undecided), default=0.0)
        try:
            await asyncio.wait_for(self._decided.wait(), patience)
        except TimeoutError:
            log.warning("the first health checks of %d servers are not over; starting without", len(self._undecided))

    def down(self) -> list[Key]:
        """The servers that are not to be used now."""
        return [key for key, standing in self.standings.items() if not standing.up]

    # --- servers that workers took out by themselves -----------------------------------------------------------

    def on_ejected(self, worker: int, key: Key) -> None:
        """A worker has taken a server out for what its clients' requests showed; good probes bring it back."""
        standing = self.standings.get(key)
        if standing is not None:
            standing.waiting[worker] = (standing.check.options.rise, standing.begun)

    def forget(self, worker: int) -> None:
        """A worker is gone, and with it what it took out."""
        for standing in self.standings.values():
            standing.waiting.pop(worker, None)

    def _bring_back(self, standing: Standing, number: int, good: bool) -> None:
        for worker, (missing, too_early) in list(standing.waiting.items()):
            if number <= too_early:
                continue
            missing = missing - 1 if good else standing.check.options.rise
            if missing > 0 or not standing.up:
                standing.waiting[worker] = (missing, too_early)
            else:
                del standing.waiting[worker]
                self._on_back(worker, standing.check.key)

    # --- probing -----------------------------------------------------------------------------------------------

    async def _watch(self, standing: Standing) -> None:
        loop = asyncio.get_running_loop()
        if standing.judge.decided:
            await asyncio.sleep(random.random() * min(standing.interval, FIRST_WITHIN))
        while True:
            began_at = loop.time()
            async with self._room:
                standing.begun = number = standing.begun + 1
                result = await probe(standing.check)
            self._take(standing, number, result)
            wait = standing.interval * random.uniform(1 - JITTER, 1 + JITTER)
            await asyncio.sleep(max(0.0, began_at + wait - loop.time()))

    def _take(self, standing: Standing, number: int, result: Result) -> None:
        if result.good is None:
            self._complain(standing.check, result.reason)
            return
        now = datetime.now(UTC)
        key = standing.check.key
        standing.reason = result.reason
        standing.checked_at = now
        was_up = standing.up
        if standing.judge.observe(result.good):
            standing.changed_at = now
            self._counts[key[:2]][0] += standing.up - was_up
            self._log_change(standing)
            if standing.up:
                # A new verdict for all workers; those that took it out themselves are told by it too.
                standing.waiting.clear()
            if standing.up != was_up:
                self._on_change(key, standing.up)
        if standing.waiting:
            self._bring_back(standing, number, result.good)
        self._undecided.discard(key)
        self._note_decided()

    def _log_change(self, standing: Standing) -> None:
        protocol, service, server = standing.check.key
        up, count = self._counts[protocol, service]
        how_many = f"{up} of {count} {'server' if count == 1 else 'servers'} up"
        if standing.up:
            log.info("service %s: server %s is up: %s (%s)", service, server, standing.reason, how_many)
        else:
            level = logging.WARNING if up else logging.ERROR
            log.log(level, "service %s: server %s is down: %s (%s)", service, server, standing.reason, how_many)

    def _complain(self, check: Check, reason: str) -> None:
        """A probe could not be made; nothing is known of the server, so nothing changes."""
        count = self._throttle.admit(reason, asyncio.get_running_loop().time())
        if count:
            log.error("service %s: server %s cannot be checked: %s%s", check.key[1], check.key[2], reason, often(count))


async def probe(check: Check) -> Result:
    """One probe, within its time."""
    timeout = check.options.timeout
    try:
        async with asyncio.timeout(timeout):
            return await _PROBES[check.key[0]](check)
    except TimeoutError:
        return Result(False, f"timeout after {timeout:g} s")
    except ProbeError as error:
        return Result(False, str(error))
    except ShortageError as error:
        return Result(None, str(error))
    except Exception:
        # A bug of ours must not end the checks of this server, nor take it down.
        log.exception("a health check of %s failed by a bug of streamlb", check.key[2])
        return Result(None, "internal error")
