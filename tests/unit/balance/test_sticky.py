"""Sticky cookies: Traefik's names and values, hostile headers, rendered attributes."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlb.balance.sticky import Attributes, Sticky, cookie_name, old_tokens, token

VECTORS = [
    ("default-myapp1-80", "9c95d45b96623357", "db346c121b16677a", "c4359be2324532f"),
    ("default-myapp2-80", "063d8603bfb44904", "e4369312204a003f", "517a027fe1bc8190"),
    ("service1", "e9c34be8fdc0142f", "eb73801f39dd3d33", "21a46cf03b392170"),
    ("http://10.0.0.1:80", "df5bd2f9c0180410", "6773b9eb3f0631af", "a3882de487ebf0dc"),
]


def sticky(name: str = "lvl1", *children: str) -> Sticky[str]:
    names = children or ("default-myapp1-80", "default-myapp2-80")
    return Sticky(name, [(child, child.upper()) for child in names], Attributes())


@pytest.mark.parametrize(("child", "sha", "fnv", "fnv_of_fnv"), VECTORS)
def test_values(child: str, sha: str, fnv: str, fnv_of_fnv: str) -> None:
    assert token(child) == sha
    assert old_tokens(child) == (child, fnv, fnv_of_fnv)
    found = sticky("lvl1", *(vector[0] for vector in VECTORS))
    assert found.find(f"lvl1={sha}".encode()) == (child.upper(), False)
    for old in (child, fnv, fnv_of_fnv):
        assert found.find(f"lvl1={old}".encode()) == (child.upper(), True)


@pytest.mark.parametrize(
    ("service", "name"),
    [("service1@file", "_4a6ce"), ("wrr@file", "_96d1d"), ("default-wrr@kubernetescrd", "_35cca")],
)
def test_generated_names(service: str, name: str) -> None:
    assert cookie_name("", service) == name


@pytest.mark.parametrize(
    ("configured", "name"),
    [("lvl1", "lvl1"), ("a b;c=d", "a_b_c_d"), ("!#$%&'*+-.^`|~_", "!#$%&'*+-.^`|~_"), ("кука\r\n", "______")],
)
def test_configured_names_are_made_legal(configured: str, name: str) -> None:
    assert cookie_name(configured, "any@file") == name


# --- finding ---

FIRST = b"default-myapp1-80"


@pytest.mark.parametrize(
    "header",
    [
        b"lvl1=" + FIRST,
        b"a=b; lvl1=" + FIRST,
        b"a=b;lvl1=" + FIRST + b";c=d",
        b" lvl1=" + FIRST + b" ; c=d",
        b'lvl1="' + FIRST + b'"',
        b"lvl1=" + FIRST + b"; lvl1=default-myapp2-80",
        b"xlvl1=default-myapp2-80; lvl1=" + FIRST,
        b"x=lvl1=default-myapp2-80; lvl1=" + FIRST,
        b";;;\t lvl1=" + FIRST,
    ],
)
def test_found(header: bytes) -> None:
    assert sticky().find(header) == ("DEFAULT-MYAPP1-80", True)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"lvl1",
        b"lvl1=",
        b'lvl1="',
        b'lvl1=""',
        b"lvl1=unknown",
        b"lvl1=unknown; lvl1=" + FIRST,
        b"LVL1=" + FIRST,
        b"xlvl1=" + FIRST,
        b"a=lvl1=" + FIRST,
        b"lvl1 =" + FIRST,
        b"lvl1=" + FIRST + b"x",
        b"lvl1=\xff\x00",
    ],
)
def test_not_found(header: bytes) -> None:
    assert sticky().find(header) is None


def test_special_characters_of_a_name_are_no_pattern() -> None:
    assert sticky("a.b*").find(b"axb*=" + FIRST) is None
    assert sticky("a.b*").find(b"a.b*=" + FIRST) is not None


def test_children_of_one_name() -> None:
    found = Sticky("c", [("x", 1), ("x", 2)], Attributes())
    assert found.find(b"c=x") == (1, True)
    assert found.find(b"c=" + token("x").encode()) == (1, False)
    assert found.cookies[1] == found.cookies[2]


@pytest.mark.parametrize("piece", [b"lvl1 ", b" lvl1=", b"; ", b";", b" ", b"lvl1;", b"=lvl1=", b"\t;\t"])
def test_a_hostile_header_costs_linear_time(piece: bytes) -> None:
    start = time.perf_counter()
    sticky().find(piece * (1_000_000 // len(piece)) + b"lvl1=")
    # Quadratic would be hours.
    assert time.perf_counter() - start < 5


@given(header=st.binary(max_size=100))
def test_never_raises(header: bytes) -> None:
    sticky().find(header)
    sticky().find(b"lvl1=" + header)


@given(names=st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=5, unique=True))
def test_what_is_set_is_found(names: list[str]) -> None:
    found = Sticky("c", [(name, number) for number, name in enumerate(names)], Attributes())
    for number in range(len(names)):
        pair = found.cookies[number].partition(b";")[0]
        assert found.find(b"x=y; " + pair) == (number, False)


# --- rendering ---


def test_plain_cookie() -> None:
    assert sticky().cookies["DEFAULT-MYAPP2-80"] == b"lvl1=063d8603bfb44904; Path=/"


def test_all_attributes_in_order() -> None:
    attributes = Attributes(
        path="/app", domain=".example.com", max_age=60, http_only=True, secure=True, same_site="lax"
    )
    assert attributes.render("c", "v") == (
        b"c=v; Path=/app; Domain=example.com; Max-Age=60; HttpOnly; Secure; SameSite=Lax"
    )


@pytest.mark.parametrize(
    ("attributes", "suffix"),
    [
        (Attributes(max_age=-5), b"; Path=/; Max-Age=0"),
        (Attributes(same_site="None"), b"; Path=/; SameSite=None"),
        (Attributes(same_site="strict"), b"; Path=/; SameSite=Strict"),
        (Attributes(path=""), b""),
        (Attributes(path="/a;b\r\nX: y\xff"), b"; Path=/abX: y"),
        (Attributes(domain="a\r\nb"), b"; Path=/; Domain=ab"),
    ],
)
def test_attributes(attributes: Attributes, suffix: bytes) -> None:
    assert attributes.render("c", "v") == b"c=v" + suffix


def slowly_found(header: bytes) -> str | None:
    """The value of the first cookie `c`, by taking the header apart."""
    for pair in header.split(b";"):
        name, equals, value = pair.lstrip(b" \t").partition(b"=")
        if name == b"c" and equals:
            value = value.rstrip(b" \t")
            if len(value) > 1 and value[:1] == value[-1:] == b'"':
                value = value[1:-1]
            return {b"x": "X", b"y": "Y"}.get(value)
    return None


PIECES = st.sampled_from([b"c", b"=", b"c=", b"x", b"y", b";", b" ", b"\t", b"; ", b'"', b"a=b", b"cc="])


@given(header=st.lists(PIECES, max_size=16).map(b"".join))
@settings(max_examples=500)
def test_equals_taking_the_header_apart(header: bytes) -> None:
    found = sticky("c", "x", "y").find(header)
    assert (found and found[0]) == slowly_found(header)
