"""How commands print.

What lives here: what every command needs to know of its terminal. What must not: what is printed.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from typing import TextIO


def show(text: str) -> None:
    """Print to stdout as it stands; a report must not fail for a letter the terminal lacks."""
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), nl=False, color=True)


def wants_colour(stream: TextIO) -> bool:
    """Colours are for terminals, and for those who did not say no (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
