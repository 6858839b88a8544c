"""Answers that need no server: what a router gives itself.

What lives here: `Local`, what such a router has instead of servers, and `Pinging`, which is `ping@internal`.
What must not: rendering answers (`proxy/answers.py`). Built by `tables.py`, asked by `proxy`.
Specified by Traefik's ping page: 200 and `OK`; once the proxy has been told to stop, `terminatingStatusCode`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple, Protocol


class LocalRequest(Protocol):
    """What is asked of the request."""

    @property
    def method(self) -> bytes: ...
    @property
    def host(self) -> bytes:
        """In lower case, without the port."""

    @property
    def target(self) -> bytes:
        """Path and query as they came."""


class LocalAnswer(NamedTuple):
    """location: where to go instead. body: what to say, if that is not what the status says."""

    status: int
    location: bytes = b""
    body: bytes = b""


class Local(Protocol):
    """Answers the requests of a router, at once."""

    def answer(self, request: LocalRequest, terminating: bool) -> LocalAnswer:
        """terminating: whether this worker has been told to finish and end."""


class Pinging:
    """Tells whether this worker is to get new requests. terminating: the status once it is not."""

    __slots__ = ("_terminating",)

    def __init__(self, terminating: int) -> None:
        body = reason_of(terminating).encode()
        self._terminating = LocalAnswer(terminating, body=body)

    def answer(self, request: LocalRequest, terminating: bool) -> LocalAnswer:
        return self._terminating if terminating else FINE


FINE = LocalAnswer(200, body=b"OK")


def reason_of(status: int) -> str:
    """The reason phrase of a status; empty where it has none, which HTTP allows."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
