"""Every fuzz target holds on its seeds, whole, cut short and with a byte changed."""

from __future__ import annotations

import pytest

from tests.fuzz.targets import TARGETS, Target

CASES = [
    pytest.param(target, seed, id=f"{name}-{n}")
    for name, target in TARGETS.items()
    for n, seed in enumerate(target.seeds)
]


@pytest.mark.parametrize(("target", "seed"), CASES)
def test_a_target_holds_on_its_seeds(target: Target, seed: bytes) -> None:
    target.run(seed)
    for place in range(0, len(seed), max(1, len(seed) // 40)):
        target.run(seed[:place])
        target.run(seed[:place] + b"\xff" + seed[place + 1 :])


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_target_takes_any_bytes(target: Target) -> None:
    for data in (b"", b"\0", b"\xff\xfe", b"\r\n\r\n", *target.words):
        target.run(data)
