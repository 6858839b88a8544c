"""The command line: `streamlb run`, `check`, `whoami`.

What lives here: commands, their options and exit codes (0 fine, 1 configuration or start failed, 2 wrong usage).
What must not: what the commands do. Each imports what it needs when it runs, so that `--help` stays quick.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

import streamlb

if TYPE_CHECKING:
    from typing import TextIO


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(streamlb.__version__, prog_name="streamlb")
def main() -> None:
    """An L4/L7 proxy and load balancer for a bare VM, configured in Traefik's words."""


@main.command()
@click.argument("file", type=click.Path())
def run(file: str) -> None:
    """Serve the configuration FILE until SIGTERM or SIGINT (Ctrl-C); a second one does not wait for work in flight.

    Exit code 0 after a stop, 1 when the configuration is not valid or an address cannot be used, 128 + the signal's
    number after a second signal.
    """
    from streamlb.process import control

    raise SystemExit(control.run(file))


@main.command()
@click.option(
    "--listen", "listen", multiple=True, required=True, metavar="ADDRESS", help="host:port, also /tcp and /udp."
)
@click.option("--name", default="whoami", show_default=True, help="The name it answers with.")
@click.option("--text", help="Answer plain HTTP requests with this line instead of the request.")
@click.option("--quiet", is_flag=True, help="Do not print a line per request.")
def whoami(listen: tuple[str, ...], name: str, text: str | None, quiet: bool) -> None:
    """An example server that tells who it is and what it was asked, over HTTP, TCP and UDP."""
    from streamlb.whoami.identity import Identity, parse_address
    from streamlb.whoami.server import serve

    try:
        addresses = [parse_address(address) for address in listen]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--listen") from error
    raise SystemExit(serve(addresses, Identity(name, text, quiet)))


@main.command()
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
    encoding = sys.stdout.encoding or "utf-8"  # a report must not fail for a letter the terminal lacks.
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), nl=False, color=True)
    raise SystemExit(0 if valid else 1)


def wants_colour(stream: TextIO) -> bool:
    """Colours are for terminals, and for those who did not say no (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


if __name__ == "__main__":
    main()
