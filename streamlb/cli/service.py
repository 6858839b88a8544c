"""`streamlb healthcheck`, `upgrade`, `unit`: what looks after a running streamlb from outside.

What lives here: the commands and their options. What must not: asking (`process/healthcheck.py`), the texts of files
for other programs (`streamlb/packaging/`).
"""

from __future__ import annotations

import importlib.resources
import json
import os
import shutil
import sys

import click

from streamlb.cli.client import Caller, speaks
from streamlb.cli.output import show

KINDS = ("service", "socket", "logrotate", "sysctl")


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


@click.command(short_help="Have a newly installed streamlb take over from the running one.")
@speaks
def upgrade(socket: str | None, as_json: bool) -> None:
    """Start streamlb anew, with what is installed now and the same arguments, in the place of the running one, and wait
    until it serves. It goes on with the listening sockets, so no client notices; the other finishes what is in flight.

    Exit code 0 when the new process serves, 1 when it does not: then the old one goes on as if nothing had been.
    The same as SIGUSR2, which does not wait.
    """
    said = Caller(socket).post("upgrade")
    show(json.dumps(said) + "\n" if as_json else "\n".join([*said["done"], ""]))


@click.command(short_help="Print files for systemd, logrotate and sysctl.")
@click.argument("kind", type=click.Choice(KINDS), default="service")
@click.option(
    "--config", "path", default="/etc/streamlb", show_default=True, help="The configuration that the service serves."
)
def unit(kind: str, path: str) -> None:
    """Print a file for a system program, with the paths of this installation; where it goes is said in its first line.

    service: streamlb as a service of systemd, with no more rights than it needs. socket: a port that systemd keeps open
    for it. logrotate: how its logs are rotated. sysctl: settings of the kernel for many clients.

    As in: streamlb unit service --config /etc/streamlb/lb.yaml > /etc/systemd/system/streamlb.service
    """
    if "\n" in path or not os.path.isabs(path):
        raise click.BadParameter("a service has no working directory: write an absolute path", param_hint="--config")
    text = importlib.resources.files("streamlb").joinpath("packaging", f"streamlb.{kind}").read_text()
    click.echo(text.replace("@STREAMLB@", _command()).replace("@CONFIG@", _quoted(path)), nl=False)


def _command() -> str:
    """How this streamlb is started, by absolute paths."""
    called = os.path.abspath(sys.argv[0])
    if os.path.basename(called) == "streamlb" and os.access(called, os.X_OK):
        return _quoted(called)
    beside = shutil.which("streamlb", path=os.path.dirname(sys.executable))
    return _quoted(beside) if beside else f"{_quoted(sys.executable)} -m streamlb"


def _quoted(path: str) -> str:
    """A path as systemd reads it (systemd.syntax(7))."""
    path = path.replace("%", "%%").replace("$", "$$")
    if not any(character in path for character in " \t\"'\\;"):
        return path
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
