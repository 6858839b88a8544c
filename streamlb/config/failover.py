"""What must hold for failover services.

What lives here: the two services of one, the statuses that count as failures.
What must not: what happens at a failure (`balance/failover.py`). Called by `services.py`.
Specified by Traefik's failover service and docs/reference.md ("Failover").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlb.config.model import Failover
    from streamlb.config.reading import Path, Reading

STATUSES = re.compile(r"([1-9][0-9]{2})(?:-([1-9][0-9]{2}))?")


def check_failover(path: Path, failover: Failover, reading: Reading) -> None:
    if failover.service == failover.fallback and not reading.is_broken((*path, "service")):
        reason = "the fallback is the main service itself"
        reading.error((*path, "fallback"), reason, "name another service")
    if failover.errors is None or reading.is_broken((*path, "errors")):
        return
    where = (*path, "errors", "status")
    for index, text in enumerate(failover.errors.status):
        _check_status((*where, index), text, reading)
    if not failover.errors.status and not reading.is_broken(where):
        reason = "there is no status that would count as a failure"
        reading.error(where, reason, 'for example `status: ["500-504", "429"]`', at_key=True)


def _check_status(path: Path, text: str, reading: Reading) -> None:
    found = STATUSES.fullmatch(text)
    if found is None:
        reading.error(path, "expected a status such as `503`, or a range such as `500-504`")
        return
    first, last = int(found[1]), int(found[2] or found[1])
    if not 200 <= first <= 599 or not 200 <= last <= 599:
        reading.error(path, "the status of an answer is from 200 to 599")
    elif first > last:
        reading.error(path, "the range ends before it begins", f"write `{last}-{first}`")
