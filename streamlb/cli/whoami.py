"""`streamlb whoami`.

What lives here: the command and its options. What must not: the server (`whoami/`).
"""

from __future__ import annotations

import click


@click.command(short_help="An example server that tells who it is.")
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
