"""What a worker slot says and counts; its processes are tested end to end."""

from __future__ import annotations

import os

import pytest

from streamlb.config.model import Config
from streamlb.process.slot import Slot, count_workers, describe_exit


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (-9, "was killed by SIGKILL"),
        (-250, "was killed by signal 250"),
    ],
)
def test_an_exit_in_words(code: int, text: str) -> None:
    assert describe_exit(code) == text


def test_auto_is_one_worker_per_core_we_may_use() -> None:
    assert count_workers(Config(workers="auto")) == len(os.sched_getaffinity(0))
    assert count_workers(Config(workers=7)) == 7


def test_a_slot_without_a_process_takes_everything_calmly() -> None:
    slot = Slot(0, {})
    slot.drain()
    slot.kill()
    slot.wait()
    assert (slot.pid, slot.ready, slot.take_exit()) == (0, False, None)
