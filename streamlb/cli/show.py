"""`streamlb show`.

What lives here: the commands and their options. What must not: what is shown (`config/provenance.py`).
"""

from __future__ import annotations

import json
import sys

import click

from streamlb.cli.output import show as show_text
from streamlb.cli.output import wants_colour


@click.group(short_help="Show what is configured.")
def show() -> None:
    """Show what is configured."""


@show.command(short_help="The configuration as it would be served.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path())
@click.option("--format", "form", type=click.Choice(["yaml", "json"]), default="yaml", help="How it is written.")
@click.option("--origins", is_flag=True, help="Say of each value where it came from: file:line, default, streamlb.")
@click.option("--defaults", is_flag=True, help="Show what nobody has written, too.")
def config(paths: tuple[str, ...], form: str, origins: bool, defaults: bool) -> None:
    """Show the configuration in PATH... as it would be served: all files as one, `${...}` filled in, Kubernetes
    documents translated. Secrets are not shown. Exit code 0, or 1 when it is not valid.
    """
    from streamlb.config import provenance
    from streamlb.config.internal import complete
    from streamlb.config.report import count_line, render
    from streamlb.errors import ConfigError
    from streamlb.process.configuration import open_sources

    try:
        loaded = open_sources(paths).read()
    except ConfigError as error:
        colour = wants_colour(sys.stderr)
        click.echo(render(error.problems, colour) + count_line(len(error.problems), colour=colour), err=True, nl=False)
        raise SystemExit(1) from None
    shown = provenance.show(complete(loaded.config), loaded, defaults=defaults)
    if form == "json":
        plain = provenance.to_plain(shown, origins=origins)
        show_text(json.dumps(plain, indent=2, ensure_ascii=False) + "\n")
    else:
        show_text(provenance.to_yaml(shown, origins=origins))
