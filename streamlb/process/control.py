"""The control process: what `streamlb run` is.

What lives here: `run` (load, bind, start workers) and `Control` (keep them running, end them in good order).
What must not: moving a client's bytes. Called by the command line. Specified in docs/architecture.md, "Processes".

    starting --all ready--> serving --SIGTERM, SIGINT--> stopping --all workers ended--> exit 0
    A worker that ends in `starting` is fatal; in `serving` it is replaced. A second signal ends everything at once.
    Exit 1 where the configuration, an address or a worker's start failed, or a worker would not end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import sys
import time
from typing import TYPE_CHECKING

import streamlb
from streamlb.config import report
from streamlb.config.internal import complete
from streamlb.errors import ConfigError, StartError
from streamlb.health.prober import Prober
from streamlb.net.address import parse_address
from streamlb.net.tasks import spawn
from streamlb.observe import log as programme_log
from streamlb.process.channel import Configure, Drained, Ejected, Health
from streamlb.process.configuration import add_default_certificate, open_sources
from streamlb.process.fleet import Fleet
from streamlb.process.renewal import Renewal
from streamlb.process.resolving import Resolving
from streamlb.process.slot import count_workers
from streamlb.process.sockets import bind_all

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from streamlb.config.check import Loaded
    from streamlb.config.model import Config
    from streamlb.config.reading import Path
    from streamlb.process.channel import Message, ServerKey
    from streamlb.process.slot import Slot

log = logging.getLogger(__name__)

KILL_MARGIN = 3.0
"""Seconds a worker gets beyond the longest grace time before it is killed."""
SIGNALLED = 128
"""Exit code of an end that did not wait for anything: this plus the signal's number, as shells count."""


def run(paths: Sequence[str]) -> int:
    """Load the files, serve them until told to stop; the exit code."""
    started_at = time.monotonic()
    sources = open_sources(paths)
    try:
        loaded = sources.read()
    except ConfigError as error:
        _show(error)
        return 1
    config = loaded.config
    programme_log.configure(config.log.level, config.log.format)
    try:
        return asyncio.run(_control(", ".join(paths), loaded, started_at))
    except StartError as error:
        log.error("%s", error)
        return 1
    except KeyboardInterrupt:
        # Ctrl-C before there was anything to stop.
        return SIGNALLED + signal.SIGINT


async def _control(name: str, loaded: Loaded, started_at: float) -> int:
    raise_descriptor_limit()
    config = complete(loaded.config)
    if add_default_certificate(config):
        log.warning("there is no default certificate: who asks for a name without one is shown a self-signed one")
    control = Control(config, loaded.pem, bind_all(config, count_workers(config)), started_at)
    log.info("streamlb %s serves %s: %s", streamlb.__version__, name, report.summary(loaded.config))
    for note in loaded.notes:
        log.warning("%s: %s: %s", note.position, note.path, note.reason)
    return await control.run()


def _show(error: ConfigError) -> None:
    colour = sys.stderr.isatty() and programme_log.wants_colour(os.environ)
    sys.stderr.write(report.render(error.problems, colour))
    sys.stderr.write(report.count_line(len(error.problems), colour=colour))


def raise_descriptor_limit() -> None:
    """Every connection takes descriptors: use all the system lets us have; workers inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Control:
    """The running control process. Its states: starting, serving (`Fleet.serving`), stopping (`_stopping`)."""

    def __init__(
        self, config: Config, pem: dict[Path, str], sockets: list[dict[str, socket.socket]], started_at: float
    ) -> None:
        # process
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._fleet = Fleet(
            sockets,
            configuration=self._configuration,
            on_message=self._on_message,
            on_start=lambda slot: self._prober.forget(slot.number),
            on_ready=self._on_serving,
            on_failed=lambda: self._end(1),
            on_empty=lambda overdue: self._end(1 if overdue else 0),
        )
        self._prober = Prober(self._on_verdict, self._on_back)
        self._resolving = Resolving(config, self._on_resolved)
        self._renewal = Renewal(config, pem, self._on_renewed)
        self._version = 1
        self._started_at = started_at
        self._stopping = False
        self._ended: asyncio.Future[int] = self._loop.create_future()

    async def run(self) -> int:
        """Serve until the end; the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._on_stop, number)
        self._loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        self._loop.add_signal_handler(signal.SIGCHLD, self._fleet.on_child)
        self._show_entry_points()
        self._prober.load(self._config)
        try:
            # Clients wait in the sockets' queues meanwhile, rather than be told that there is no server.
            first = spawn(self._prober.first_verdicts(), "first health checks")
            await asyncio.wait({first, self._ended}, return_when=asyncio.FIRST_COMPLETED)
            if not self._stopping:
                self._fleet.start()
            self._resolving.start()
            self._renewal.start(self._loop)
            return await self._ended
        finally:
            self._prober.stop()
            self._resolving.stop()
            self._renewal.stop()
            self._fleet.end()

    # --- workers -------------------------------------------------------------------------------------------------

    def _on_serving(self) -> None:
        log.info("ready in %d ms", (time.monotonic() - self._started_at) * 1000)

    def _on_message(self, slot: Slot, message: Message) -> None:
        if isinstance(message, Ejected):
            self._prober.on_ejected(slot.number, message.server)
        elif isinstance(message, Drained):
            log.debug("worker %d has drained", slot.number)

    def _configuration(self, slot: Slot) -> Configure:
        """What a worker is told to serve, with what is known of the servers now."""
        down = self._prober.down()
        return Configure(self._config, slot.number, len(self._fleet.slots), version=self._version, down=down)

    def _on_verdict(self, server: ServerKey, up: bool) -> None:
        """The probes have changed their mind about a server."""
        self._fleet.tell(Health(server, up))

    def _on_back(self, number: int, server: ServerKey) -> None:
        """A worker may take back a server it has taken out."""
        self._fleet.slots[number].tell(Health(server, True))

    def _on_resolved(self, config: Config) -> None:
        """The addresses of some servers are known now, or are others than before."""
        if self._stopping:
            return
        self._config = config
        self._version += 1
        self._prober.load(config)
        spawn(self._fleet.configure(), "new configuration")

    def _on_renewed(self) -> None:
        """Certificates have changed, in the very configuration that all others are made of."""
        self._on_resolved(self._config)

    # --- the end -------------------------------------------------------------------------------------------------

    def _on_stop(self, number: int) -> None:
        name = signal.Signals(number).name
        if self._stopping:
            log.warning("%s again: ending at once", name)
            self._end(SIGNALLED + number)
            return
        self._stopping = True
        life_cycles = [each.transport.life_cycle for each in self._config.entry_points.values()]
        accept_grace = max((each.request_accept_grace_timeout for each in life_cycles), default=0.0)
        grace = max((each.grace_time_out for each in life_cycles), default=0.0)
        accepting = f"accepting for {accept_grace:g} s more, then" if accept_grace else "accepting no more,"
        log.info("%s: %s work in flight has %g s; a second signal ends at once", name, accepting, grace)
        self._fleet.drain(accept_grace + grace + KILL_MARGIN)

    def _on_hangup(self) -> None:
        log.warning("SIGHUP: reload is not supported yet; restart streamlb to use a changed configuration")

    def _end(self, code: int) -> None:
        if not self._ended.done():
            if code == 0:
                log.info("stopped")
            self._ended.set_result(code)

    # --- what a person sees at the start ----------------------------------------------------------------------------

    def _show_entry_points(self) -> None:
        for name, sock in self._fleet.slots[0].sockets.items():
            address = parse_address(self._config.entry_points[name].address)
            address = address._replace(port=sock.getsockname()[1])
            log.info("entry point %s on %s: %s", name, address, self._routers_of(name))

    def _routers_of(self, name: str) -> str:
        """`2 HTTP routers, 1 TCP router`."""
        options = self._config.entry_points[name]
        is_udp = options.kind == "udp"
        counts = []
        for protocol in ("udp",) if is_udp else ("http", "tcp"):
            routers = self._config.section(protocol).routers.values()
            joined = sum(1 for router in routers if router.joins(name))
            if joined:
                counts.append(f"{joined} {protocol.upper()} router{'' if joined == 1 else 's'}")
        if options.http.redirections is not None:
            counts.append(f"HTTP redirected to {options.http.redirections.entry_point.to}")
        return ", ".join(counts) or "no routers"
