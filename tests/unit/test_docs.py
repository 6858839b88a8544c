"""Every YAML block in the documentation is a configuration that `check` accepts.

A block that shows a part only would teach a mistake; so there are none.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streamlb.process.configuration import load

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE), 1)
]


@pytest.mark.parametrize("block", BLOCKS)
def test_the_yaml_in_the_docs_is_valid(block: str, tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text(block)
    assert load(path).config.entry_points


def test_there_is_yaml_in_the_readme() -> None:
    assert any("README" in str(block.id) for block in BLOCKS)
