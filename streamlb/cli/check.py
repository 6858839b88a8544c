"""`streamlb check`.

What lives here: the command and its options. What must not: the checks (`config/check.py`).
"""

from __future__ import annotations

import copy
import json
import sys
from typing import TYPE_CHECKING

import click

from streamlb.cli.output import show, wants_colour
from streamlb.config.places import SOCKET_VARIABLE

if TYPE_CHECKING:
    from streamlb.config.assembly import Loaded


@click.command(short_help="Check a configuration: every mistake at once.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people or for programs."
)
@click.option("--strict", is_flag=True, help="Exit code 3 when there are notes, that is, things hardly meant.")
@click.option("--resolve", is_flag=True, help="Look the names of servers up; those without an address are noted.")
@click.option("--diff-running", is_flag=True, help="Tell what a reload would change in the running streamlb.")
@click.option(
    "--socket", metavar="PATH", help=f"The socket of the streamlb --diff-running means; also {SOCKET_VARIABLE}."
)
def check(
    paths: tuple[str, ...], form: str, strict: bool, resolve: bool, diff_running: bool, socket: str | None
) -> None:
    """Check a configuration: every mistake at once. Exit code 0 when it is valid, 1 when it is not.

    Each PATH is a file, or a directory with all YAML files in it and below it; together they are one configuration.
    Nothing is bound, and nobody asked over the network (but for --resolve), so it needs no privileges.

    With --diff-running there is a line for each object that a reload with these files would add (+), remove (-) or
    change (~); exit code 0 whether or not there are any, 1 when there is no running streamlb to ask.
    """
    if socket is not None and not diff_running:
        raise click.UsageError("--socket goes with --diff-running")
    from streamlb.config.report import report
    from streamlb.process.configuration import open_sources
    from streamlb.process.lookup import strangers
    from streamlb.process.renewal import wall_clock

    loaded: list[Loaded] = []

    def read() -> Loaded:
        loaded.append(open_sources(paths, now=wall_clock()).read())
        if resolve:
            loaded[0].notes = sorted([*loaded[0].notes, *strangers(loaded[0])], key=lambda note: note.position)
        return loaded[0]

    valid, text = report(read, ", ".join(paths), form, colour=wants_colour(sys.stdout))
    if not valid:
        show(text)
        raise SystemExit(1)
    if diff_running:
        from streamlb.cli.client import Caller
        from streamlb.process.comparison import changes

        found = changes(Caller(socket).get("config"), loaded[0].config)
        text = json.dumps({"changes": found}) + "\n" if form == "json" else text + as_lines(found)
    show(text)
    raise SystemExit(3 if strict and loaded[0].notes else 0)


def as_lines(changes: list[str]) -> str:
    """What a reload would change, for people."""
    if not changes:
        return "a reload would change nothing\n"
    return "a reload would change:\n" + "".join(f"  {change}\n" for change in changes)


validate = copy.copy(check)
validate.name, validate.short_help = "validate", "The same as check."
