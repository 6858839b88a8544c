"""The types that options are made of.

What lives here: durations, weights, shares, lists of statuses, and the marks that `shape.py` reads.
What must not: options, validation code. Seconds are floats, sizes are bytes.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le


class Seconds:
    """Marks a float that YAML writes as a Go duration (`300ms`, `1m30s`) or a bare number of seconds."""

    def __init__(self, *, signed: bool = False) -> None:
        self.signed = signed


class OneOrMany:
    """Marks a list that YAML may write as a bare item: `status: 200` for `status: [200]`."""


Duration = Annotated[float, Seconds()]
SignedDuration = Annotated[float, Seconds(signed=True)]
Weight = Annotated[int, Ge(0), Le(1_000_000)]
Percent = Annotated[int, Ge(0), Le(100)]
Times = Annotated[int, Ge(1), Le(1_000)]
StatusRanges = Annotated[list[str], OneOrMany()]
"""`["200-399", "429"]`: status codes and ranges of them."""
