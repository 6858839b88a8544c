"""Configurations of several files, written and read in one line."""

from __future__ import annotations

import os
from textwrap import dedent
from typing import TYPE_CHECKING

from streamlb.config.sources import Sources
from streamlb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from streamlb.config.assembly import Judges, Loaded
    from streamlb.errors import Problem

MAIN = "entryPoints: {web: {address: ':8000'}}\n"


def app(*names: str) -> str:
    """HTTP routers with a service each."""
    routers = "".join(f"    {name}: {{rule: Host(`{name}`), service: {name}}}\n" for name in names)
    server = "loadBalancer: {servers: [{url: 'http://127.0.0.1:1'}]}"
    services = "".join(f"    {name}: {{{server}}}\n" for name in names)
    return f"http:\n  routers:\n{routers}  services:\n{services}"


class Files:
    """Files of a test's directory, and the sources made of them."""

    def __init__(self, folder: Path, texts: Mapping[str, str], *start: str, judges: Judges | None = None) -> None:
        self.folder = folder
        self.write(texts)
        paths = [folder / each for each in start] or [folder]
        self.sources = Sources(paths, judges, environ={"PORT": "8001", "EMPTY": "", "API_TOKEN": "hush"})

    def write(self, texts: Mapping[str, str]) -> None:
        for name, text in texts.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))

    def remove(self, *names: str) -> None:
        for name in names:
            (self.folder / name).unlink()

    def read(self) -> Loaded:
        return self.sources.read()

    def problems(self) -> list[str]:
        """Why they cannot be read, each as `file:line:column path | reason | suggestion`."""
        try:
            self.read()
        except ConfigError as error:
            return [self.line_of(problem) for problem in error.problems]
        return []

    def routers(self) -> list[str]:
        return sorted(self.read().config.http.routers)

    def reread(self) -> tuple[list[str], list[str], list[str]]:
        """The HTTP routers, the problems in short, the names of files that were kept."""
        found = self.sources.reread()
        problems = [self.line_of(problem) for problem in found.problems]
        kept = [os.path.relpath(path, self.folder) for path in found.kept]
        return sorted(found.loaded.config.http.routers), problems, kept

    def line_of(self, problem: Problem) -> str:
        position = str(problem.position).replace(f"{self.folder}/", "").replace(str(self.folder), ".")
        text = f"{position} {problem.path} | {problem.reason} | {problem.suggestion}"
        return text.replace(f"{self.folder}/", "")
