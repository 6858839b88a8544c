"""`streamlb schema`.

What lives here: the command, and where the reference lies whose words the schema borrows.
What must not: the schema (`config/schema.py`), reading the reference's tables (`config/glossary.py`).
"""

from __future__ import annotations

import json
from pathlib import Path

import click

import streamlb

PAGES = ("reference.md", "logs.md", "metrics.md")


@click.command(short_help="A JSON Schema of the configuration, for editors.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE instead of stdout.")
def schema(out: Path | None) -> None:
    """Print a JSON Schema (draft-07) of the configuration: every key with its values, its default and what it does.

    Editors with a YAML language server (VS Code, Neovim, Emacs, Helix, Kate) complete and check as you type:

    \b
      streamlb schema --out streamlb.schema.json

    and then, as the first line of the YAML file:

    \b
      # yaml-language-server: $schema=./streamlb.schema.json

    The schema knows how values look, not what they refer to: `streamlb check` knows both.
    """
    from streamlb.config import glossary
    from streamlb.config.schema import MODELINE
    from streamlb.config.schema import schema as make

    text = json.dumps(make(glossary.read(reference()).describe), indent=2, ensure_ascii=False) + "\n"
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"cannot write {out}: {error.strerror or error}") from None
    click.echo(f"Wrote {out}. As the first line of a configuration:\n{MODELINE}{out.resolve()}", err=True)


def reference() -> str:
    """The text of the pages with options, which a wheel carries inside the package; empty when they are not there."""
    package = Path(streamlb.__file__).parent
    found = [package / "docs" / page for page in PAGES] + [package.parent / "docs" / page for page in PAGES]
    return "\n".join(path.read_text(encoding="utf-8") for path in found if path.is_file())
