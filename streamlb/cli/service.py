"""`streamlb healthcheck`: what looks after a running streamlb from outside.

What lives here: the command and its options. What must not: asking (`process/healthcheck.py`).
"""

from __future__ import annotations

import click


@click.command(short_help="Ask a running streamlb whether it is well.")
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path())
@click.option("--url", help="Where to ask, instead of where a configuration has its `ping`.")
def healthcheck(paths: tuple[str, ...], url: str | None) -> None:
    """Ask the streamlb that serves the configuration PATHS whether it is well: HEAD on its `/ping`, five seconds.

    Without PATHS and --url it is asked at http://127.0.0.1:8080/ping, where `ping: {}` puts it.

    Exit code 0 and `OK: URL` when the answer is 200; 1 when it is not, or there is none, or the configuration has no
    `ping`. For the HEALTHCHECK of a container, for keepalived, for scripts.
    """
    from streamlb.config.report import render
    from streamlb.errors import ConfigError
    from streamlb.process.configuration import open_sources
    from streamlb.process.healthcheck import DEFAULT_URL, UnansweredError, ask, url_of

    if url is not None and paths:
        raise click.UsageError("--url says where to ask; no configuration is needed then")
    try:
        asked = url or (url_of(open_sources(paths).read().config) if paths else DEFAULT_URL)
        ask(asked)
    except ConfigError as error:
        click.echo(render(error.problems, False), err=True, nl=False)
        raise SystemExit(1) from None
    except UnansweredError as error:
        click.echo(f"streamlb healthcheck: {error}", err=True)
        raise SystemExit(1) from None
    click.echo(f"OK: {asked}")
