"""Guesses at misspelt words."""

from __future__ import annotations

from streamlb.config.near import MAX_CANDIDATES, did_you_mean, nearest


def test_the_nearest_word_in_its_own_spelling() -> None:
    assert nearest("entrypoint", ["entryPoints", "http"]) == "entryPoints"
    assert nearest("HTPP", ["http", "tcp"]) == "http"
    assert did_you_mean("htpp", ["http"]) == "did you mean `http`?"


def test_no_guess_is_better_than_a_wrong_one() -> None:
    assert nearest("zebra", ["http", "tcp"]) == ""
    assert did_you_mean("zebra", ["http"]) == ""
    assert nearest("x" * 10_000, ["x" * 9_999]) == ""


def test_the_number_of_comparisons_is_bounded() -> None:
    words = [f"word{number}" for number in range(MAX_CANDIDATES)]
    assert nearest("zebra", [*words, "zebra1"]) == ""
