"""Writes the tables of docs/differences.md anew: `python -m tests.support.differential`, after a case has changed."""

from __future__ import annotations

from pathlib import Path

from tests.support.differential import answers, bodies, requests
from tests.support.differential.cases import table

PAGE = Path(__file__).resolve().parents[3] / "docs" / "differences.md"

introduction, _, _ = PAGE.read_text().partition("## ")
sections = {**requests.SECTIONS, **bodies.SECTIONS, **answers.SECTIONS}
tables = [f"## {name}\n\n{table(section)}" for name, section in sections.items()]
PAGE.write_text(introduction + "\n".join(tables))
