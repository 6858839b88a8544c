"""A worker process: builds the world it is told to, serves it, drains and ends.

What lives here: `Worker`, the life of the process, and `main`, its loop. Started as `python -m streamlb.process.worker`
by `process/control.py`, a fresh interpreter that shares nothing with it but the channel and the listening sockets.
What must not: pydantic, click, yaml, or anything else that makes a start slow; deciding what to serve.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from streamlb.balance.tree import Balancer
from streamlb.health.verdicts import Verdicts
from streamlb.observe import log as programme_log
from streamlb.observe.access import AccessLog
from streamlb.observe.books import Books
from streamlb.observe.cells import VERSION, Cells
from streamlb.observe.throttle import Throttle, often
from streamlb.process.answers import Answers
from streamlb.process.channel import (
    Ask,
    Channel,
    Configure,
    Drain,
    Drained,
    Ejected,
    Failed,
    Health,
    Listen,
    Memory,
    Ready,
    Release,
    Reopen,
    Told,
    Traced,
)
from streamlb.process.entries import Entries
from streamlb.process.lifeline import PULSE
from streamlb.process.pulse import Pulse
from streamlb.process.tidying import Tidying, dismantled, sliced
from streamlb.proxy import tcp_dialling
from streamlb.proxy.pool import prepare, retire
from streamlb.runtime.build import build_in_steps
from streamlb.runtime.registry import Registry
from streamlb.runtime.snapshot import World

if TYPE_CHECKING:
    from streamlb.process.channel import Message
    from streamlb.runtime.snapshot import Runtime

log = logging.getLogger(__name__)

LOG_INTERVAL = 10.0
"""Seconds between two log lines about the same bug."""
LAST_WORD_TIMEOUT = 0.5
"""Seconds the last word gets to reach a control process that is busy."""


class Worker:
    """One worker. `run` lasts as long as the process does.

    inbox: what the control process says, in order; None when it is gone.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, channel: Channel, stack: int = -1) -> None:
        # process
        self._loop = loop
        self._channel = channel
        self._inbox: asyncio.Queue[Message | None] = asyncio.Queue()
        self._registry = Registry()
        self._tidying = Tidying()
        self._access = AccessLog(loop, lambda spans, lost: channel.send(Traced(spans, lost)))
        self._verdicts = Verdicts(loop, lambda server: channel.send(Ejected(server)), self._on_server_down)
        self._world: World | None = None
        self._entries = Entries()
        self._answers = Answers(
            channel.send, lambda: self._world, self._registry, self._verdicts, lambda: [*self._entries.open.values()]
        )
        self._pulse = Pulse(loop, stack)
        self._books: Books | None = None
        self._throttle = Throttle(LOG_INTERVAL)

    async def run(self) -> int:
        """Serve until told to drain; the exit code."""
        self._loop.set_exception_handler(self._on_bug)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._inbox.put_nowait, Drain())
        # The control process reloads and tells us; a stray signal (a closed terminal, pkill) must not end us.
        for number in (signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        self._channel.start(self._loop, self._on_message, lambda: self._inbox.put_nowait(None))
        while True:
            message = await self._inbox.get()
            if isinstance(message, Configure):
                if not await self._configure(message):
                    return 1
            elif isinstance(message, Release):
                await self._entries.release()
                self._channel.send(Ready(message.version))
            elif isinstance(message, Drain):
                await self._drain(message)
                return 0
            elif message is None:
                log.error("the control process is gone: accepting no more, finishing what is in flight")
                await self._drain(Drain(), free_port=True)
                return 1

    def _on_message(self, message: Message, descriptors: list[int]) -> None:
        if isinstance(message, Listen):
            [descriptor] = descriptors
            sock = socket.socket(fileno=descriptor)
            if message.entry_point == PULSE:
                self._pulse.open(sock)
            else:
                self._entries.offer(message.entry_point, sock)
        elif isinstance(message, Memory):
            [descriptor] = descriptors
            self._books = Books(Cells(descriptor), self._access)
            self._books.cells.begin(message.now)
            self._pulse.count_in(self._books.cells)
            os.close(descriptor)
        elif isinstance(message, Health):
            # At once, whatever the inbox waits for: the next pick must know.
            self._verdicts.apply(message.server, message.up)
        elif isinstance(message, Reopen):
            programme_log.reopen()
            self._access.reopen()
        elif isinstance(message, Ask) and message.what == "pulse":
            self._channel.send(Told(message.number, self._pulse.tell()))
        elif isinstance(message, Ask):
            self._answers.on_ask(message)
        else:
            if isinstance(message, Configure):
                self._verdicts.begin(message.down)
            self._inbox.put_nowait(message)

    # --- serving -------------------------------------------------------------------------------------------------

    async def _configure(self, told: Configure) -> bool:
        """Build the world, open the entry points, say so; whether there is anything to go on with."""
        try:
            runtime = await self._build(told)
        except Exception as error:
            self._fail(told, error)
            self._tidying.after_change()
            # Nothing has changed: what was served before still is.
            return self._world is not None
        programme_log.adopt(told.config.log, worker=told.worker if told.workers > 1 else None)
        former: Runtime | None = None
        try:
            self._verdicts.adopt(runtime)
            if self._world is None:
                self._world = World(runtime)
            else:
                former = self._world.runtime
                self._entries.keep(former, runtime)
                self._world.runtime = runtime
                retire(self._registry.retired)
                for queue in self._registry.stirred:
                    queue.stir()
                if self._registry.parked:
                    self._on_server_down()
            self._access.adopt(told.config)
            books = self._books = self._books or Books(access=self._access)
            books.adopt(told.config)
            books.cells.values[VERSION] = float(told.version)
            await self._entries.change(self._world, books)
        except Exception as error:
            self._fail(told, error)
            self._channel.finish(LAST_WORD_TIMEOUT)
            return False
        self._channel.send(Ready(told.version))
        if former is not None:
            await sliced(dismantled(former), self._loop)
            del former
        self._tidying.after_change()
        return True

    async def _build(self, told: Configure) -> Runtime:
        """The world of a configuration, made in slices, between which clients are served."""
        prepare(told.config)
        self._tidying.before_change()
        turns = self._verdicts.turns
        steps = build_in_steps(
            told.config,
            self._registry,
            worker=told.worker,
            workers=told.workers,
            version=told.version,
            random=random.random,
        )
        runtime = await sliced(steps, self._loop)
        if self._verdicts.turns != turns:
            # Some server went up or down in between, and only the former world was told.
            for node in runtime.services.values():
                if isinstance(node, Balancer):
                    node.refresh()
        tcp_dialling.prepare(runtime)
        return runtime

    def _fail(self, told: Configure, error: Exception) -> None:
        log.exception("the configuration cannot be served")
        self._channel.send(Failed(told.version, str(error)))

    def _on_server_down(self) -> None:
        self._entries.leave_down()

    async def _drain(self, told: Drain, *, free_port: bool = False) -> None:
        if self._world is not None:
            self._world.terminating = not told.handed_over
        cut = await self._entries.drain(told, free_port=free_port)
        if cut:
            what = "conversation was" if cut == 1 else "conversations were"
            log.warning("%d %s cut off at the end of the grace time", cut, what)
        self._access.close()
        self._channel.send(Drained(cut))
        self._channel.finish(LAST_WORD_TIMEOUT)

    def _on_bug(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Something raised into the loop: a bug of ours, which must not end the others' conversations."""
        error = context.get("exception")
        message = context.get("message", "an exception reached the event loop")
        count = self._throttle.admit((message, type(error)), self._loop.time())
        if count:
            log.error("internal error: %s%s", message, often(count), exc_info=error)


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's event loop; stock asyncio's where STREAMLB_LOOP=asyncio asks for it."""
    if os.environ.get("STREAMLB_LOOP") == "asyncio":
        return asyncio.new_event_loop()
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def main(descriptor: int, stack: int = -1) -> int:
    """Run a worker on the channel `descriptor`; the exit code. stack: the file for where it stands, if it does."""
    programme_log.configure()
    loop = new_loop()
    asyncio.set_event_loop(loop)
    return loop.run_until_complete(Worker(loop, Channel(socket.socket(fileno=descriptor)), stack).run())


if __name__ == "__main__":
    code = main(*map(int, sys.argv[1:3]))
    # Everything has ended or was cut off; to take the loop apart could only hang.
    sys.stderr.flush()
    logging.shutdown()
    os._exit(code)
