"""What the tests of this folder ask: a draft as plain data, and why a line was left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from streamlb.config.check import load_text
from streamlb.config.format import format_source
from streamlb.config.tree import Source
from streamlb.convert import haproxy, nginx

if TYPE_CHECKING:
    from streamlb.config.model import Config
    from streamlb.convert.draft import Draft


def from_nginx(text: str) -> Draft:
    return tidy(nginx.convert(text, "nginx.conf"))


def from_haproxy(text: str) -> Draft:
    return tidy(haproxy.convert(text, "haproxy.cfg"))


def tidy(draft: Draft) -> Draft:
    """The draft, whose text is formatted already and holds what it should."""
    text = draft.text()
    if draft.root:
        assert format_source(Source("x", text)) == text
    return draft


def config_of(draft: Draft) -> Config:
    """The result as streamlb reads it."""
    return load_text(draft.text()).config


def plain(draft: Draft) -> Any:
    return yaml.safe_load(draft.text())


def reason(draft: Draft, text: str) -> str:
    """Why the line that begins with `text` was left; empty if it was not."""
    found = [each.reason for each in draft.left if each.text.startswith(text)]
    return found[0] if found else ""
