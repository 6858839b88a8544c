"""The marks of option types."""

from __future__ import annotations

from typing import get_args

from streamlb.config.quantities import Duration, OneOrMany, Seconds, SignedDuration, StatusRanges


def test_marks_say_what_a_value_is_written_as() -> None:
    (kind, mark) = get_args(Duration)
    assert kind is float
    assert isinstance(mark, Seconds)
    assert not mark.signed
    assert get_args(SignedDuration)[1].signed
    assert isinstance(get_args(StatusRanges)[1], OneOrMany)
