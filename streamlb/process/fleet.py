"""The workers of a control process: started together, replaced when they die, told the same, asked together.

What lives here: `Fleet`. What must not: what a configuration is or where it comes from (`control.py`), the process of
one worker (`slot.py`). Owned by `process/control.py`. Specified in docs/architecture.md, "Processes".
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING, NamedTuple

from streamlb.process.channel import Ask, Failed, Ready, Release, Told
from streamlb.process.slot import Slot, describe_exit

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from streamlb.process.channel import Configure, Drain, Message

log = logging.getLogger(__name__)

ANSWER_TIMEOUT = 1.0
"""Seconds a worker gets to answer a question; one that is busier than that is left out."""
CONFIGURE_TIMEOUT = 30.0
"""Seconds a worker gets to take over a configuration."""


class _Word(NamedTuple):
    """What a worker says to a configuration: why it cannot serve it, if so. is_last: it has ended."""

    reason: str = ""
    is_last: bool = False

    def __bool__(self) -> bool:
        return bool(self.reason)


class Fleet:
    """All workers of one control process. `equip` it before `start`.

    slots: of the workers there are to be, and until `dismiss` of those too many; `size` is how many there are to be.
    configuration: what a worker is to serve now. on_message: what none of ours waits for (`Ejected` and the like).
    on_start: before a worker is started. on_ready: every worker serves for the first time. on_failed: one ended before
    that. on_empty: after `drain`, the last one has ended; whether it had to be killed.
    """

    def __init__(
        self,
        *,
        configuration: Callable[[Slot], Configure],
        on_message: Callable[[Slot, Message], None],
        on_start: Callable[[Slot], None],
        on_ready: Callable[[], None],
        on_failed: Callable[[], None],
        on_empty: Callable[[bool], None],
        memory: Callable[[int], int] = lambda _: -1,
    ) -> None:
        """memory: for a new worker of that number to count in, as a descriptor."""
        # process
        self._loop = asyncio.get_running_loop()
        self.slots: list[Slot] = []
        self.size = 0
        self._configuration = configuration
        self._on_message = on_message
        self._on_start = on_start
        self._on_ready = on_ready
        self._on_failed = on_failed
        self._on_empty = on_empty
        self._memory = memory
        self._numbers = itertools.count(1)
        self._questions: dict[tuple[Slot, int], asyncio.Future[bytes | None]] = {}
        self._awaited: dict[tuple[Slot, int], asyncio.Future[_Word]] = {}
        self._leaving: list[Slot] = []
        self._held: dict[Slot, float] | None = None
        self._started = False
        self._serving = False
        self._draining = False
        self._overdue = False

    @property
    def serving(self) -> bool:
        """Whether every worker has served at least once."""
        return self._serving

    def equip(self, sockets: list[dict[str, socket.socket]]) -> None:
        """There is to be a worker for each of these, on these sockets; `configure` makes it so."""
        self.size = len(sockets)
        for number, each in enumerate(sockets):
            if number == len(self.slots):
                self.slots.append(Slot(number, each, self._memory(number)))
            self.slots[number].sockets = each

    def start(self) -> None:
        self._started = True
        for slot in self.slots:
            self._start(slot)

    def tell(self, message: Message) -> None:
        """Say something to every worker that lives; one that is started later knows it from its configuration."""
        for slot in self.slots:
            slot.tell(message)

    async def configure(self) -> list[str]:
        """Have every worker take over the configuration of now, new ones included; why some could not.

        One that dies meanwhile may have done so for another reason: its successor is asked, too. Others that end are
        replaced when this is over, with what is the configuration then.
        """
        # One that died before is started with the configuration of that moment.
        slots = [slot for slot in self.slots[: self.size] if self._started and (slot.pid or not slot.starts)]
        self._held = {}
        try:
            words = await self._have_configured(slots)
            again = [slot for slot in self._held if slot in words and words[slot].is_last]
            for slot in again:
                del self._held[slot]
            words |= await self._have_configured(again)
        finally:
            held, self._held = self._held, None
            for slot, delay in held.items():
                # Not before the caller has decided what is to be served.
                self._loop.call_later(delay, self._start, slot)
        many = len(self.slots) > 1
        return [f"worker {slot.number}: {word.reason}" if many else word.reason for slot, word in words.items() if word]

    async def _have_configured(self, slots: list[Slot]) -> dict[Slot, _Word]:
        """What each of these says to the configuration of now; those that do not run are started with it."""
        waits = {}
        for slot in slots:
            configure = self._configuration(slot)
            wait = self._awaited[slot, configure.version] = self._loop.create_future()
            waits[slot, configure.version] = wait
            if slot.pid:
                slot.configure(configure)
            else:
                self._launch(slot)
        if waits:
            await asyncio.wait(waits.values(), timeout=CONFIGURE_TIMEOUT)
        words = {}
        for (slot, version), wait in waits.items():
            self._awaited.pop((slot, version), None)
            words[slot] = wait.result() if wait.done() else _Word(f"no answer within {CONFIGURE_TIMEOUT:g} s")
        return words

    async def release(self, version: int) -> None:
        """Have every worker let go of the sockets it does not need any more, once nobody else has them open."""
        waits = {}
        for slot in self.slots:
            if slot.pid:
                waits[slot, version] = self._loop.create_future()
                slot.tell(Release(version))
        self._awaited |= waits
        if waits:
            await asyncio.wait(waits.values(), timeout=ANSWER_TIMEOUT)
        for key in waits:
            self._awaited.pop(key, None)

    def dismiss(self, patience: float) -> None:
        """Have the workers that are too many finish; who is still there after `patience` seconds is killed."""
        for slot in self.slots[self.size :]:
            if slot.pid:
                self._leaving.append(slot)
                slot.drain()
                self._loop.call_later(patience, self._kill_overdue, slot)
        del self.slots[self.size :]

    async def ask(self, what: str, limit: int = 0, timeout: float = ANSWER_TIMEOUT) -> dict[int, bytes]:
        """What the workers say to a question (see `Ask`), by number; who does not answer in time is left out."""
        waits = {}
        for slot in self.slots:
            if slot.ready:
                number = next(self._numbers)
                waits[slot, number] = self._loop.create_future()
                slot.tell(Ask(number, what, limit))
        self._questions.update(waits)
        if waits:
            await asyncio.wait(waits.values(), timeout=timeout)
        for key in waits:
            self._questions.pop(key, None)
        done = {key[0].number: wait.result() for key, wait in waits.items() if wait.done()}
        return {worker: answer for worker, answer in done.items() if answer is not None}

    # --- one worker ------------------------------------------------------------------------------------------------

    def _start(self, slot: Slot) -> None:
        if self._held is not None:
            self._held[slot] = 0.0
        elif not self._draining and slot in self.slots and not slot.pid:
            self._launch(slot)

    def _launch(self, slot: Slot) -> None:
        self._on_start(slot)
        configure = self._configuration(slot)
        try:
            slot.start(self._loop, configure, self._on_word)
        except OSError as error:
            log.error("worker %d cannot be started: %s", slot.number, error.strerror)
            self._give_up(slot, f"it cannot be started: {error.strerror}")
            self._replace(slot)

    def _on_word(self, slot: Slot, message: Message) -> None:
        if isinstance(message, Ready):
            self._take_over(slot, message.version, _Word())
            if slot.ready:
                return
            slot.ready = True
            log.info("worker %d is ready (pid %d)", slot.number, slot.pid)
            if not self._serving and all(each.ready for each in self.slots):
                self._serving = True
                self._on_ready()
        elif isinstance(message, Failed):
            log.error("worker %d cannot serve the configuration: %s", slot.number, message.reason)
            self._take_over(slot, message.version, _Word(message.reason))
        elif isinstance(message, Told):
            question = self._questions.pop((slot, message.number), None)
            if question is not None and not question.done():
                question.set_result(message.body)
        else:
            self._on_message(slot, message)

    def _take_over(self, slot: Slot, version: int, word: _Word) -> None:
        wait = self._awaited.pop((slot, version), None)
        if wait is not None and not wait.done():
            wait.set_result(word)

    def on_child(self) -> None:
        """SIGCHLD: some worker has ended, or several."""
        for slot in [*self.slots, *self._leaving]:
            pid = slot.pid
            code = slot.take_exit()
            if code is not None:
                self._on_exit(slot, pid, code)

    def _on_exit(self, slot: Slot, pid: int, code: int) -> None:
        how = describe_exit(code)
        self._give_up(slot, f"it {how}")
        if self._draining or slot in self._leaving:
            if code:
                log.warning("worker %d (pid %d) %s while stopping", slot.number, pid, how)
            if slot in self._leaving:
                self._leaving.remove(slot)
            if self._draining and not self._is_alive:
                self._on_empty(self._overdue)
        elif not self._serving:
            log.error("worker %d (pid %d) %s before it was ready", slot.number, pid, how)
            self._on_failed()
        else:
            log.error("worker %d (pid %d) %s; starting another", slot.number, pid, how)
            self._replace(slot)

    def _give_up(self, slot: Slot, reason: str) -> None:
        """Nothing is to be heard from this worker any more."""
        for (asked, _), wait in [*self._awaited.items()]:
            if asked is slot and not wait.done():
                wait.set_result(_Word(reason, is_last=True))
        for (asked, _), question in [*self._questions.items()]:
            if asked is slot and not question.done():
                question.set_result(None)

    def _replace(self, slot: Slot) -> None:
        delay = slot.restarts.died(self._loop.time())
        if slot.restarts.is_loop:
            log.error("worker %d died %d times in a row; next try in %g s", slot.number, slot.restarts.deaths, delay)
        if self._held is not None:
            self._held[slot] = delay
        else:
            self._loop.call_later(delay, self._start, slot)

    # --- the end -------------------------------------------------------------------------------------------------

    @property
    def _is_alive(self) -> bool:
        return any(slot.pid for slot in [*self.slots, *self._leaving])

    def drain(self, patience: float, drain: Drain | None = None) -> None:
        """Have the workers accept no more and finish; who is still there after `patience` seconds is killed."""
        self._draining = True
        for slot in self.slots:
            slot.drain(drain)
        if not self._is_alive:
            self._on_empty(False)
        self._loop.call_later(patience, self._on_overdue)

    def _on_overdue(self) -> None:
        for slot in [*self.slots, *self._leaving]:
            self._overdue = self._overdue or bool(slot.pid)
            self._kill_overdue(slot)

    def _kill_overdue(self, slot: Slot) -> None:
        if slot.pid:
            log.error("worker %d (pid %d) does not end; killing it", slot.number, slot.pid)
            slot.kill()

    def end(self) -> None:
        """End every worker at once."""
        self._draining = True
        for slot in [*self.slots, *self._leaving]:
            slot.kill()
            slot.wait()
