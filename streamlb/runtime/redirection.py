"""Where requests are sent that came in by the wrong door: the answer of `http.redirections.entryPoint`.

What lives here: `Redirection`, and the router that an entry point gets for it. What must not: rendering answers.
Built by `tables.py`, asked by `proxy`.
Specified by Traefik's entry points page (redirection), RFC 9110 section 15.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from streamlb.errors import InternalError
from streamlb.routing.router import Router
from streamlb.runtime.local import LocalAnswer

if TYPE_CHECKING:
    from streamlb.config import model
    from streamlb.runtime.local import LocalRequest

FIRST: Final = 2**63 - 2
"""The priority of Traefik's own redirection."""
DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


class Redirection:
    """What the host of a request is put between: `origin` is the scheme with its `://`, `port` comes with its colon.

    permanent: clients may remember it. A request other than GET is to be repeated as it was.
    """

    __slots__ = ("_origin", "_permanent", "_port")

    def __init__(self, scheme: str, port: str, *, permanent: bool) -> None:
        self._origin = f"{scheme}://".encode()
        self._port = b"" if port in ("", DEFAULT_PORTS[scheme]) else f":{port}".encode()
        self._permanent = permanent

    def answer(self, request: LocalRequest, terminating: bool) -> LocalAnswer:
        """The same place elsewhere."""
        target = request.target
        path = target if target.startswith(b"/") else b"/"
        return LocalAnswer(self._status(request.method), location=self._origin + request.host + self._port + path)

    def _status(self, method: bytes) -> int:
        if method == b"GET":
            return 301 if self._permanent else 302
        return 308 if self._permanent else 307


def redirecting_router(entry_point: str, config: model.Config) -> Router | None:
    """The router that sends every request of an entry point elsewhere, if it is to."""
    redirections = config.entry_points[entry_point].http.redirections
    if redirections is None:
        return None
    wanted = redirections.entry_point
    redirection = Redirection(wanted.scheme, _port(wanted.to, entry_point, config), permanent=wanted.permanent)
    # Without a host there is nowhere to send anybody.
    rule = "Host(`*`)"
    service: Any = None
    return Router(f"{entry_point}-redirection@internal", rule, service, wanted.priority or FIRST, local=redirection)


def _port(to: str, entry_point: str, config: model.Config) -> str:
    """The port of an entry point, or of `:port`."""
    if to.startswith(":"):
        return to[1:]
    target = config.entry_points.get(to)
    if target is None:
        raise InternalError(f"entry point {entry_point}: it redirects to {to}, which does not exist")
    return target.address.partition("/")[0].rpartition(":")[2]
