"""Trace context is taken to the letter, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.wire.trace import MAX_MEMBERS, Trace, read, read_state, render

TRACE, PARENT, SPAN = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331", b"00f067aa0ba902b7"
GOOD = b"00-%b-%b-01" % (TRACE, PARENT)


def test_a_trace_goes_on_under_our_span() -> None:
    trace = read([GOOD], [b"congo=t61rcWkgMzE"], SPAN)
    assert trace == Trace(TRACE, SPAN, PARENT, sampled=True, state=b"congo=t61rcWkgMzE")
    assert trace is not None
    assert render(trace) == b"traceparent: 00-%b-%b-01\r\ntracestate: congo=t61rcWkgMzE\r\n" % (TRACE, SPAN)


def test_one_that_is_not_sampled_stays_so() -> None:
    trace = read([b"00-%b-%b-02" % (TRACE, PARENT)], [], SPAN)
    assert trace is not None
    assert not trace.sampled
    assert render(trace) == b"traceparent: 00-%b-%b-00\r\n" % (TRACE, SPAN)


@pytest.mark.parametrize("tail", [b"", b"-", b"-more-to-come"])
def test_a_later_version_is_read_as_far_as_it_is_known(tail: bytes) -> None:
    assert read([b"cc-%b-%b-01%b" % (TRACE, PARENT, tail)], [], SPAN) is not None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        GOOD + b"-",
        GOOD + b"\n",
        b" " + GOOD,
        GOOD.upper(),
        b"ff" + GOOD[2:],
        b"00-%b-%b-01" % (b"0" * 32, PARENT),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b"00-%b-%b-1" % (TRACE, PARENT),
        b"00-%b-%b" % (TRACE, PARENT),
        b"00_" + GOOD[3:],
        b"cc" + GOOD[2:] + b"x",
    ],
)
def test_what_is_not_right_is_no_trace(value: bytes) -> None:
    assert read([value], [], SPAN) is None


@pytest.mark.parametrize("count", [0, 2])
def test_there_is_one_parent_or_none(count: int) -> None:
    assert read([GOOD] * count, [], SPAN) is None


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ([], b""),
        ([b"a=1", b"b=2"], b"a=1,b=2"),
        ([b" a=1 ,\t, b=2"], b"a=1,b=2"),
        ([b"1tenant@sys=x y"], b"1tenant@sys=x y"),
        ([b"a=1,a=2"], b""),
        ([b"A=1"], b""),
        ([b"a=1=2"], b""),
        ([b"a"], b""),
        ([b"a=\x01"], b""),
        ([b"a=" + b"x" * 600], b""),
        ([b",".join(b"k%d=1" % number for number in range(MAX_MEMBERS))],
         b",".join(b"k%d=1" % number for number in range(MAX_MEMBERS))),
        ([b",".join(b"k%d=1" % number for number in range(MAX_MEMBERS + 1))], b""),
    ],
)  # fmt: skip
def test_the_state_is_passed_on_only_if_it_is_right(values: list[bytes], state: bytes) -> None:
    assert read_state(values) == state


@given(st.lists(st.binary(max_size=80), max_size=3), st.lists(st.binary(max_size=80), max_size=3))
def test_nothing_a_client_sends_makes_another_line(parents: list[bytes], states: list[bytes]) -> None:
    trace = read(parents, states, SPAN)
    if trace is not None:
        assert render(trace).count(b"\r\n") == render(trace).count(b"\n") <= 2
    state = read_state(states)
    assert not set(state) & set(b"\r\n\0")
