"""Counters in memory that a worker shares with the control process: written without a call, read without asking.

What lives here: `Cells`, the memory of one worker, and `Block`, a few numbers in it that mean something. What must not:
what is counted (`proxy/ledger.py`), what is shown of it (`observe/series.py`). The control process makes the memory and
keeps it, so a worker that dies leaves its numbers behind, and its successor goes on with them.

    header | a block that nobody reads | blocks ... | directory: what each block means, in the order they were made

All numbers are doubles. The directory only grows, but for `retain`, which writes everything anew; the epoch in the
header is odd meanwhile.
"""

from __future__ import annotations

import mmap
import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Labels = tuple[str, ...]
    Bounds = tuple[float, ...]

WORD: Final = 8
"""Bytes of a number."""
MAX_BLOCKS: Final = 100_000
"""Blocks of one worker; what would be another one is counted with the others that came too late."""
VALUES: Final = 4 * 1024 * 1024
"""Numbers there is room for. The kernel gives memory only to those that were written."""
DIRECTORY: Final = 32 * 1024 * 1024
"""Bytes for the meaning of the blocks."""
SIZE: Final = VALUES * WORD + DIRECTORY

EPOCH, USED, WRITTEN, LATE, BEAT, LAG, WORST_LAG, BORN, PID, VERSION = range(10)
"""The header: the epoch, numbers in use, bytes of the directory, blocks that found no room, and the worker's life: its
last sign (monotonic seconds), its loop's lag then and at worst (seconds), when it was born (the time of day), its
process, the version of the configuration it serves."""
NOWHERE: Final = 16
"""Where what is not to be counted goes."""
FIRST: Final = 128
"""Where the first block is."""
OTHER: Final = "other"
"""The last label of the block that stands for all that came too late."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, int, int, tuple[str, ...], tuple[float, ...]]).decode
_PREFIX: Final = 4


class Meaning(NamedTuple):
    """What a block is. kind: how its numbers are to be read. bounds: of the histogram it begins with, if any."""

    kind: str
    labels: Labels
    bounds: Bounds = ()


class Block:
    """Some numbers in a row. at: the first one's place, which `retain` may change; size: how many."""

    __slots__ = ("at", "meaning", "size")

    def __init__(self, meaning: Meaning, at: int, size: int) -> None:
        self.meaning = meaning
        self.at = at
        self.size = size


class Cells:
    """The memory of one worker, as the one who writes it sees it.

    values: all numbers. Whoever counts writes `values[block.at + n] += 1.0`, and keeps the block, not the place.
    """

    __slots__ = ("_blocks", "_counts", "_directory", "_is_wanted", "_memory", "values")

    def __init__(self, descriptor: int = -1) -> None:
        """descriptor: of the memory that the control process made; without one nobody else sees what is counted."""
        self._memory = mmap.mmap(descriptor, SIZE)
        view = memoryview(self._memory)
        self.values = view[: VALUES * WORD].cast("d")
        self._directory = view[VALUES * WORD :]
        self._blocks: dict[Meaning, Block] = {}
        self._counts: dict[Labels, Block] = {}
        self._is_wanted: Callable[[Meaning], bool] = lambda _: True
        if self.values[EPOCH] % 2 or not self.values[USED]:
            # New, or left behind in the middle of `retain`.
            epoch = self.values[EPOCH]
            self._memory.madvise(mmap.MADV_REMOVE)
            self.values[EPOCH] = epoch + 1.0 + (epoch + 1.0) % 2
            self.values[USED] = float(FIRST)
        else:
            for meaning, at, size in read_directory(self._directory, int(self.values[WRITTEN])):
                self._blocks[meaning] = Block(meaning, at, size)

    # --- counting ----------------------------------------------------------------------------------------------

    def block(self, kind: str, labels: Labels, size: int, bounds: Bounds = ()) -> Block:
        """The block of that meaning, made of zeros if there is none; one that nobody reads if it is not wanted."""
        meaning = Meaning(kind, labels, bounds)
        found = self._blocks.get(meaning)
        if found is None:
            if not self._is_wanted(meaning):
                return self.nowhere(size)
            found = self._add(meaning, size)
            if found is None:
                self.values[LATE] += 1.0
                rest = Meaning(kind, (*labels[:1], *(OTHER for _ in labels[1:])), bounds)
                found = self._blocks.get(rest) or self._add(rest, size, is_spare=True)
                return found or Block(meaning, NOWHERE, size)
        return found

    def nowhere(self, size: int) -> Block:
        """A block for what is not to be counted."""
        return Block(Meaning("", ()), NOWHERE, size)

    def count(self, family: str, *labels: str, amount: float = 1.0) -> None:
        """Count something that happens seldom."""
        key = (family, *labels)
        block = self._counts.get(key)
        if block is None:
            block = self._counts[key] = self.block("count", key, 1)
        self.values[block.at] += amount

    def set(self, family: str, *labels: str, value: float) -> None:
        """Say how much of something there is now."""
        self.values[self.block("gauge", (family, *labels), 1).at] = value

    def _add(self, meaning: Meaning, size: int, *, is_spare: bool = False) -> Block | None:
        """A new block; None if there is no room. is_spare: it takes the place of others, for which room is kept."""
        values = self.values
        record = _encode((meaning.kind, int(values[USED]), size, meaning.labels, meaning.bounds))
        at, written = int(values[USED]), int(values[WRITTEN])
        end = written + _PREFIX + len(record)
        spared = 0 if is_spare else VALUES // 16
        is_full = len(self._blocks) >= MAX_BLOCKS and not is_spare
        if is_full or at + size > VALUES - spared or end > DIRECTORY - spared:
            return None
        self._directory[written : written + _PREFIX] = len(record).to_bytes(_PREFIX, "little")
        self._directory[written + _PREFIX : end] = record
        # In this order: whoever reads sees the record when it is whole.
        values[USED] = float(at + size)
        values[WRITTEN] = float(end)
        block = self._blocks[meaning] = Block(meaning, at, size)
        return block

    # --- forgetting --------------------------------------------------------------------------------------------

    def retain(self, is_wanted: Callable[[Meaning], bool]) -> None:
        """Forget the blocks that are not wanted any more. Who still counts there counts nowhere, and so does who asks
        for such a block from now on."""
        self._is_wanted = is_wanted
        self._counts = {}
        unwanted = [block for block in self._blocks.values() if not is_wanted(block.meaning)]
        if not unwanted:
            return
        values = self.values
        values[EPOCH] += 1.0
        for block in unwanted:
            del self._blocks[block.meaning]
            block.at = NOWHERE
        kept = [(block, values[block.at : block.at + block.size].tolist()) for block in self._blocks.values()]
        used = int(values[USED])
        values[USED], values[WRITTEN] = float(FIRST), 0.0
        self._blocks = {}
        for block, numbers in kept:
            fresh = self._add(block.meaning, block.size, is_spare=True)
            assert fresh is not None, "what was there before has room"
            block.at = fresh.at
            self._blocks[block.meaning] = block
            for offset, number in enumerate(numbers):
                values[block.at + offset] = number
        for at in range(int(values[USED]), used):
            values[at] = 0.0
        values[EPOCH] += 1.0

    # --- the worker's life -------------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """A worker has come into being: what its predecessor had open is over, what it was at that moment as well.

        now: the time of day, in seconds."""
        self.settle()
        self.values[BORN] = now
        self.values[PID] = float(os.getpid())
        self.values[LAG] = self.values[WORST_LAG] = self.values[BEAT] = 0.0

    def settle(self) -> None:
        """Nothing is open any more, for there is no worker. Blocks that tell begin with `opened` and `ended`."""
        for block in self._blocks.values():
            if block.meaning.kind in OPENS:
                self.values[block.at + 1] = self.values[block.at]
            elif block.meaning.kind == "gauge":
                self.values[block.at] = 0.0

    def beat(self, now: float, lag: float) -> None:
        """A sign of life; lag: seconds the loop came late to give it."""
        values = self.values
        values[BEAT] = now
        values[LAG] = lag
        if lag > values[WORST_LAG]:
            values[WORST_LAG] = lag


OPENS: Final = frozenset({"connections", "tcp", "udp"})
"""Kinds of blocks whose first two numbers are how many were opened, and how many of them have ended."""


def read_directory(directory: memoryview, end: int, at: int = 0) -> Iterable[tuple[Meaning, int, int]]:
    """The meaning, place and size of each block in a directory of `end` bytes, from the byte `at` on."""
    while at + _PREFIX <= end:
        size = int.from_bytes(directory[at : at + _PREFIX], "little")
        kind, first, count, labels, bounds = _decode(directory[at + _PREFIX : at + _PREFIX + size])
        yield Meaning(kind, labels, bounds), first, count
        at += _PREFIX + size


class Reader:
    """The memory of one worker, as the control process sees it. life: the header's numbers at the last `read`."""

    __slots__ = ("_at", "_directory", "_epoch", "_known", "_memory", "_values")

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, SIZE)
        view = memoryview(self._memory)
        self._values = view[: VALUES * WORD].cast("d")
        self._directory = view[VALUES * WORD :].toreadonly()
        self._epoch = -1.0
        self._at = 0
        self._known: list[tuple[Meaning, int, int]] = []

    def life(self, what: int) -> float:
        """A number of the header."""
        return self._values[what]

    def read(self) -> list[tuple[Meaning, list[float]]]:
        """All blocks and what they hold. A worker that is writing everything anew is seen as it was named before."""
        for _ in range(READ_ATTEMPTS):
            epoch = self._values[EPOCH]
            if epoch % 2:
                time.sleep(READ_PAUSE)
                continue
            if epoch != self._epoch:
                self._epoch, self._at, self._known = epoch, 0, []
            written, used = int(self._values[WRITTEN]), int(self._values[USED])
            try:
                self._known.extend(read_directory(self._directory, written, self._at))
            except (msgspec.DecodeError, ValueError):
                self._epoch = -1.0
                continue
            self._at = written
            numbers: list[float] = self._values[:used].tolist()  # type: ignore[assignment]  # A cast view's.
            if self._values[EPOCH] == epoch:
                return [(meaning, numbers[at : at + size]) for meaning, at, size in self._known]
        return []


READ_ATTEMPTS: Final = 20
READ_PAUSE: Final = 0.005
"""Seconds; to write everything anew takes some milliseconds."""


def new_memory(name: str) -> int:
    """The descriptor of memory for one worker's cells."""
    descriptor = os.memfd_create(f"streamlb-{name}", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, SIZE)
    return descriptor
