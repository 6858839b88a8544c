"""What is counted one by one: the names of these counters, and what their labels mean.

What lives here: `COUNTS` and `REASONS`. What must not: what is counted in blocks of many numbers (`proxy/ledger.py`,
`proxy/raw_ledger.py`), how anything is shown (`observe/series.py`). Read by `books.py`, which forgets what belongs to
parts of the configuration that are gone, and by `series.py`.
"""

from __future__ import annotations

from typing import Final

ENTRY_POINT: Final = "entrypoint"
ROUTER: Final = "router"
SERVICE: Final = "service"
SERVER: Final = "url"
REASON: Final = "reason"
"""One of a few words of ours."""


COUNTS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "access_log_lines": ("", ("outcome",)),
    "http_refused": ("http", (ENTRY_POINT, "code")),
    "http_dialled": ("http", (SERVICE, SERVER)),
    "http_retried": ("http", (SERVICE,)),
    "http_failed": ("http", (SERVICE, SERVER)),
    "http_fell_back": ("http", (SERVICE, "fallback")),
    "http_queue_refused": ("http", (SERVICE, REASON)),
    "http_sticky": ("http", (SERVICE, "outcome")),
    "http_mirrored": ("http", (ENTRY_POINT, SERVICE, "outcome")),
    "tcp_dropped": ("tcp", (ENTRY_POINT, ROUTER, REASON)),
    "tcp_failed": ("tcp", (SERVICE, SERVER)),
    "tcp_mirrored": ("tcp", (ENTRY_POINT, SERVICE, "outcome")),
    "udp_dropped": ("udp", (ENTRY_POINT, ROUTER, REASON)),
    "udp_evicted": ("udp", (ENTRY_POINT,)),
    "udp_refused": ("udp", (ENTRY_POINT,)),
    "udp_mirrored": ("udp", (ENTRY_POINT, SERVICE, "outcome")),
}
"""By family: the protocol it belongs to, and the names of its labels."""
