"""`streamlb fmt`.

What lives here: the command, its ways to tell what it would change, and writing a file in its place.
What must not: how a configuration is formatted (`config/format.py`).
"""

from __future__ import annotations

import contextlib
import difflib
import os
import stat
import sys
import tempfile
from typing import TYPE_CHECKING

import click

from streamlb.cli.output import show, wants_colour

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlb.config.tree import Source
    from streamlb.errors import ConfigError

STDIN = "-"


@click.command(short_help="Write configurations in the usual way, comments included.")
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path())
@click.option("--write", is_flag=True, help="Write the files in place; says which ones have changed.")
@click.option("--diff", is_flag=True, help="Show what would change.")
@click.option("--check", is_flag=True, help="Name the files that would change; exit code 1 if there are any.")
def fmt(paths: tuple[str, ...], write: bool, diff: bool, check: bool) -> None:
    """Print the configurations at each PATH as they are usually written: a file, a directory with all YAML files in
    it and below it, or `-` (and nothing at all) for stdin.

    Keys and words get the spelling of the reference, rules double quotes (single ones where they hold a backslash),
    keys at the root their usual order, every level two spaces. Comments, anchors, the order of everything below the
    root and the way values are laid out stay. What the file means stays, too: that is verified each time, and a
    file that could not be rewritten without changing it is left alone.

    Exit code 0 when all is well, 1 when a file cannot be formatted, or would change under --check, 2 wrong usage.
    """
    from streamlb.config.format import format_source
    from streamlb.config.report import render
    from streamlb.errors import ConfigError

    if write and STDIN in (paths or (STDIN,)):
        raise click.UsageError("--write takes files, and stdin is none")
    failed = False
    for source in _sources(paths or (STDIN,)):
        if isinstance(source, ConfigError):
            click.echo(render(source.problems, wants_colour(sys.stderr)), nl=False, err=True)
            failed = True
            continue
        try:
            text = format_source(source)
        except ConfigError as error:
            click.echo(render(error.problems, wants_colour(sys.stderr)), nl=False, err=True)
            failed = True
            continue
        if not (write or diff or check):
            show(text)
        elif text != source.text:
            failed = failed or check
            _tell(source, text, diff=diff, check=check)
            if write:
                failed = not _replace(source.name, text) or failed
    raise SystemExit(1 if failed else 0)


def _sources(paths: tuple[str, ...]) -> Iterator[Source | ConfigError]:
    from streamlb.config.folders import is_folder, walk
    from streamlb.config.load import decode, read_source
    from streamlb.errors import ConfigError, Position, Problem

    for path in paths:
        try:
            names = walk(path).files if is_folder(path) else [path]
        except OSError as error:
            yield ConfigError([Problem(Position(path, 1, 1), "", f"cannot read it: {error.strerror or error}")])
            continue
        for name in names:
            try:
                yield decode("<stdin>", sys.stdin.buffer.read()) if name == STDIN else read_source(name)
            except ConfigError as error:
                yield error


def _tell(source: Source, text: str, *, diff: bool, check: bool) -> None:
    if diff:
        name = source.name
        old, new = source.text.splitlines(keepends=True), text.splitlines(keepends=True)
        for line in difflib.unified_diff(old, new, name, f"{name} (formatted)"):
            show(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    elif check:
        click.echo(f"would change: {source.name}")
    else:
        click.echo(f"changed: {source.name}")


def _replace(name: str, text: str) -> bool:
    """Put the text where the file was, in one step where the file system allows it, behind any symbolic link."""
    path = os.path.realpath(name)
    temporary = ""
    try:
        before = os.stat(path)
        descriptor, temporary = tempfile.mkstemp(prefix=".streamlb-", suffix=".tmp", dir=os.path.dirname(path))
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
            with contextlib.suppress(OSError):
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            if temporary:
                os.unlink(temporary)
        click.echo(f"Error: cannot write {name}: {error.strerror or error}", err=True)
        return False
    return True
