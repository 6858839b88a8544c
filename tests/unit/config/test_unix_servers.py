"""Servers at Unix sockets and buckets of metrics: what is refused, and with what words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamlb.errors import ConfigError
from streamlb.process.configuration import load

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """
entryPoints: {{web: {{address: "127.0.0.1:8000"}}}}
{more}
http:
  routers: {{r: {{rule: "Path(`/`)", service: s}}}}
  services: {{s: {{loadBalancer: {{servers: [{{url: "{url}"{options}}}]}}}}}}
"""


def read(path: Path, url: str = "unix:/run/app.sock", options: str = "", more: str = "") -> str:
    """The problem, or nothing."""
    file = path / "lb.yaml"
    file.write_text(TEXT.format(url=url, options=options, more=more))
    try:
        load(file)
    except ConfigError as error:
        return "; ".join(f"{problem.reason}: {problem.suggestion}" for problem in error.problems)
    return ""


def test_a_unix_socket_is_a_server(tmp_path: Path) -> None:
    assert read(tmp_path) == ""


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("unix:run/app.sock", "", "write `unix:/run/app.sock`"),
        ("unix:///run/app.sock", "", "write `unix:/run/app.sock`"),
        ("UNIX:/run/app.sock", "", "write `unix:/run/app.sock`"),
        ("unix:", "", "for example `unix:/run/app.sock`"),
        ("unix:/" + "x" * 107, "", "at most 107 bytes"),
        ("unix:/a", ", preservePath: true", "has no path"),
        ("unix:/a", ", resolve: all", "no name to resolve"),
    ],
)
def test_what_is_refused(tmp_path: Path, url: str, options: str, words: str) -> None:
    assert words in read(tmp_path, url, options)


@pytest.mark.parametrize(
    ("buckets", "words"),
    [
        ("[]", "1 to 50"),
        ("[0.5, 0.1]", "write [0.1, 0.5]"),
        ("[0.1, 0.1]", "write [0.1]"),
        ("[0, 1]", "more than 0"),
        ("[.inf]", "more than 0"),
    ],
)
def test_buckets(tmp_path: Path, buckets: str, words: str) -> None:
    assert words in read(tmp_path, more=f"metrics: {{prometheus: {{buckets: {buckets}}}}}")


def test_header_labels_are_not_supported(tmp_path: Path) -> None:
    assert "not supported" in read(tmp_path, more="metrics: {prometheus: {headerLabels: {a: b}}}")
