"""What a case of the differential is, the reasons that several share, and how the docs show them.

What lives here: `Case`, reasons, `table`. What must not: the cases (`requests.py`, `bodies.py`, `answers.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.http import Script


@dataclass(slots=True, frozen=True)
class Case:
    """A request or an answer and what comes of it, in the words of `Proxy.request` and `Proxy.answer`.

    nginx, haproxy: what they do, where it is not what streamlb does; why: the reason for what streamlb does.
    show: fields that count. method: of the request that is answered.
    """

    sent: Script
    streamlb: str
    nginx: str = ""
    haproxy: str = ""
    why: str = ""
    show: tuple[str, ...] = ()
    method: str = "POST"

    def expected(self, proxy: str) -> str:
        return {"nginx": self.nginx, "haproxy": self.haproxy}.get(proxy, "") or self.streamlb


def table(section: dict[str, Case]) -> str:
    """The differences of a section, in Markdown."""
    rows = ["| sent | streamlb | nginx | HAProxy | why |", "|---|---|---|---|---|"]
    for name, case in section.items():
        if case.why:
            outcomes = [_cell(case.expected(proxy)) for proxy in ("streamlb", "nginx", "haproxy")]
            rows.append(" | ".join([f"| {name}", *outcomes, f"{case.why} |"]))
    return "\n".join(rows) + "\n"


def _cell(outcome: str) -> str:
    ticks = "``" if "`" in outcome else "`"
    return f"{ticks}{' ' * (len(ticks) - 1)}{outcome}{' ' * (len(ticks) - 1)}{ticks}".replace("|", "\\|")


# --- reasons -----------------------------------------------------------------------------------------------------

ONE_SPELLING = "a rule and a server see one spelling, so no rule is got around; see `sanitizePath`"
NO_URL = "not a character of a URL; escaped, it cannot be taken for something else"
EXACT_LINE = "one space between the parts, or a reader may cut the line elsewhere"
ANY_METHOD = "any token is a method, and methods have a case (RFC 9110 section 9.1)"
NEEDS_HOST = "a server of HTTP/1.1 must get a Host, so it gets its own"
LF_ENDS = "a line ends with CRLF for everybody, or it may end for one reader and not for the next"
NO_CONTROLS = "control characters end a value for some readers"
NO_FIELD = "what is not a field is not passed over: another reader may see one"
BAD_HOST = "not a host; what is made of it differs from reader to reader"
TWO_FRAMINGS = "two framings, or two lengths, are how requests are smuggled"
OTHER_CODINGS = "only a body in `chunked`, and nothing else, has an end that all see"
EXACT_CHUNKS = "readers that are lenient in different ways see different chunks"
HOP = "about the connection to the proxy, not about the request (RFC 9110 section 7.6.1)"
NOT_HTTP = "what is not HTTP/1 is not passed on as if it were"
