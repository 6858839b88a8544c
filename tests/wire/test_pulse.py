"""A worker's signs of life: a late loop shows, and the door is for the parent process alone."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import TYPE_CHECKING

import msgspec

from streamlb.observe.cells import BEAT, LAG, WORST_LAG, Cells
from streamlb.process.lifeline import QUESTION, Lifeline
from streamlb.process.pulse import INTERVAL, Beat, Pulse
from tests.support.loops import on_both_loops
from tests.support.until import until_async

if TYPE_CHECKING:
    import pytest


@on_both_loops
async def test_a_late_loop_shows() -> None:
    loop = asyncio.get_running_loop()
    pulse, cells = Pulse(loop), Cells()
    pulse.count_in(cells)
    await until_async(lambda: cells.values[BEAT] > 0)
    loop.call_soon(time.sleep, INTERVAL + 0.2)
    await until_async(lambda: cells.values[WORST_LAG] >= 0.15)
    beat = msgspec.json.decode(pulse.tell(), type=Beat)
    assert beat.worst >= 0.15
    assert not beat.is_short
    await until_async(lambda: cells.values[LAG] < 0.1, timeout=10)
    pulse.tell()
    assert msgspec.json.decode(pulse.tell(), type=Beat).worst < 0.15, "since it was asked last"


@on_both_loops
async def test_the_door_answers_the_parent_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Lifeline()
    pulse = Pulse(asyncio.get_running_loop())
    pulse.open(line.door.dup())
    try:
        monkeypatch.setattr(os, "getppid", os.getpid)
        assert await line.ask(5)
        monkeypatch.setattr(os, "getppid", lambda: 1)
        assert not await line.ask(5)

        def stranger() -> bytes:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(line.door.getsockname())
                sock.settimeout(5)
                try:
                    sock.sendall(QUESTION)
                    return sock.recv(1)
                except ConnectionError:
                    return b""

        assert await asyncio.to_thread(stranger) == b""
    finally:
        pulse.close()
        line.close()


@on_both_loops
async def test_nobody_behind_the_door() -> None:
    line = Lifeline()
    assert not await line.ask(0.1)
    line.close()
    assert not await line.ask(0.1)
    assert await line.where(os.getpid() + 10_000_000) == "it is gone"
