"""Tests that run on uvloop and on stock asyncio, and the counting of descriptors.

What lives here: `@on_both_loops` for coroutine tests, `run` for one coroutine, `no_descriptor_leak`, `no_garbage`.
Why both: the loops differ (early bytes, `pause_reading`, close order) and streamlb supports both.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import os
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import uvloop

from streamlb.net.poller import poller_of
from tests.support.until import until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

T = TypeVar("T")

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
TEST_TIMEOUT = 60.0


def run(kind: str, work: Coroutine[Any, Any, T], timeout: float = TEST_TIMEOUT) -> T:
    """Run `work` on a fresh loop of `kind`; what the loop's exception handler is told fails the caller."""
    complaints: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
        runner.get_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        value = runner.run(asyncio.wait_for(work, timeout))
    assert not complaints, f"raised into the loop: {complaints}"
    return value


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Turn `async def test_x(fixture)` into a test that runs once per loop (it may ask for `loop_kind`)."""
    signature = inspect.signature(test)
    wants_kind = "loop_kind" in signature.parameters

    @functools.wraps(test)
    def both(*args: Any, loop_kind: str, **kwargs: Any) -> None:
        if wants_kind:
            kwargs["loop_kind"] = loop_kind
        run(loop_kind, test(*args, **kwargs))

    del both.__wrapped__  # pytest would read the coroutine's signature.
    if not wants_kind:
        extra = inspect.Parameter("loop_kind", inspect.Parameter.KEYWORD_ONLY)
        signature = signature.replace(parameters=[*signature.parameters.values(), extra])
    both.__signature__ = signature  # type: ignore[attr-defined]
    parametrized: Callable[..., None] = pytest.mark.parametrize("loop_kind", list(LOOPS))(both)
    return parametrized


def count_descriptors(pid: int | str = "self") -> int:
    """How many descriptors the process holds."""
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextlib.asynccontextmanager
async def no_descriptor_leak(timeout: float = 5.0) -> AsyncIterator[None]:
    """Fail unless every descriptor opened inside is closed soon after the end of the block."""
    poller_of(asyncio.get_running_loop())  # Lives as long as the loop.
    before = _descriptors()
    yield
    await until_async(lambda: len(_descriptors()) <= len(before), timeout, f"descriptors left: had {before}")


@contextlib.asynccontextmanager
async def no_garbage(*kinds: type, timeout: float = 5.0) -> AsyncIterator[None]:
    """Fail unless every object of these kinds made inside is freed soon after the block, without the collector."""
    gc.collect()
    gc.disable()
    try:
        before = set(map(id, _objects(kinds)))
        yield
        await until_async(lambda: before.issuperset(map(id, _objects(kinds))), timeout, f"garbage of {kinds}")
    finally:
        gc.enable()


def _objects(kinds: tuple[type, ...]) -> list[Any]:
    return [each for each in gc.get_objects() if isinstance(each, kinds)]


def _descriptors() -> dict[str, str]:
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{number}")
            if target != os.devnull:  # uvloop keeps one in reserve from its first accept on.
                found[number] = target
    return found
