"""The control process: what `streamlb run` is.

What lives here: `run` (load, bind, start workers) and `Control` (keep them running, have them take over what changes,
end them in good order). What must not: moving a client's bytes, what a person reads at the start (`banner.py`).
Called by the command line. Specified in docs/architecture.md, "Processes".

    starting --all ready--> serving --SIGTERM, SIGINT--> stopping --all workers ended--> exit 0
    A worker that ends in `starting` is fatal; in `serving` it is replaced. A second signal ends everything at once.
    Exit 1 where the configuration, an address or a worker's start failed, or a worker would not end.

A change, whatever its reason, goes one way: files -> addresses of servers -> one `Config` -> sockets -> workers.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import msgspec

import streamlb
from streamlb.config import report
from streamlb.config.diff import diff, texts
from streamlb.config.internal import complete
from streamlb.config.model import Config
from streamlb.errors import ConfigError, StartError
from streamlb.health.prober import Prober
from streamlb.net.tasks import spawn
from streamlb.observe import log as programme_log
from streamlb.observe import log_files
from streamlb.process import banner, descriptors
from streamlb.process.admin import Admin
from streamlb.process.channel import Configure, Drain, Drained, Ejected, Health, Reopen, Traced
from streamlb.process.configuration import add_default_certificate, open_sources
from streamlb.process.fleet import Fleet
from streamlb.process.heartbeat import Heartbeat
from streamlb.process.inheritance import inherit
from streamlb.process.notify import Notifier
from streamlb.process.otlp import Traces
from streamlb.process.reload import Outcome, Turns
from streamlb.process.renewal import Renewal, wall_clock
from streamlb.process.resolving import Resolving
from streamlb.process.slot import count_workers
from streamlb.process.sockets import Sockets
from streamlb.process.steering import Steering
from streamlb.process.telemetry import Telemetry, scraped
from streamlb.process.upgrade import Upgrade, report_ready
from streamlb.process.watching import Watcher

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from streamlb.admin.office import Office
    from streamlb.config.check import Loaded
    from streamlb.config.sources import Sources
    from streamlb.errors import Problem
    from streamlb.process.channel import Message, ServerKey
    from streamlb.process.slot import Slot

log = logging.getLogger(__name__)

KILL_MARGIN = 3.0
"""Seconds a worker gets beyond the longest grace time before it is killed."""
HANDOVER_PAUSE = 0.1
"""Seconds that a successor and this process serve side by side."""
SIGNALLED = 128
"""Exit code of an end that did not wait for anything: this plus the signal's number, as shells count."""


def run(paths: Sequence[str]) -> int:
    """Load the files, serve them until told to stop; the exit code."""
    started_at = time.monotonic()
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        # What comes before there is anything to reload, reopen or replace must not end us.
        signal.signal(number, signal.SIG_IGN)
    log_files.hold_streams()
    sources = open_sources(paths)
    try:
        loaded = sources.read()
    except ConfigError as error:
        _show(error)
        return 1
    programme_log.adopt(loaded.config.log)
    try:
        return asyncio.run(_control(paths, sources, loaded, started_at))
    except StartError as error:
        log.error("%s", error)
        return 1
    except KeyboardInterrupt:
        # Ctrl-C before there was anything to stop.
        return SIGNALLED + signal.SIGINT


async def _control(paths: Sequence[str], sources: Sources, loaded: Loaded, started_at: float) -> int:
    descriptors.raise_limit()
    control = Control(paths, sources, loaded, Sockets(inherit()), started_at)
    log.info("streamlb %s serves %s: %s", streamlb.__version__, ", ".join(paths), report.summary(loaded.config))
    banner.show_notes(loaded)
    control.steering.show()
    few = descriptors.remark(control.config, descriptors.limit())
    if few:
        log.warning("%s", few)
    return await control.run()


def _show(error: ConfigError) -> None:
    colour = sys.stderr.isatty() and programme_log.wants_colour(os.environ)
    sys.stderr.write(report.render(error.problems, colour))
    sys.stderr.write(report.count_line(len(error.problems), colour=colour))


def _check_log_files(config: Config) -> None:
    """Raises StartError where a log would be lost."""
    reasons = log_files.refusals(config)
    if reasons:
        raise StartError("; ".join(reasons))


class Control:
    """The running control process. Its states: starting, serving (`Fleet.serving`), stopping (`stopping`).

    loaded: what the files say, as far as it was accepted. config: what is served, made of it by `_effective`;
    `version` is its number. loaded_at: when the files were read and accepted for the last time (seconds since 1970).
    reloads, failures: how often they were read again; how often something was not taken over.
    outcome: of the last change; reading: of the last time the files were read again.
    """

    def __init__(
        self, paths: Sequence[str], sources: Sources, loaded: Loaded, sockets: Sockets, started_at: float
    ) -> None:
        """Raises StartError when an address cannot be used."""
        # process
        self._loop = asyncio.get_running_loop()
        self.paths = paths
        self.sources = sources
        self.sockets = sockets
        self.telemetry = Telemetry()
        self.fleet = Fleet(
            configuration=self._configuration,
            on_message=self._on_message,
            on_start=lambda slot: self.prober.forget(slot.number),
            on_ready=self._on_serving,
            on_failed=lambda: self._end(1),
            on_empty=lambda overdue: self._end(1 if overdue else 0),
            memory=self.telemetry.new_memory,
        )
        self.prober = Prober(self._on_verdict, self._on_back)
        self.resolving = Resolving(loaded.config, lambda _: self._on_news("a name has other addresses"))
        self.renewal = Renewal(loaded.config, loaded.pem, lambda: self._on_news("a certificate was renewed"))
        self._turns = Turns(self._take_over)
        self._started_at = started_at
        self.stopping = False
        self._put_off = False
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self.loaded_at = wall_clock()
        self.reloads = self.failures = 0
        self.outcome: Outcome | None = None
        self.reading: Outcome | None = None
        # configuration
        self._is_self_signed = False
        self._complete(loaded)
        self.loaded = loaded
        self.steering = Steering(self)
        is_successor = sockets.inheritance.predecessor is not None
        routes = functools.partial(self.telemetry.routes, self)
        self.admin = Admin(self._office, private_routes=routes, succeeds=is_successor)
        self.config = self._effective(loaded)
        self._encoded = msgspec.msgpack.encode(self.config)
        self.version = 1
        _check_log_files(self.config)
        plan = sockets.plan(self.config, count_workers(self.config))
        self.fleet.equip(plan.slots)
        plan.commit()
        banner.show_unused(sockets.inheritance.close_rest())
        self.upgrade = Upgrade(sockets, self._on_succeeded, self._on_not_succeeded)
        self._traces = Traces()
        self._traces.adopt(self.config.tracing)
        self.notifier = Notifier()
        self.heartbeat = Heartbeat(
            self.fleet, lambda: self.config.worker_timeout, self._on_beat, self.notifier.watchdog
        )
        self._watcher = Watcher(self._watched(), lambda: self._on_files(), self._debounce)

    def _office(self) -> Office:
        """Who serves the callers of the admin sockets; nobody calls before everything else runs."""
        from streamlb.process.desk import Desk

        return Desk(self, self.steering)

    @property
    def configured(self) -> Config:
        """What the files say."""
        return self.loaded.config

    async def run(self) -> int:
        """Serve until the end; the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._on_stop, number)
        self._loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        self._loop.add_signal_handler(signal.SIGQUIT, self._on_quit)
        self._loop.add_signal_handler(signal.SIGUSR2, lambda: spawn(self.replace(), "upgrade"))
        self._loop.add_signal_handler(signal.SIGUSR1, self._on_reopen)
        self._loop.add_signal_handler(signal.SIGCHLD, self._on_child)
        banner.show_entry_points(self.config, self.fleet.slots[0].sockets)
        self.prober.load(self.config)
        try:
            self.admin.open(self.config.ctl)
            self.steering.settle(self.configured)
            # Clients wait in the sockets' queues meanwhile, rather than be told that there is no server.
            first = spawn(self.prober.first_verdicts(), "first health checks")
            await asyncio.wait({first, self._ended}, return_when=asyncio.FIRST_COMPLETED)
            if not self.stopping:
                self.fleet.start()
            self.heartbeat.start()
            self.resolving.start()
            self.renewal.start(self._loop)
            self._watcher.start()
            return await self._ended
        finally:
            self.admin.stop()
            self._watcher.stop()
            self.prober.stop()
            self.resolving.stop()
            self.renewal.stop()
            self.heartbeat.stop()
            self.notifier.close()
            self.upgrade.abandon()
            self.sockets.close()
            self.fleet.end()
            self._traces.close()

    # --- taking over what has changed ------------------------------------------------------------------------------

    async def reload(self, reason: str = "reload") -> Outcome:
        """Read the files again and serve what they say now; what became of it."""
        self.notifier.reloading()
        try:
            return await self._turns.ask(reason, reads=True)
        finally:
            if not self.stopping:
                self.notifier.ready(self._status())

    async def apply(self, reason: str) -> Outcome:
        """Serve what is to be served now, after something other than the files has changed; what became of it."""
        return await self._turns.ask(reason)

    def _on_news(self, reason: str) -> None:
        spawn(self.apply(reason), reason)

    def _on_files(self) -> None:
        spawn(self.reload("files have changed"), "reload")

    def _on_reopen(self) -> None:
        """Logs were moved away: go on in new files."""
        programme_log.reopen()
        self.fleet.tell(Reopen())
        log.info("SIGUSR1: log files are opened anew")

    def _on_hangup(self) -> None:
        spawn(self.reload("SIGHUP"), "reload")

    def _effective(self, loaded: Loaded) -> Config:
        """What is to be served: what the files say and what this process makes of it."""
        config = self.steering.effective(loaded.config, self.resolving.resolve(loaded.config))
        return complete(config, scraped(config, self.admin.private_path))

    def _complete(self, loaded: Loaded) -> None:
        if add_default_certificate(loaded.config) and not self._is_self_signed:
            self._is_self_signed = True
            log.warning("there is no default certificate: who asks for a name without one is shown a self-signed one")

    async def _take_over(self, reasons: list[str], reads: bool) -> Outcome:
        """One turn: everything that has changed, as a whole or not at all."""
        reason = ", ".join(reasons)
        if self.stopping:
            return Outcome(ok=False, version=self.version, problems=["streamlb is stopping"])
        if self.upgrade.is_under_way:
            # The successor reads the files itself, and needs the addresses that would be bound here.
            self._put_off = True
            return Outcome(ok=False, version=self.version, problems=["an upgrade is under way"])
        loaded, problems, kept, before = self.loaded, list[str](), list[str](), self.version
        if reads:
            self.reloads += 1
            # In a thread, because the health checks must not miss their time meanwhile.
            reread = await asyncio.to_thread(self.sources.reread)
            loaded, problems, kept = reread.loaded, [_sentence(each) for each in reread.problems], reread.kept
            self._complete(loaded)
        changes, refused = await self._serve(loaded, reason)
        problems += refused
        if not refused and reads:
            problems += self.admin.adopt(loaded.config.ctl)
            self._load(loaded, complete=not problems)
        outcome = Outcome(ok=not problems, version=self.version, changes=changes, problems=problems, kept=kept)
        self.failures += not outcome.ok
        if reads:
            self.reading = outcome
        self.outcome = outcome
        banner.show_outcome(outcome, reason, before)
        return outcome

    def _load(self, loaded: Loaded, *, complete: bool) -> None:
        """These files are what is served from now on."""
        if complete:
            self.loaded_at = wall_clock()
        if loaded is not self.loaded:
            self.loaded = loaded
            self.resolving.load(loaded.config)
            self.renewal.load(loaded.config, loaded.pem)
            self.steering.settle(loaded.config)
            banner.show_notes(loaded)
        self._watcher.update(self._watched(), self._debounce)

    async def _serve(self, loaded: Loaded, reason: str) -> tuple[list[str], list[str]]:
        """Have the workers serve what these files make; what has changed, and why it is refused."""
        config = self._effective(loaded)
        encoded = msgspec.msgpack.encode(config)
        if encoded == self._encoded:
            return [], []
        try:
            _check_log_files(config)
            plan = self.sockets.plan(config, count_workers(config))
        except StartError as error:
            return [], [str(error)]
        former, sockets = self.config, [slot.sockets for slot in self.fleet.slots]
        self._adopt(config, plan.slots)
        reasons = await self.fleet.configure()
        if self.stopping:
            plan.abandon()
            return [], ["streamlb is stopping"]
        if reasons:
            log.error("the workers do not take the configuration (%s); going back to the former one", reason)
            self._adopt(former, sockets)
            reasons += await self.fleet.configure()
            self.fleet.dismiss(0.0)
            plan.abandon()
            await self.fleet.release(self.version)
            return [], reasons
        # What the renewal of certificates changes it changes in place: the former configuration is as it was sent.
        changes = diff(msgspec.msgpack.decode(self._encoded, type=Config), config)
        self._encoded = encoded
        is_less = plan.commit()
        self.fleet.dismiss(sum(self._graces()) + KILL_MARGIN)
        if is_less:
            await self.fleet.release(self.version)
        programme_log.adopt(config.log)
        self._traces.adopt(config.tracing)
        return texts(changes), []

    def _adopt(self, config: Config, sockets: list[dict[str, socket.socket]]) -> None:
        """From now on this is what a worker is told to serve."""
        self.config = config
        self.version += 1
        self.prober.load(config)
        self.fleet.equip(sockets)

    def _watched(self) -> frozenset[str]:
        # Those with certificates are looked at by `Renewal`, which knows that a key may come after its certificate.
        return self.sources.watched - set(self.loaded.pem.values())

    @property
    def _debounce(self) -> float:
        return self.loaded.config.providers.providers_throttle_duration

    # --- workers -------------------------------------------------------------------------------------------------

    def _on_serving(self) -> None:
        log.info("ready in %d ms", (time.monotonic() - self._started_at) * 1000)
        self.notifier.ready(self._status())
        spawn(self.admin.serve(), "admin sockets")
        if self.sockets.inheritance.predecessor is not None:
            report_ready(self.sockets.inheritance.predecessor)

    def _on_beat(self, all_well: bool) -> None:
        """Every second: whether all workers live and serve."""
        if all_well or self.stopping:
            self.notifier.alive()
        if not self.stopping and self.fleet.serving:
            self.notifier.status(self._status())

    def _status(self) -> str:
        return banner.status_line(self.config, self.fleet, self.version, len(self.prober.down()), self.outcome)

    def _on_message(self, slot: Slot, message: Message) -> None:
        if isinstance(message, Ejected):
            self.prober.on_ejected(slot.number, message.server)
        elif isinstance(message, Drained):
            log.debug("worker %d has drained", slot.number)
        elif isinstance(message, Traced):
            self._traces.add(message.spans, message.lost)

    def _configuration(self, slot: Slot) -> Configure:
        """What a worker is told to serve, with what is known of the servers now."""
        down = self.prober.down()
        return Configure(self.config, slot.number, self.fleet.size, version=self.version, down=down)

    def _on_verdict(self, server: ServerKey, up: bool) -> None:
        """The probes have changed their mind about a server."""
        self.fleet.tell(Health(server, up))

    def _on_back(self, number: int, server: ServerKey) -> None:
        """A worker may take back a server it has taken out."""
        for slot in self.fleet.slots[number : number + 1]:
            slot.tell(Health(server, True))

    # --- the end -------------------------------------------------------------------------------------------------

    def _graces(self) -> tuple[float, float]:
        """The longest times, in seconds, to accept more and to finish what is in flight."""
        life_cycles = [each.transport.life_cycle for each in self.config.entry_points.values()]
        accept_grace = max((each.request_accept_grace_timeout for each in life_cycles), default=0.0)
        return accept_grace, max((each.grace_time_out for each in life_cycles), default=0.0)

    def _on_stop(self, number: int) -> None:
        name = signal.Signals(number).name
        if self.stopping:
            log.warning("%s again: ending at once", name)
            self._end(SIGNALLED + number)
            return
        accept_grace, grace = self._graces()
        accepting = f"accepting for {accept_grace:g} s more, then" if accept_grace else "accepting no more,"
        log.info("%s: %s work in flight has %g s; a second signal ends at once", name, accepting, grace)
        self.upgrade.abandon()
        self._drain(accept_grace + grace)

    def _on_quit(self) -> None:
        log.warning("SIGQUIT: ending at once")
        self._end(SIGNALLED + signal.SIGQUIT)

    def _drain(self, patience: float, *, handed_over: bool = False) -> None:
        """Have the workers finish within so many seconds."""
        self.stopping = True
        self.steering.release()
        if not handed_over:
            self.notifier.stopping(patience + KILL_MARGIN)
        sockets = self.fleet.slots[0].sockets
        is_held = self.sockets.inheritance.is_held
        shared = [name for name, sock in sockets.items() if handed_over or is_held(sock)]
        self.fleet.drain(patience + KILL_MARGIN, Drain(handed_over=handed_over, shared=shared))
        self.sockets.close()

    # --- upgrade ---------------------------------------------------------------------------------------------------

    async def replace(self) -> tuple[int, str]:
        """Start a successor and wait until it serves: its process id, or 0 and why it does not."""
        await self._turns.settled()
        if self.stopping or not self.fleet.serving:
            reason = "streamlb is stopping" if self.stopping else "streamlb is not ready yet"
            log.error("upgrade: %s", reason)
            return 0, reason
        reason = self.upgrade.begin() or await self.upgrade.outcome()
        return (0, reason) if reason else (self.upgrade.pid, "")

    def _on_not_succeeded(self) -> None:
        if self._put_off and not self.stopping:
            self._put_off = False
            spawn(self.reload("what was put off for the upgrade"), "reload")

    def _on_succeeded(self, pid: int) -> None:
        _, grace = self._graces()
        log.info("upgrade: the successor (pid %d) serves; work in flight here has %g s", pid, grace)
        self.notifier.succeeded_by(pid)
        # Not at once: whoever has asked for this is answered first.
        self._loop.call_later(HANDOVER_PAUSE, self._hand_over, grace)

    def _hand_over(self, grace: float) -> None:
        if not self.stopping:
            self._drain(grace, handed_over=True)

    def _on_child(self) -> None:
        self.upgrade.on_child()
        self.fleet.on_child()

    def _end(self, code: int) -> None:
        if not self._ended.done():
            if code == 0:
                log.info("stopped")
            self._ended.set_result(code)


def _sentence(problem: Problem) -> str:
    """A problem on one line."""
    where = f"{problem.position}: {problem.path}" if problem.path else f"{problem.position}"
    return report.clean(f"{where}: {problem.reason}{f' ({problem.suggestion})' if problem.suggestion else ''}")
