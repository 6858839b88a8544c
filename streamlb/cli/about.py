"""`streamlb version`, `environ`, `completion`, `man`: streamlb about itself.

What lives here: the commands, and which environment variables are looked at. What must not: the manual's layout
(`manual.py`).
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys

import click

import streamlb
from streamlb.cli.output import show

VARIABLES = {
    "STREAMLB_SOCKET": "the socket of `streamlb ctl`, `status` and `reload`, where --socket does not say",
    "STREAMLB_LOOP": "`asyncio`: Python's own event loop instead of uvloop, for comparisons",
    "NO_COLOR": "anything: no colours on terminals (https://no-color.org)",
    "TERM": "`dumb`: no colours either",
    "RUNTIME_DIRECTORY": "systemd's RuntimeDirectory=: the control socket is made there",
    "STATE_DIRECTORY": "systemd's StateDirectory=: what `streamlb ctl` has changed is kept there",
    "XDG_RUNTIME_DIR": "the same for a user's own streamlb: the control socket",
    "HOME": "where that is when XDG_STATE_HOME does not say",
    "XDG_STATE_HOME": "the same for a user's own streamlb: what `streamlb ctl` has changed",
    "SUDO_USER": "set by sudo: under whose name a change by `streamlb ctl` is kept",
    "NOTIFY_SOCKET": "set by systemd: who wants to know of start, reload and stop",
    "WATCHDOG_USEC": "set by systemd: how often it wants a sign of life",
    "WATCHDOG_PID": "set by systemd: whose",
    "LISTEN_FDS": "set by systemd: how many listening sockets are handed over",
    "LISTEN_PID": "set by systemd: to whom",
    "LISTEN_FDNAMES": "set by systemd: which entry points they are for",
    "JOURNAL_STREAM": "set by systemd: whether the log goes to the journal, in whose way it is written then",
}
"""Besides these, a configuration may name any as `${NAME}`."""

LIBRARIES = ("uvloop", "h11", "msgspec", "pydantic", "PyYAML", "google-re2", "cryptography", "uvicorn", "starlette")
SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="Versions of streamlb and of what it stands on.")
def version() -> None:
    """Print the versions of streamlb, Python, OpenSSL, the system and the libraries that matter: what a report of a
    problem should begin with.
    """
    import ssl

    lines = [("streamlb", streamlb.__version__)]
    lines += [("Python", f"{platform.python_version()} ({sys.executable})"), ("OpenSSL", ssl.OPENSSL_VERSION)]
    lines += [("system", f"{platform.system()} {platform.release()} {platform.machine()}")]
    lines += [(name, _version_of(name)) for name in LIBRARIES]
    show("".join(f"{name:<13} {text}\n" for name, text in lines))


def _version_of(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


@click.command(short_help="Environment variables that are looked at, and what they are now.")
def environ() -> None:
    """Print every environment variable that streamlb looks at, what for, and what it is here and now.

    A configuration may name others, as `${NAME}` or `${NAME:-default}`.
    """
    width = max(map(len, VARIABLES))
    for name, purpose in VARIABLES.items():
        value = os.environ.get(name)
        show(f"{name:<{width}}  {purpose}\n{'':<{width}}  {'not set' if value is None else f'is {value!r}'}\n")


@click.command(short_help="Completion of commands and options for a shell.")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes SHELL complete streamlb's commands, options and files with the Tab key.

    \b
      bash  streamlb completion bash > ~/.local/share/bash-completion/completions/streamlb
      zsh   streamlb completion zsh > ~/.zfunc/_streamlb    (with ~/.zfunc in fpath, before compinit)
      fish  streamlb completion fish > ~/.config/fish/completions/streamlb.fish
    """
    from click.shell_completion import get_completion_class

    from streamlb.cli import main

    cls = get_completion_class(shell)
    assert cls is not None
    text = cls(main, {}, "streamlb", "_STREAMLB_COMPLETE").source()
    if shell == "zsh" and not text.startswith("#compdef"):
        text = f"#compdef streamlb\n{text}"
    show(text.rstrip() + "\n")


@click.command(short_help="The manual page.")
def man() -> None:
    """Print the manual page of streamlb and all its commands, for man(1).

    \b
      streamlb man | man -l -
      streamlb man > /usr/local/share/man/man1/streamlb.1
    """
    from streamlb.cli import main
    from streamlb.cli.manual import manual

    show(manual(main, streamlb.__version__))
