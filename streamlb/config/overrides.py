"""What must hold for the overrides of weighted services.

What lives here: what an override looks at, and where it leads. What must not: how it is followed (`balance/`).
Called by `services.py`. Specified by docs/reference.md ("Overrides").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlb.config.model import qualify
from streamlb.config.near import did_you_mean
from streamlb.config.strategies import check_name

if TYPE_CHECKING:
    from streamlb.config.model import Weighted
    from streamlb.config.reading import Path, Reading


def check_overrides(path: Path, weighted: Weighted, reading: Reading) -> None:
    referrer = str(path[-2])
    children = [child.name for child in weighted.services]
    known = {qualify(name, referrer) for name in children}
    for index, override in enumerate(weighted.overrides):
        where = (*path, "overrides", index)
        if reading.is_broken(where):
            continue
        given = [key for key in ("header", "cookie") if reading.has((*where, key))]
        if len(given) != 1:
            has = "both are given" if given else "neither is given"
            reading.error(
                where, f"an override looks at a `header` or a `cookie`; {has}", "make two of it" if given else ""
            )
            continue
        criterion = override.header or override.cookie
        if criterion is not None and not reading.is_broken((*where, given[0])):
            check_name((*where, given[0], "name"), given[0], criterion.name, reading)
        if qualify(override.service, referrer) not in known and not reading.is_broken((*where, "service")):
            reason = f"`{override.service}` is none of the services this one chooses from"
            suggestion = (
                did_you_mean(override.service, children) or "list it under `services`, with `weight: 0` if need be"
            )
            reading.error((*where, "service"), reason, suggestion)
