"""Long work in a worker, in pieces so small that no client notices: making a world, and clearing away the last one.

What lives here: `sliced`, and `Tidying`, which has the collector of garbage work when it disturbs nobody much.
What must not: what the work is. Called by `process/worker.py`.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING, Final, TypeVar

from streamlb.config.model import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Generator

    from streamlb.runtime.snapshot import Runtime

T = TypeVar("T")

SLICE: Final = 0.004
"""Seconds of work at a time."""
COLLECT_AFTER: Final = 10_000
"""Objects that came to stay before the collector looks for circles among them."""
SHORT: Final = 0.010
"""Seconds: if the last search of everything took no longer, it may be done each time."""
PUT_OFF: Final = 20
"""Changes until everything is searched all the same."""


async def sliced(work: Generator[None, None, T], loop: asyncio.AbstractEventLoop) -> T:
    """What the work comes to in the end; between its slices the loop serves whoever has come."""
    while True:
        until = loop.time() + SLICE
        try:
            while loop.time() < until:
                next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        await asyncio.sleep(0)


def dismantled(former: Runtime) -> Generator[None, None, None]:
    """Take apart a world that nobody looks things up in any more: it is full of circles, and who is still with one of
    its nodes needs only what is below that."""
    former.entry_points.clear()
    yield
    while former.services:
        _, node = former.services.popitem()
        getattr(node, "parents", []).clear()
        for child in getattr(node, "children", ()):
            child.node.parents.clear()
        yield
    for protocol in PROTOCOLS:
        section = former.config.section(protocol)
        for named in (section.routers, section.services):
            while named:
                named.popitem()
                yield


class Tidying:
    """The collector around changes of the configuration.

    What lives as long as the process need not be looked at by it again and again, and what a connection leaves behind
    is freed at once: there is little to look for. So everything is searched after a change, or where that takes long
    only after many.
    """

    def __init__(self) -> None:
        # process
        self._took = 0.0
        self._put_off = 0

    def before_change(self) -> None:
        """A world is about to be made: nothing of it is garbage."""
        gc.disable()

    def after_change(self) -> None:
        """It is served, or there is none."""
        if self._took <= SHORT or self._put_off >= PUT_OFF:
            began_at = time.monotonic()
            gc.unfreeze()
            gc.collect()
            self._took = time.monotonic() - began_at
            self._put_off = 0
        else:
            self._put_off += 1
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER)
        gc.enable()
