"""What an HTTP exchange may take: the timeouts of routers, services and transports, made one.

What lives here: `Limits`, complete, one per load balancer, and `Override`, what a router puts over them.
What must not: clocks, deadlines; the proxy holds exchanges to them. Built by `build.py`, read once per request.
Specified in docs/reference.md, "Timeouts of routers and services".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from streamlb.config.model import Timeouts

ANY_TIME: Final = float("inf")


class Limits:
    """Seconds, `ANY_TIME` where there is no limit.

    request: from a request's head to the last byte of its answer. first_byte: from the end of the request to the head
    of the answer. answer, tunnel, upload: without a byte of the answer, of a tunnel, of the request's body; upload
    None is what the entry point says.
    """

    __slots__ = ("answer", "first_byte", "request", "tunnel", "upload")

    def __init__(
        self,
        *,
        request: float = ANY_TIME,
        first_byte: float = ANY_TIME,
        answer: float = ANY_TIME,
        tunnel: float = ANY_TIME,
        upload: float | None = None,
    ) -> None:
        self.request = request
        self.first_byte = first_byte
        self.answer = answer
        self.tunnel = tunnel
        self.upload = upload

    def under(self, timeouts: Timeouts | None) -> Limits:
        """These limits with what `timeouts` says instead."""
        if timeouts is None:
            return self
        idle = timeouts.idle
        return Limits(
            request=_seconds(timeouts.request, self.request),
            first_byte=_seconds(timeouts.first_byte, self.first_byte),
            answer=_seconds(idle, self.answer),
            tunnel=_seconds(idle, self.tunnel),
            upload=self.upload if idle is None else _seconds(idle, ANY_TIME),
        )


class Override:
    """What a router says, and the service it names: put over the limits of whichever load balancer is picked.

    Remembers its answers, one per load balancer, so that a request costs a lookup.
    """

    __slots__ = ("_known", "_timeouts")

    def __init__(self, *timeouts: Timeouts) -> None:
        self._timeouts = timeouts  # the last one wins
        self._known: dict[Limits, Limits] = {}

    def over(self, limits: Limits) -> Limits:
        known = self._known.get(limits)
        if known is None:
            known = limits
            for timeouts in self._timeouts:
                known = known.under(timeouts)
            self._known[limits] = known
        return known


def _seconds(said: float | None, otherwise: float) -> float:
    """What was said, 0 being no limit."""
    return otherwise if said is None else said or ANY_TIME
