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

    \b
    SIGTERM, SIGINT  finish what is in flight, then end; a second one: end at once
    SIGQUIT          end at once
    SIGHUP           read the configuration again
    SIGUSR1          open the log files anew
    SIGUSR2          start streamlb anew on the same sockets, then finish here

    Sockets that systemd has opened are used by the name of the entry point or by its address.

    Exit code 0 after a stop, 1 when the configuration is not valid or an address cannot be used, 128 + the signal's
    number after a second signal.
    """
    from streamlb.process import control

    raise SystemExit(control.run(paths))
