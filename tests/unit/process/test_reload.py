"""One take-over at a time, and what those who ask meanwhile get."""

from __future__ import annotations

import asyncio
import logging

import pytest

from streamlb.net.tasks import spawn
from streamlb.process.reload import Outcome, Turns


class Work:
    """A take-over that lasts until it is let go, and counts itself as a version."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], bool]] = []
        self.gate = asyncio.Event()
        self.fails = False

    async def __call__(self, reasons: list[str], reads: bool) -> Outcome:
        self.asked.append((reasons, reads))
        await self.gate.wait()
        if self.fails:
            raise RuntimeError("a bug")
        return Outcome(ok=True, version=len(self.asked))


@pytest.mark.asyncio
async def test_who_asks_meanwhile_shares_the_next_turn() -> None:
    work = Work()
    turns = Turns(work)
    asked = [spawn(turns.ask("first"), "x")]
    await asyncio.sleep(0)
    asked += [spawn(turns.ask(reason, reads=reason == "b"), reason) for reason in "aba"]
    await asyncio.sleep(0)
    assert turns.is_busy
    work.gate.set()
    assert [(await each).version for each in asked] == [1, 2, 2, 2]
    assert work.asked == [(["first"], False), (["a", "b"], True)]
    assert not turns.is_busy
    assert (await turns.ask("later")).version == 3


@pytest.mark.asyncio
async def test_who_gives_up_waiting_disturbs_nobody() -> None:
    work = Work()
    turns = Turns(work)
    impatient = spawn(turns.ask("x"), "x")
    patient = spawn(turns.ask("x"), "x")
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    work.gate.set()
    assert (await patient).ok
    assert impatient.cancelled()


@pytest.mark.asyncio
async def test_a_bug_ends_a_turn_and_not_the_next(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    work.gate.set()
    work.fails = True
    turns = Turns(work)
    with caplog.at_level(logging.ERROR):
        outcome = await turns.ask("x")
    assert not outcome.ok
    assert "a bug" in caplog.text
    work.fails = False
    assert (await turns.ask("y")).ok
