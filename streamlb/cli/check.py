"""`streamlb check`.

What lives here: the command and its options. What must not: the checks (`config/check.py`).
"""

from __future__ import annotations

import sys

import click

from streamlb.cli.output import show, wants_colour


@click.command(short_help="Check a configuration: every mistake at once.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people or for programs."
)
def check(paths: tuple[str, ...], form: str) -> None:
    """Check a configuration: every mistake at once. Exit code 0 when it is valid, 1 when it is not.

    Each PATH is a file, or a directory with all YAML files in it and below it; together they are one configuration.
    """
    from streamlb.config.report import report
    from streamlb.process.configuration import open_sources
    from streamlb.process.renewal import wall_clock

    valid, text = report(
        lambda: open_sources(paths, now=wall_clock()).read(), ", ".join(paths), form, colour=wants_colour(sys.stdout)
    )
    show(text)
    raise SystemExit(0 if valid else 1)
