"""`streamlb check`.

What lives here: the command and its options. What must not: the checks (`config/check.py`).
"""

from __future__ import annotations

import sys

import click

from streamlb.cli.output import show, wants_colour


@click.command(short_help="Check a configuration: every mistake at once.")
@click.argument("file", type=click.Path())
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people or for programs."
)
def check(file: str, form: str) -> None:
    """Check the configuration FILE: every mistake at once. Exit code 0 when it is valid, 1 when it is not."""
    from streamlb.config.report import report
    from streamlb.process.configuration import load
    from streamlb.process.renewal import wall_clock

    valid, text = report(lambda: load(file, now=wall_clock()), file, form, colour=wants_colour(sys.stdout))
    show(text)
    raise SystemExit(0 if valid else 1)
