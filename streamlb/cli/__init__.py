"""The command line: `streamlb COMMAND`.

What lives here: `main` and where each command is found. A command lives in the module of its family, which is imported
when the command is asked for; what a command needs is imported when it runs, so that `--help` stays quick.
What must not: what commands do. Exit codes: 0 fine, 1 it failed or is not valid, 2 wrong usage.
"""

from __future__ import annotations

import importlib
from typing import NoReturn

import click

import streamlb

FAMILIES = {
    "run": "run",
    "check": "check",
    "validate": "check",
    "show": "show",
    "fmt": "fmt",
    "schema": "schema",
    "status": "steering",
    "reload": "steering",
    "ctl": "steering",
    "convert": "convert",
    "upgrade": "service",
    "healthcheck": "service",
    "unit": "service",
    "whoami": "whoami",
    "version": "about",
    "environ": "about",
    "completion": "about",
    "man": "about",
}
"""The module of each command, in the order `--help` shows them; a command is called in its module as it is here."""


class Commands(click.Group):
    """A group that imports the module of a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*FAMILIES]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in FAMILIES:
            return None
        module = importlib.import_module(f"{__name__}.{FAMILIES[cmd_name]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in FAMILIES and not args[0].startswith("-"):
            self._refuse(ctx, args[0])
        return super().resolve_command(ctx, args)

    def _refuse(self, ctx: click.Context, name: str) -> NoReturn:
        from streamlb.config.near import did_you_mean

        guess = did_you_mean(name, FAMILIES)
        ctx.fail(f"there is no command {name!r}{'; ' if guess else ''}{guess}")


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(streamlb.__version__, prog_name="streamlb")
def main() -> None:
    """An L4/L7 proxy and load balancer for a bare VM, configured in Traefik's words."""


if __name__ == "__main__":
    main()
