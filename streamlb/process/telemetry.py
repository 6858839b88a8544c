"""What all workers have counted: the memory of each, and the sums.

What lives here: `Telemetry`. What must not: what the numbers mean to somebody who watches (`observe/series.py`).
Owned by `process/control.py`. A worker that dies leaves its memory to its successor; where there is none, what was
counted stays counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlb.observe.cells import Reader, new_memory

if TYPE_CHECKING:
    from streamlb.observe.cells import Meaning


class Telemetry:
    """The memories of all workers there have ever been, the newest of each number last."""

    def __init__(self) -> None:
        # process
        self._readers: list[Reader] = []
        self._newest: dict[int, Reader] = {}

    def new_memory(self, worker: int) -> int:
        """The descriptor of memory that nobody else counts in: a former worker of that number may still be ending."""
        descriptor = new_memory(f"worker-{worker}")
        reader = self._newest[worker] = Reader(descriptor)
        self._readers.append(reader)
        return descriptor

    def life(self, worker: int, what: int) -> float:
        """What a worker's header says (see `streamlb.observe.cells`)."""
        return self._newest[worker].life(what) if worker in self._newest else 0.0

    def sums(self) -> dict[Meaning, list[float]]:
        """What all workers have counted together. It takes a microsecond or two for each block of each worker."""
        total: dict[Meaning, list[float]] = {}
        for reader in list(self._readers):
            for meaning, numbers in reader.read():
                sofar = total.get(meaning)
                total[meaning] = numbers if sofar is None else [a + b for a, b in zip(sofar, numbers, strict=True)]
        return total
