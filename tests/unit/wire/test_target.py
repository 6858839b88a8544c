"""Targets: what is plain, one spelling for all others, and what is refused."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.errors import DownstreamError
from streamlb.wire.message import decode_path
from streamlb.wire.policy import DEFAULT, RequestPolicy
from streamlb.wire.target import clean_target, is_plain, normalise, resolve_dots

AS_THEY_ARE = RequestPolicy(sanitize=False)

targets = st.from_regex(rb"/(?:[a.b/;?~]|%(?:2[eEfF3]|5c|41|7e|25|00)|[\"<>\\^`{|}]){0,14}", fullmatch=True)


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/a/b.c/",
        b"/a/.well-known/x..y/...",
        b"/a;b=1/c@d:e",
        b"/a?x=../..//%2e&y=%zz",
        b"/~a/(b)/[c]",
        b"*",
    ],
)
def test_plain_targets_pass_untouched(target: bytes) -> None:
    assert is_plain(target)
    assert clean_target(target, DEFAULT) is target


@pytest.mark.parametrize(
    ("target", "clean"),
    [
        # As Traefik has them.
        (b"/../../b/", b"/b/"),
        (b"/a/b/..", b"/a"),
        (b"/..///b///", b"/b/"),
        (b"/a/./b", b"/a/b"),
        (b"/%2E%2E/b", b"/b"),
        # Dots and slashes.
        (b"//", b"/"),
        (b"/.", b"/"),
        (b"/..", b"/"),
        (b"/a/../", b"/"),
        (b"/a/.", b"/a"),
        (b"/a//b", b"/a/b"),
        (b"//evil.test/a", b"/evil.test/a"),
        (b"/a/%2e%2E/%2e/b", b"/b"),
        (b"/a/..%2Fb", b"/a/..%2Fb"),
        (b"/a/..;/b", b"/a/..;/b"),
        (b"/a/.?../b", b"/a?../b"),
        # Escapes.
        (b"/%7Efoo%2dbar", b"/~foo-bar"),
        (b"/%41%7a%30%5F", b"/Az0_"),
        (b"/a%2fb%5c%00%c3%a4", b"/a%2Fb%5C%00%C3%A4"),
        (b"/%252e%252e/b", b"/%252e%252e/b"),
        # What no URL may hold is escaped.
        (b"/a\\..\\b", b"/a%5C..%5Cb"),
        (b'/"<>^`{|}', b"/%22%3C%3E%5E%60%7B%7C%7D"),
        # Queries stay, but for their semicolons.
        (b'/a//b?c=//%2e"\\', b'/a/b?c=//%2e"\\'),
        (b"/?a=1;b=2", b"/?a=1&b=2"),
        (b"/?", b"/?"),
        (b"//?", b"/?"),
        (b"/a//?b?c;d?", b"/a/?b?c&d?"),
    ],
)
def test_one_spelling(target: bytes, clean: bytes) -> None:
    assert clean_target(target, DEFAULT) == clean
    assert clean_target(clean, DEFAULT) == clean


@pytest.mark.parametrize("path", [b"/%", b"/a%2", b"/%zz", b"/%%41", b"/a%2g/b", b"/%u0041"])
def test_broken_escapes_are_refused(path: bytes) -> None:
    for policy in (DEFAULT, AS_THEY_ARE):
        with pytest.raises(DownstreamError, match="broken escape") as refused:
            clean_target(path + b"?q", policy)
        assert refused.value.status == 400
    assert clean_target(b"/?q=" + path, DEFAULT) == b"/?q=" + path


@pytest.mark.parametrize(
    ("target", "clean"),
    [
        (b"/../../b/", b"/../../b/"),
        (b"/a//b", b"/a//b"),
        (b"/%2e%2E/%2f", b"/../%2F"),
        (b"/a\\b?x;y", b"/a%5Cb?x&y"),
    ],
)
def test_dots_and_slashes_may_be_left_alone(target: bytes, clean: bytes) -> None:
    assert clean_target(target, AS_THEY_ARE) == clean


@pytest.mark.parametrize("escape", [b"2F", b"5C", b"00", b"3B", b"25", b"3F", b"23"])
def test_escapes_that_are_not_allowed(escape: bytes) -> None:
    policy = RequestPolicy(refused=frozenset({escape}))
    for spelling in (escape, escape.lower()):
        with pytest.raises(DownstreamError, match=f"%{escape.decode()} in the path") as refused:
            clean_target(b"/a/%" + spelling, policy)
        assert refused.value.status == 400
    assert clean_target(b"/a?b=%" + escape, policy) == b"/a?b=%" + escape
    others = b"/%28%" + (b"2F" if escape != b"2F" else b"5C")
    assert clean_target(others, policy) == others


def test_a_raw_backslash_counts_as_an_escaped_one() -> None:
    with pytest.raises(DownstreamError):
        clean_target(b"/a\\b", RequestPolicy(refused=frozenset({b"5C"})))


def test_semicolons_may_be_escaped() -> None:
    policy = RequestPolicy(encode_semicolons=True)
    assert clean_target(b"/a;b?a=1;b=2;", policy) == b"/a;b?a=1%3Bb=2%3B"


@given(targets)
def test_a_clean_target_is_plain_or_says_why_not(target: bytes) -> None:
    clean = clean_target(target, DEFAULT)
    path = clean.partition(b"?")[0]
    assert clean_target(clean, DEFAULT) == clean
    assert path.startswith(b"/")
    assert not re.search(rb"//|/\.\.?(?:/|\Z)", path)
    assert is_plain(clean) or b"%" in path


@given(targets)
def test_spelling_does_not_change_the_meaning(target: bytes) -> None:
    path = target.partition(b"?")[0]
    spelled = normalise(path)
    assert unquote_to_bytes(spelled) == unquote_to_bytes(path)
    assert normalise(spelled) == spelled
    assert spelled.count(b"/") == path.count(b"/")


@given(targets)
def test_plain_means_that_there_is_nothing_to_do(target: bytes) -> None:
    if is_plain(target):
        path = target.partition(b"?")[0]
        assert resolve_dots(normalise(path)) == path


@given(targets | st.binary(max_size=24).map(b"/".__add__))
def test_no_spelling_of_a_path_gets_around_a_rule(target: bytes) -> None:
    """Neither as it is sent on nor as rules see it is there a segment that means another path."""
    try:
        clean = clean_target(target, DEFAULT)
    except DownstreamError:
        with pytest.raises(DownstreamError):
            clean_target(target, AS_THEY_ARE)
        return
    assert clean_target(clean, DEFAULT) == clean
    assert clean.count(b"?") == target.count(b"?")
    for path in (clean.partition(b"?")[0], decode_path(clean.partition(b"?")[0])):
        first, *segments = path.split(b"/")
        assert first == b""
        assert b"." not in segments
        assert b".." not in segments
        assert b"" not in segments[:-1]
