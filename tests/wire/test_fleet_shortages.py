"""No processes to be had: the fleet tries again, ever more slowly, and says so each time."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from streamlb.config.model import Config
from streamlb.process import slot as slot_module
from streamlb.process.channel import Configure
from streamlb.process.fleet import Fleet
from tests.support.loops import no_descriptor_leak, on_both_loops
from tests.support.until import until_async

if TYPE_CHECKING:
    import pytest


@on_both_loops
async def test_it_tries_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    tries = []

    def refuse(*_args: Any, **_options: Any) -> None:
        tries.append(1)
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(slot_module.subprocess, "Popen", refuse)
    async with no_descriptor_leak():
        fleet = Fleet(
            configuration=lambda slot: Configure(Config(), slot.number, 1, version=1),
            on_message=lambda *_: None,
            on_start=lambda _: None,
            on_ready=lambda: None,
            on_failed=lambda: None,
            on_empty=lambda _: None,
        )
        fleet.equip([{}])
        fleet.start()
        await until_async(lambda: len(tries) >= 3)
        fleet.end()
    assert "worker 0 cannot be started: Resource temporarily unavailable" in caplog.text
    assert not fleet.slots[0].pid
