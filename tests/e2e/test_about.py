"""What streamlb says of itself: versions, variables, completion, the manual page, and help for everything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest

import streamlb
from streamlb.cli import FAMILIES, main
from streamlb.cli.about import SHELLS, VARIABLES
from tests.support.programs import ROOT, STREAMLB, need

if TYPE_CHECKING:
    from collections.abc import Iterator

AS_INSTALLED = [sys.executable, "-c", "from streamlb.cli import main; main(prog_name='streamlb')"]


def run(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*STREAMLB, *args],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
    )


def test_version() -> None:
    done = run("version")
    assert done.returncode == 0
    assert re.search(rf"^streamlb +{re.escape(streamlb.__version__)}$", done.stdout, re.MULTILINE)
    assert re.search(r"^OpenSSL +OpenSSL 3", done.stdout, re.MULTILINE)
    assert "not installed" not in done.stdout


def test_environ() -> None:
    done = run("environ", env={"NO_COLOR": "yes please"})
    assert "is 'yes please'" in done.stdout
    assert all(name in done.stdout for name in VARIABLES)


def test_variables_are_those_that_are_looked_at() -> None:
    text = "".join(path.read_text() for path in (ROOT / "streamlb").rglob("*.py") if path.name != "about.py")
    for name in VARIABLES:
        assert f'"{name}"' in text, f"nobody looks at {name}"
    for name in re.findall(r'environ(?:\.get\(|\[)"(\w+)"', text):
        assert name in VARIABLES or name == "PYTHONPATH", f"`streamlb environ` does not name {name}"


@pytest.mark.parametrize("shell", SHELLS)
def test_completion(shell: str) -> None:
    done = run("completion", shell)
    assert done.returncode == 0
    assert "_STREAMLB_COMPLETE" in done.stdout
    if shell == "bash":
        subprocess.run([need("bash"), "-n"], input=done.stdout, text=True, check=True, timeout=10)


@pytest.mark.parametrize(
    ("words", "found"), [("streamlb ch", "check"), ("streamlb convert ha", "haproxy"), ("streamlb fmt --w", "--write")]
)
def test_words_are_completed(words: str, found: str) -> None:
    told = {"_STREAMLB_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        AS_INSTALLED, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT, env={**os.environ, **told}
    )
    assert found in done.stdout


def test_a_shell_that_is_not_known() -> None:
    assert run("completion", "tcsh").returncode == 2


def test_the_manual_page() -> None:
    done = run("man")
    assert done.returncode == 0
    assert done.stdout.startswith(".TH STREAMLB 1")
    assert ".SS streamlb check" in done.stdout
    shown = subprocess.run(
        [need("man"), "--warnings", "-l", "-"],
        input=done.stdout,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8", "MANPAGER": "cat"},
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "streamlb convert [OPTIONS] {nginx|haproxy} FILE" in shown.stdout


def commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        return
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        inside = click.Context(inner, info_name=name, parent=context)
        yield inside.command_path, inner
        yield from commands(inner, inside)


EVERY = list(commands(main, click.Context(main, info_name="streamlb")))


@pytest.mark.parametrize("command", [each for _, each in EVERY], ids=[path for path, _ in EVERY])
def test_every_command_and_option_has_help(command: click.Command) -> None:
    assert command.help
    assert command.get_short_help_str(70), "what `streamlb --help` shows"
    assert not command.get_short_help_str(70).endswith("..."), "a short help that fits: short_help="
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.name} has no help"


def test_the_reference_names_every_command() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    for name in [each for each, family in FAMILIES.items() if family != "steering"]:
        assert f"`streamlb {name}" in text or f"`{name}" in text, f"{name} is not in the reference"
