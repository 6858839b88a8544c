"""One cookie in a field: found whatever stands around it, and never inside another one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.balance.cookies import NamedCookie


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (b"", None),
        (b"lvl1=a", b"a"),
        (b"a=b; lvl1=c; d=e", b"c"),
        (b"a=b;lvl1=c;d=e", b"c"),
        (b'lvl1="c"', b"c"),
        (b'lvl1="', b'"'),
        (b"lvl1=", b""),
        (b"lvl1=c ; lvl1=d", b"c"),
        (b"xlvl1=a; lvl1=b", b"b"),
        (b"xlvl1=a", None),
        (b"a=lvl1=b", None),
        (b"lvl1", None),
        (b"LVL1=a", None),
        (b"lvl1=a=b", b"a=b"),
    ],
)
def test_the_value(header: bytes, value: bytes | None) -> None:
    assert NamedCookie("lvl1").value(header) == value


@given(st.lists(st.binary(max_size=4).filter(lambda text: b";" not in text), max_size=4))
def test_what_stands_in_front_does_not_matter(others: list[bytes]) -> None:
    header = b";".join([*(b"x" + other for other in others), b" n=1"])
    assert NamedCookie("n").value(header) == b"1"
