"""Counters in shared memory: what a worker writes, the control process reads, whatever becomes of the worker."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from streamlb.observe import cells
from streamlb.observe.cells import EPOCH, FIRST, NOWHERE, Cells, Meaning, Reader, new_memory

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = new_memory("test")
    yield descriptor
    os.close(descriptor)


def found(memory: int) -> dict[Meaning, list[float]]:
    return dict(Reader(memory).read())


def test_what_is_written_is_read(memory: int) -> None:
    written = Cells(memory)
    reader = Reader(memory)
    assert reader.read() == []
    block = written.block("http", ("web", "ä"), 3, (0.5, 1.0))
    written.values[block.at + 1] += 2.5
    assert reader.read() == [(Meaning("http", ("web", "ä"), (0.5, 1.0)), [0.0, 2.5, 0.0])]
    written.count("retried", "app")
    written.count("retried", "app", amount=2)
    assert found(memory)[Meaning("count", ("retried", "app"))] == [3.0]
    assert reader.read() == Reader(memory).read()


def test_a_block_is_made_once(memory: int) -> None:
    written = Cells(memory)
    assert written.block("a", ("b",), 2) is written.block("a", ("b",), 2)


def test_a_successor_goes_on_and_nothing_is_open(memory: int) -> None:
    first = Cells(memory)
    block = first.block("tcp", ("web",), 4)
    first.values[block.at] = 7.0
    first.values[block.at + 1] = 3.0
    first.set("lag", value=2.0)
    second = Cells(memory)
    second.begin(123.0)
    again = second.block("tcp", ("web",), 4)
    assert again.at == block.at
    second.values[again.at] += 1
    assert found(memory)[Meaning("tcp", ("web",))] == [8.0, 7.0, 0.0, 0.0]
    assert found(memory)[Meaning("gauge", ("lag",))] == [0.0]


def test_what_is_not_wanted_is_forgotten_and_counts_nowhere(memory: int) -> None:
    written = Cells(memory)
    reader = Reader(memory)
    blocks = {name: written.block("x", (name,), 2) for name in "abc"}
    for number, block in enumerate(blocks.values(), 1):
        written.values[block.at + 1] = number
    assert len(reader.read()) == 3
    written.retain(lambda meaning: meaning.labels != ("b",))
    assert dict(reader.read()) == {Meaning("x", ("a",)): [0.0, 1.0], Meaning("x", ("c",)): [0.0, 3.0]}
    assert blocks["b"].at == NOWHERE
    # The one that moved is still counted in; the one that is gone is not made anew by somebody who is late.
    written.values[blocks["c"].at] += 5
    assert written.block("x", ("b",), 2).at == NOWHERE
    assert dict(reader.read())[Meaning("x", ("c",))] == [5.0, 3.0]
    # It comes back from zero.
    written.retain(lambda _: True)
    fresh = written.block("x", ("b",), 2)
    assert fresh.at >= FIRST
    assert dict(reader.read())[Meaning("x", ("b",))] == [0.0, 0.0]


def test_a_worker_that_died_while_it_forgot_leaves_nothing_wrong(memory: int) -> None:
    written = Cells(memory)
    block = written.block("x", ("a",), 1)
    written.values[block.at] = 9.0
    written.values[EPOCH] += 1.0
    second = Cells(memory)
    assert found(memory) == {}
    assert second.values[second.block("x", ("a",), 1).at] == 0.0


def test_too_many_are_counted_together(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "MAX_BLOCKS", 3)
    written = Cells(memory)
    for number in range(10):
        block = written.block("x", ("web", str(number)), 1)
        written.values[block.at] += 1.0
    assert found(memory)[Meaning("x", ("web", "other"))] == [7.0]
    assert Reader(memory).life(cells.LATE) == 7.0


def test_signs_of_life(memory: int) -> None:
    written = Cells(memory)
    written.begin(5.0)
    written.beat(100.0, 0.25)
    written.beat(101.0, 0.0)
    reader = Reader(memory)
    assert (reader.life(cells.BEAT), reader.life(cells.LAG), reader.life(cells.WORST_LAG)) == (101.0, 0.0, 0.25)
    assert reader.life(cells.PID) == os.getpid()
