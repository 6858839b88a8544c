"""Taking a new configuration over: what became of it, and one at a time.

What lives here: `Outcome`, `Turns`. What must not: how it is done (`control.py`), where configurations come from
(`config/sources.py`). Specified in docs/reference.md ("Reload").
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from streamlb.net.tasks import spawn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a change of the configuration.

    ok: whether all of it is served now. version: of the configuration that is served now. changes: what is served
    otherwise than before, a sentence each. problems: why something is not. kept: files whose last good version is used.
    """

    ok: bool
    version: int
    changes: list[str] = []
    problems: list[str] = []
    kept: list[str] = []


class Turns:
    """One take-over at a time; whoever asks while one is under way shares the next.

    work: takes over what has changed, for these reasons; whether the files are to be read again.
    """

    def __init__(self, work: Callable[[list[str], bool], Awaitable[Outcome]]) -> None:
        # process
        self._work = work
        self._next: asyncio.Future[Outcome] | None = None
        self._reasons: dict[str, None] = {}
        self._reads = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether something is being taken over, or waits to be."""
        return self._task is not None

    async def settled(self) -> None:
        """Wait until nothing is being taken over."""
        while self._task is not None:
            await asyncio.wait({self._task})

    async def ask(self, reason: str, *, reads: bool = False) -> Outcome:
        """Have everything taken over that has changed up to now; what became of it."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        self._reasons[reason] = None
        self._reads = self._reads or reads
        asked = self._next
        if self._task is None:
            self._task = spawn(self._run(), "taking over a configuration")
        # Who asks may give up waiting; the others must not notice.
        return await asyncio.shield(asked)

    async def _run(self) -> None:
        try:
            while self._next is not None:
                asked, reasons, reads = self._next, [*self._reasons], self._reads
                self._next, self._reasons, self._reads = None, {}, False
                asked.set_result(await self._turn(reasons, reads))
        finally:
            self._task = None

    async def _turn(self, reasons: list[str], reads: bool) -> Outcome:
        try:
            return await self._work(reasons, reads)
        except Exception:
            log.exception("a configuration was not taken over by a bug of streamlb")
            return Outcome(ok=False, version=0, problems=["internal error; the log has more"])
