"""How the model's fields are called in YAML.

What lives here: Traefik's spelling of a field's name, and what tells pydantic to read it so.
What must not: the model itself. Used by `static.py`, `tls.py` and `model.py`.
"""

from __future__ import annotations

from typing import Any

SPELLINGS = {"ips": "IPs", "cas": "CAs", "http2": "HTTP2"}


def to_camel(name: str) -> str:
    """`entry_points` -> `entryPoints`: a field's name in YAML."""
    head, *rest = name.split("_")
    return head + "".join(SPELLINGS.get(word, word.capitalize()) for word in rest)


SETTINGS: Any = {"extra": "forbid", "alias_generator": to_camel}
"""How pydantic reads the classes of the model: YAML's spelling, no unknown keys."""


class Derived:
    """Marks a field that YAML cannot say: the check fills it in."""
