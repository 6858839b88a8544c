"""The rotation: known sequences, exact blocks for random weights, nobody lost over flips and retries."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.balance.strategy import Rotation

WEIGHTS = st.lists(st.integers(0, 12), min_size=1, max_size=6)


def rotation(*weights: int, worker: int = 0, workers: int = 1) -> Rotation[str]:
    return Rotation(list(zip("ABCDEFGH", weights, strict=False)), worker, workers)


def picks(turns: Rotation[str], count: int) -> str:
    return "".join(turns.next() or "-" for _ in range(count))


@pytest.mark.parametrize(
    ("weights", "sequence"),
    [
        ((1,), "AAA"),
        ((1, 1), "ABAB"),
        ((1, 2), "ABBABBABB"),
        ((2, 1), "AABAAB"),
        ((3, 1), "AABAAABA"),
        ((1, 3), "ABBBABBB"),
        ((5, 1, 1), "AABAACAAABAACA"),
        ((1, 1, 1), "ABCABC"),
        ((0, 1), "BBB"),
        ((10, 20), "ABBABB"),
        ((0, 0), "---"),
        ((), "---"),
    ],
)
def test_sequence(weights: tuple[int, ...], sequence: str) -> None:
    assert picks(rotation(*weights), len(sequence)) == sequence


def test_ninety_to_ten_is_spread() -> None:
    assert picks(rotation(90, 10), 100) == "AAAAABAAAA" * 10


@given(weights=WEIGHTS, worker=st.integers(0, 7), workers=st.integers(1, 8))
def test_every_aligned_block_is_exact(weights: list[int], worker: int, workers: int) -> None:
    turns = rotation(*weights, worker=worker % workers, workers=workers)
    expected = Counter(dict(zip("ABCDEFGH", weights, strict=False)))
    for _ in range(4):
        assert Counter(picks(turns, sum(weights))) == +expected


@given(weights=st.lists(st.integers(1, 1_000_000), min_size=1, max_size=4), prefix=st.integers(1, 300))
def test_a_prefix_is_near_its_share(weights: list[int], prefix: int) -> None:
    count = Counter(picks(rotation(*weights), prefix))
    for child, weight in zip("ABCD", weights, strict=False):
        assert abs(count[child] - prefix * weight / sum(weights)) < len(weights)


@given(weights=WEIGHTS, workers=st.integers(1, 5))
def test_workers_start_along_the_block(weights: list[int], workers: int) -> None:
    block = sum(weights)
    sequence = picks(rotation(*weights), 2 * block)
    for worker in range(workers):
        own = picks(rotation(*weights, worker=worker, workers=workers), block)
        assert own in sequence


def test_worker_shift() -> None:
    assert [picks(rotation(1, 1, 1, worker=k, workers=3), 3) for k in range(3)] == ["ABC", "BCA", "CAB"]
    assert [picks(rotation(1, 1, worker=k, workers=2), 2) for k in range(2)] == ["AB", "BA"]


# --- health flips ---


def test_one_left_is_always_taken() -> None:
    turns = rotation(1, 2)
    turns.use({"A"})
    assert picks(turns, 4) == "AAAA"
    turns.use(set())
    assert turns.next() is None


def test_those_who_stay_keep_their_turns() -> None:
    turns = rotation(5, 1, 1)
    assert picks(turns, 2) == "AA"
    turns.use({"A", "C"})
    assert picks(turns, 4) == "AACA"
    turns.use({"A", "B", "C"})
    assert picks(turns, 7) == "AABAACA"


def test_no_burst_after_an_absence() -> None:
    turns = rotation(1, 1, 1)
    turns.use({"A", "B"})
    picks(turns, 1001)
    turns.use({"A", "B", "C"})
    assert picks(turns, 6) == "BCABCA"


def test_a_flapping_child_gets_no_more_than_its_share() -> None:
    turns = rotation(9, 1)
    taken = ""
    for _ in range(500):
        turns.use({"A"})
        turns.use({"A", "B"})
        taken += picks(turns, 1)
    assert taken.count("B") == 50


USABLE = st.lists(st.tuples(st.sets(st.sampled_from("ABCDEF")), st.integers(0, 30)), min_size=1, max_size=6)


@given(weights=WEIGHTS, phases=USABLE)
def test_blocks_are_exact_from_any_flip_on(weights: list[int], phases: list[tuple[set[str], int]]) -> None:
    turns = rotation(*weights)
    for usable, count in phases:
        turns.use(usable)
        picks(turns, count)
    present = {c: w for c, w in zip("ABCDEF", weights, strict=False) if w and c in phases[-1][0]}
    turns.use(phases[-1][0])
    for _ in range(3):
        assert Counter(picks(turns, sum(present.values()))) == Counter(present)


# --- retries ---


def test_upcoming() -> None:
    turns = rotation(3, 1)
    assert turns.upcoming() == ["A", "B"]
    assert turns.next() == "A"
    assert turns.next() == "A"
    assert turns.upcoming() == ["B", "A"]
    turns.use({"A"})
    assert turns.upcoming() == ["A"]
    assert rotation().upcoming() == []


def test_who_is_skipped_misses_turns() -> None:
    turns = rotation(3, 1)
    assert turns.next() == "A"
    turns.skip_to("B")
    # A's turns before B's are gone: its next is the one after.
    assert picks(turns, 5) == "AAABA"


def test_skipping_to_the_only_one() -> None:
    turns = rotation(1)
    turns.skip_to("A")
    assert picks(turns, 2) == "AA"


@given(weights=WEIGHTS, before=st.integers(0, 40), data=st.data())
def test_skipping_is_passing_turns(weights: list[int], before: int, data: st.DataObject) -> None:
    turns, same = rotation(*weights), rotation(*weights)
    assert picks(turns, before) == picks(same, before)
    if not (upcoming := turns.upcoming()):
        return
    passed = [same.next() for _ in range(sum(weights))]
    assert upcoming == sorted(set(upcoming), key=passed.index)
    child = data.draw(st.sampled_from(upcoming))
    turns.skip_to(child)
    after = passed[passed.index(child) + 1 :] + [same.next() for _ in range(sum(weights))]
    assert picks(turns, sum(weights)) == "".join(str(each) for each in after[: sum(weights)])


# --- reloads ---


@given(weights=WEIGHTS, before=st.integers(0, 50))
def test_a_resumed_rotation_goes_on(weights: list[int], before: int) -> None:
    former, alone = rotation(*weights), rotation(*weights)
    picks(former, before)
    picks(alone, before)
    fresh = rotation(*weights)
    fresh.resume(former)
    assert picks(fresh, 40) == picks(alone, 40)


def test_resuming_keeps_who_is_usable() -> None:
    former, fresh = rotation(1, 1, 1), rotation(1, 1, 1)
    picks(former, 1)
    fresh.use({"A", "C"})
    fresh.resume(former)
    assert picks(fresh, 4) == "CACA"


@given(
    steps=st.lists(st.tuples(st.lists(st.integers(1, 9), min_size=3, max_size=3), st.integers(1, 4)), min_size=20),
)
def test_weights_that_change_all_the_time_starve_nobody(steps: list[tuple[list[int], int]]) -> None:
    turns, picked, due = rotation(1, 1, 1), Counter[str](), Counter[str]()
    for weights, count in steps:
        turns, former = rotation(*weights), turns
        turns.resume(former)
        picked.update(picks(turns, count))
        for name, weight in zip("ABC", weights, strict=True):
            due[name] += count * weight / sum(weights)  # type: ignore[assignment]
    for name in "ABC":
        assert abs(picked[name] - due[name]) <= 0.25 * sum(due.values()) + 3, (picked, due)


@given(weights=WEIGHTS, others=WEIGHTS, before=st.integers(0, 50))
def test_other_weights_keep_their_blocks_from_wherever_they_begin(
    weights: list[int], others: list[int], before: int
) -> None:
    former, fresh = rotation(*weights), rotation(*others)
    picks(former, before)
    fresh.resume(former)
    block = picks(fresh, sum(others))
    assert [block.count(name) for name in "ABCDEF"[: len(others)]] == others


def test_weights_that_change_before_anybody_came_begin_at_the_beginning() -> None:
    fresh = rotation(1, 2)
    fresh.resume(rotation(2, 1))
    assert picks(fresh, 3) == "ABB"
