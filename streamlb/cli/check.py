"""`streamlb check`.

What lives here: the command and its options. What must not: the checks (`config/check.py`).
"""

from __future__ import annotations

import copy
import sys
from typing import TYPE_CHECKING

import click

from streamlb.cli.output import show, wants_colour

if TYPE_CHECKING:
    from streamlb.config.assembly import Loaded


@click.command(short_help="Check a configuration: every mistake at once.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people or for programs."
)
@click.option("--strict", is_flag=True, help="Exit code 3 when there are notes, that is, things hardly meant.")
@click.option("--resolve", is_flag=True, help="Look the names of servers up; those without an address are noted.")
def check(paths: tuple[str, ...], form: str, strict: bool, resolve: bool) -> None:
    """Check a configuration: every mistake at once. Exit code 0 when it is valid, 1 when it is not.

    Each PATH is a file, or a directory with all YAML files in it and below it; together they are one configuration.
    Nothing is bound, and nobody asked over the network (but for --resolve), so it needs no privileges.
    """
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
    show(text)
    if not valid:
        raise SystemExit(1)
    raise SystemExit(3 if strict and loaded[0].notes else 0)


validate = copy.copy(check)
validate.name, validate.short_help = "validate", "The same as check."
