"""The manual page, made of what the commands say of themselves.

What lives here: click's commands as roff. What must not: words about commands; those are the commands' own.
Called by `streamlb man`. Specified by man-pages(7).
"""

from __future__ import annotations

import inspect
import re

import click

CODE = re.compile(r"`([^`]+)`")


def manual(main: click.Command, version: str) -> str:
    """The page of `main` and all its commands."""
    context = click.Context(main, info_name="streamlb")
    lines = [
        f'.TH STREAMLB 1 "" "streamlb {version}" "User Commands"',
        ".SH NAME",
        "streamlb \\- an L4/L7 proxy and load balancer",
        ".SH SYNOPSIS",
        ".B streamlb",
        ".I COMMAND",
        "[\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]",
        ".SH DESCRIPTION",
        *_paragraphs(main.help or ""),
        ".SH COMMANDS",
        *_commands(main, context),
        ".SH SIGNALS",
        *_paragraphs(_SIGNALS),
        ".SH FILES AND OPTIONS OF THE CONFIGURATION",
        *_paragraphs(_MORE),
    ]
    return "\n".join(lines) + "\n"


_SIGNALS = """\
TERM and INT: stop taking connections, let work in flight finish, end; a second one ends at once. HUP: read the
configuration again. USR1: open the log files anew."""
_MORE = "All options are described in the reference; `streamlb schema` has them for editors."


def _commands(command: click.Command, context: click.Context) -> list[str]:
    if not isinstance(command, click.Group):
        return []
    lines: list[str] = []
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        if inner is None or inner.hidden:
            continue
        inside = click.Context(inner, info_name=name, parent=context)
        pieces = inner.collect_usage_pieces(inside)
        lines += [f".SS {_escaped(' '.join([inside.command_path, *pieces]))}"]
        lines += _paragraphs(inspect.cleandoc(inner.help or ""))
        lines += _options(inner, inside)
        lines += _commands(inner, inside)
    return lines


def _options(command: click.Command, context: click.Context) -> list[str]:
    lines: list[str] = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, click.Option) and "--help" not in record[0]:
            lines += [".TP", f".B {_escaped(record[0])}", _escaped(record[1])]
    return lines


def _paragraphs(text: str) -> list[str]:
    r"""Paragraphs; one that begins with `\b` stands as it is."""
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("\b"):
            lines += [".PP", ".nf", *(_escaped(line) for line in paragraph.split("\n")[1:]), ".fi"]
        else:
            lines += [".PP", _escaped(" ".join(paragraph.split()))]
    return lines


def _escaped(text: str) -> str:
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    safe = f"\\&{plain}" if plain.startswith((".", "'")) else plain
    return CODE.sub(r"\\fB\1\\fR", safe)
