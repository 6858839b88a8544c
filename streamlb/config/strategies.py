"""What must hold for strategies and what they hash.

What lives here: which strategy means something for which protocol, `hashBy`.
What must not: how a strategy chooses (`balance/`). Called by `services.py`.
Specified by docs/reference.md ("Strategies").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlb.config.model import HashBy, LoadBalancer
    from streamlb.config.reading import Path, Reading

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""Names of fields and cookies (RFC 9110 section 5.6.2, RFC 6265 section 4.1.1)."""


def check_strategy(protocol: str, path: Path, balancer: LoadBalancer, reading: Reading) -> None:
    if protocol == "udp" and balancer.strategy == "leasttime":
        reason = "datagrams have no answers whose time could be taken"
        reading.error((*path, "strategy"), reason, "`p2c` looks at the flows each server has")
    if balancer.hash_by is None:
        return
    if balancer.strategy != "hrw" and not reading.is_broken((*path, "strategy")):
        reason = f"nothing is hashed by the strategy `{balancer.strategy}`"
        reading.error((*path, "hashBy"), reason, "`strategy: hrw` hashes", at_key=True)
    check_hash_by((*path, "hashBy"), balancer.hash_by, reading)


def check_hash_by(path: Path, hash_by: HashBy | None, reading: Reading) -> None:
    if hash_by is None or reading.is_broken(path):
        return
    given = [key for key in ("header", "cookie") if reading.has((*path, key))]
    if len(given) != 1:
        has = "both are given" if given else "neither is given"
        suggestion = "remove one" if given else "without `hashBy` the client's address is hashed"
        reading.error(path, f"what is hashed is a `header` or a `cookie`; {has}", suggestion, at_key=True)
        return
    check_name((*path, given[0]), given[0], hash_by.header or hash_by.cookie, reading)


def check_name(path: Path, what: str, name: str, reading: Reading) -> None:
    """The name of a `header` or `cookie`."""
    if not TOKEN.fullmatch(name):
        reading.error(path, f"a {what}'s name takes letters, digits and !#$%&'*+-.^_`|~ only")
