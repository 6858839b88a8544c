"""The command line itself: commands are found, guessed at, and described in one line each."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from streamlb.cli import FAMILIES, main


@pytest.mark.parametrize("name", FAMILIES)
def test_each_command_is_found_and_says_what_it_does(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert f"Usage: main {name}" in result.output


def test_help_shows_every_command_with_a_whole_line() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for name in FAMILIES:
        [line] = [line for line in result.output.splitlines() if line.startswith(f"  {name} ")]
        assert not line.endswith("..."), line


def test_an_unknown_command_is_wrong_usage_with_a_guess() -> None:
    result = CliRunner().invoke(main, ["chek", "lb.yaml"])
    assert result.exit_code == 2
    assert "did you mean `check`?" in result.output
    assert "did you mean" not in CliRunner().invoke(main, ["zzzzzzzz"]).output
