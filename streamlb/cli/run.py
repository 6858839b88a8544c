"""`streamlb run`.

What lives here: the command and its options. What must not: serving (`process/control.py`).
"""

from __future__ import annotations

import click


@click.command(short_help="Serve a configuration.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path())
def run(paths: tuple[str, ...]) -> None:
    """Serve a configuration until SIGTERM or SIGINT (Ctrl-C); a second one does not wait for work in flight.

    Each PATH is a file, or a directory with all YAML files in it and below it; together they are one configuration.

    Exit code 0 after a stop, 1 when the configuration is not valid or an address cannot be used, 128 + the signal's
    number after a second signal.
    """
    from streamlb.process import control

    raise SystemExit(control.run(paths))
