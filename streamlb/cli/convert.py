"""`streamlb convert`.

What lives here: the command: reading the foreign file, printing the draft, what was left, and what `check` says to it.
What must not: what foreign words mean (`streamlb/convert/`).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamlb.cli.output import show, wants_colour

if TYPE_CHECKING:
    from streamlb.convert.draft import Draft

MAX_SIZE = 16 * 1024 * 1024  # bytes of a foreign file


@click.command(short_help="Make a configuration of nginx's or HAProxy's.")
@click.argument("kind", type=click.Choice(["nginx", "haproxy"]))
@click.argument("file", type=click.Path())
@click.option("--out", type=click.Path(path_type=Path), metavar="PATH", help="Write to PATH instead of stdout.")
def convert(kind: str, file: str, out: Path | None) -> None:
    """Print what of nginx's or HAProxy's configuration in FILE streamlb can do, as YAML (FILE may be `-` for stdin).

    Comments name the lines where things come from. Every line that was not carried over is told with its reason,
    on stderr and at the end of the YAML: read that list, it says what will be different. The result is a draft.

    nginx's configuration is usually in several files; convert what it prints itself:

    \b
      nginx -T > nginx-all.conf
      streamlb convert nginx nginx-all.conf --out lb.yaml
      streamlb check lb.yaml

    Exit code 0 when the result is valid, 1 when FILE cannot be read, or the result is not valid here (certificates
    that are on another machine, say), 2 wrong usage.
    """
    from streamlb.convert import haproxy, nginx
    from streamlb.convert.draft import ConvertError

    name = "stdin" if file == "-" else os.path.basename(file)
    try:
        draft = (nginx if kind == "nginx" else haproxy).convert(_read(file), name)
    except ConvertError as error:
        raise click.ClickException(f"{file}:{error.line}: {error.reason}") from None
    text = draft.text()
    if not draft.root.get("entryPoints"):
        _tell(draft)
        raise click.ClickException("nothing is listened on there that could be carried over")
    if out is None:
        show(text)
    else:
        try:
            out.write_text(text, encoding="utf-8")
        except OSError as error:
            raise click.ClickException(f"cannot write {out}: {error.strerror or error}") from None
    _tell(draft)
    raise SystemExit(0 if _is_valid(text, out) else 1)


def _read(file: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if file == "-" else _bytes(file)
    except OSError as error:
        raise click.ClickException(f"cannot read {file}: {error.strerror or error}") from None
    if len(raw) > MAX_SIZE:
        raise click.ClickException(f"{file} is bigger than {MAX_SIZE // 1024 // 1024} MiB")
    return raw.decode("utf-8", "replace").replace("\0", "\ufffd")


def _bytes(file: str) -> bytes:
    with open(file, "rb") as opened:
        return opened.read(MAX_SIZE + 1)


def _tell(draft: Draft) -> None:
    if draft.left:
        click.echo(f"Not carried over from {draft.source}:", err=True)
        for each in draft.left:
            click.echo(f"  {each}", err=True)


def _is_valid(text: str, out: Path | None) -> bool:
    from streamlb.config.check import load_text
    from streamlb.config.report import render
    from streamlb.errors import ConfigError
    from streamlb.process.configuration import judges

    name = str(out) if out is not None else "<the result>"
    try:
        loaded = load_text(text, name, judges())
    except ConfigError as error:
        click.echo("The result is not valid here:", err=True)
        click.echo(render(error.problems, wants_colour(sys.stderr)), nl=False, err=True)
        return False
    click.echo(render(loaded.notes, wants_colour(sys.stderr), word="note"), nl=False, err=True)
    return True
