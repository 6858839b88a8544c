"""The relay automaton: dialogues as tables, and properties over random conversations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.session.relay import MAX_PENDING, Direction, Relay, State, Verdict

GO_ON, SHUT, CLOSE, ABORT = Verdict.GO_ON, Verdict.SHUT, Verdict.CLOSE, Verdict.ABORT

# Each row: side, what happens, what follows. `a` is what the client says, `b` what the server says.
DIALOGUES = {
    "the client finishes, then the server": [("a", "end", SHUT), ("b", "end", CLOSE)],
    "the server finishes, then the client": [("b", "end", SHUT), ("a", "end", CLOSE)],
    "a half-closed client still gets its answer": [
        ("a", "end", SHUT),
        ("b", 10, None),
        ("b", -10, GO_ON),
        ("b", "end", CLOSE),
    ],
    "the end waits for the bytes before it": [
        ("a", 10, None),
        ("a", "end", GO_ON),
        ("a", -4, GO_ON),
        ("a", -6, SHUT),
        ("b", "end", CLOSE),
    ],
    "both ends wait": [
        ("a", 5, None),
        ("b", 7, None),
        ("a", "end", GO_ON),
        ("b", "end", GO_ON),
        ("b", -7, SHUT),
        ("a", -5, CLOSE),
    ],
    "an end is passed on once": [("a", "end", SHUT), ("a", "end", GO_ON), ("b", "end", CLOSE)],
    "a reset is passed on at once": [("a", 10, None), ("b", 10, None), ("b", "source lost", ABORT)],
    "a reset after a half-close": [("a", "end", SHUT), ("b", "source lost", ABORT)],
    "a refused upload with an answer": [
        ("a", "target lost", GO_ON),
        ("b", 3, None),
        ("b", -3, GO_ON),
        ("b", "end", ABORT),
    ],
    "a refused upload with an answer still pending": [
        ("b", 3, None),
        ("a", "target lost", GO_ON),
        ("b", "end", GO_ON),
        ("b", -3, ABORT),
    ],
    "a server that finished and takes no more": [("b", "end", SHUT), ("a", "target lost", ABORT)],
    "nobody takes anything": [("a", "target lost", GO_ON), ("b", "target lost", ABORT)],
}


def play(direction: Direction, event: int | str) -> Verdict | None:
    match event:
        case "end":
            return direction.on_end()
        case "source lost":
            return direction.on_source_lost()
        case "target lost":
            return direction.on_target_lost()
        case int() if event > 0:
            direction.on_pending(event)
            return None
        case int():
            return direction.on_written(-event)
    raise AssertionError(event)


@pytest.mark.parametrize("name", DIALOGUES)
def test_dialogue(name: str) -> None:
    relay = Relay()
    said = [(side, event, play(getattr(relay, WAYS[side]), event)) for side, event, _ in DIALOGUES[name]]
    assert said == DIALOGUES[name]


WAYS = {"a": "a_to_b", "b": "b_to_a"}


def test_reading_stops_at_the_limit_and_goes_on_below_it() -> None:
    way = Relay().a_to_b
    way.on_pending(MAX_PENDING - 1)
    assert way.wants_read
    assert way.wants_write
    way.on_pending(1)
    assert not way.wants_read
    way.on_written(1)
    assert way.wants_read
    way.on_written(MAX_PENDING - 1)
    assert not way.wants_write


def test_a_spliced_direction_reads_only_when_nothing_is_pending() -> None:
    way = Relay().a_to_b
    way.limit = 1
    way.on_pending(1)
    assert not way.wants_read
    way.on_written(1)
    assert way.wants_read


@pytest.mark.parametrize("ending", ["end", "target lost"])
def test_nothing_is_read_after_the_end(ending: str) -> None:
    way = Relay().a_to_b
    way.on_pending(5)
    play(way, ending)
    assert not way.wants_read
    assert way.wants_write is (ending == "end")


def test_writing_more_than_was_read_is_our_bug() -> None:
    way = Relay().a_to_b
    way.on_pending(1)
    with pytest.raises(AssertionError):
        way.on_written(2)


class Conversation:
    """A slow model of both directions that holds the automaton to its promises after each step."""

    def __init__(self) -> None:
        self.relay = Relay()
        self.ways = (self.relay.a_to_b, self.relay.b_to_a)
        self.read = [0, 0]
        self.written = [0, 0]
        self.ended = [False, False]
        self.shut = [False, False]
        self.broken = [False, False]
        self.over: Verdict | None = None

    def step(self, side: int, kind: str, count: int) -> None:
        way = self.ways[side]
        verdict: Verdict | None = GO_ON
        if kind == "read" and way.wants_read:
            taken = count // 2
            self.read[side] += count
            self.written[side] += taken
            if count > taken:
                way.on_pending(count - taken)
        elif kind == "write" and way.wants_write:
            count = min(count, way.pending)
            self.written[side] += count
            verdict = way.on_written(count)
        elif kind == "end" and way.wants_read:
            self.ended[side] = True
            verdict = way.on_end()
        elif kind == "source lost" and way.wants_read:
            verdict = way.on_source_lost()
            assert verdict is ABORT
        elif kind == "target lost" and (way.wants_write or way.wants_read):
            self.broken[side] = True
            verdict = way.on_target_lost()
        self.check(side, verdict)

    def check(self, side: int, verdict: Verdict | None) -> None:
        way = self.ways[side]
        if verdict is SHUT:
            assert not self.shut[side], "an end was passed on twice"
        if verdict in (SHUT, CLOSE):
            assert self.ended[side], "an end was passed on that nobody said"
            self.shut[side] = True
        if verdict is CLOSE:
            assert self.read == self.written, "closed with bytes pending"
            assert self.ended == [True, True]
            assert not any(self.broken), "a broken conversation must not look finished"
        if verdict in (CLOSE, ABORT):
            self.over = verdict
            return
        assert (way.state is State.SHUT) is self.shut[side]
        if not self.broken[side]:
            assert way.pending == self.read[side] - self.written[side]
        # Whatever happens, somebody is still being waited for: no conversation hangs unwatched.
        assert any(each.wants_read or each.wants_write for each in self.ways)


KINDS = st.sampled_from(["read", "read", "write", "write", "end", "source lost", "target lost"])
STEPS = st.lists(st.tuples(st.integers(0, 1), KINDS, st.integers(1, 100_000)), max_size=60)


@given(steps=STEPS)
def test_never_closes_with_bytes_pending_and_never_hangs(steps: list[tuple[int, str, int]]) -> None:
    conversation = Conversation()
    for side, kind, count in steps:
        conversation.step(side, kind, count)
        if conversation.over is not None:
            break


@given(steps=STEPS)
def test_without_faults_it_always_comes_to_a_clean_close(steps: list[tuple[int, str, int]]) -> None:
    conversation = Conversation()
    healthy = [step for step in steps if "lost" not in step[1]]
    for side, kind, count in healthy:
        if conversation.over is None:
            conversation.step(side, kind, count)
    for _ in range(2):
        for side in (0, 1):
            while conversation.over is None and conversation.ways[side].wants_write:
                conversation.step(side, "write", 1_000_000)
            if conversation.over is None:
                conversation.step(side, "end", 0)
    assert conversation.over is CLOSE
