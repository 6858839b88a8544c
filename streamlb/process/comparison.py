"""A configuration in files beside that of a running streamlb.

What lives here: `changes`. What must not: asking for it (`cli/client.py`), finding differences (`config/diff.py`).
Called by `streamlb check --diff-running`. Specified in docs/reference.md ("Reload").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from streamlb.config.diff import diff, sealed, texts
from streamlb.config.model import Config
from streamlb.config.tls import DEFAULT_OPTIONS
from streamlb.process.configuration import add_default_certificate

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_CHANGES = 10_000
"""Lines; who asks for them wants them all."""


def changes(running: Mapping[str, Any], config: Config) -> list[str]:
    """What a reload would change in a streamlb that serves `running`, which is what it says itself, in lines."""
    served = msgspec.convert(running, Config)
    is_completed = add_default_certificate(config)
    ours = sealed(config)
    if is_completed and DEFAULT_OPTIONS in served.tls.stores:
        # Each process makes its own, and keeps it.
        ours.tls.stores[DEFAULT_OPTIONS] = served.tls.stores[DEFAULT_OPTIONS]
    return texts(diff(served, ours), MAX_CHANGES)
