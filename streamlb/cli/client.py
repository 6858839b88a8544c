"""Speaking to a running streamlb: HTTP over its Unix socket.

What lives here: `Caller`, and the options of all commands that need one. What must not: what is asked and how it is
shown (`steering.py`, `screen.py`). Specified in docs/reference.md ("Steering").
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlencode

import click

from streamlb.config.places import SOCKET_VARIABLE, sockets_to_try

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "/api/ctl/"
ANSWER_TIMEOUT = 120.0
"""Seconds for an answer; a reload waits for all workers."""


class Caller:
    """Asks one running streamlb. What goes wrong is one line on stderr, and exit code 1."""

    def __init__(self, path: str | None) -> None:
        self._paths = [path] if path else sockets_to_try(os.environ, os.geteuid())
        self._path = ""

    def get(self, what: str, **query: str | int) -> Any:
        asked = {key: value for key, value in query.items() if value != ""}
        return self._call("GET", f"{what}?{urlencode(asked)}" if asked else what, None)

    def post(self, what: str, **body: str | int) -> Any:
        return self._call("POST", what, {key: value for key, value in body.items() if value != ""})

    def _call(self, method: str, what: str, body: dict[str, str | int] | None) -> Any:
        connection = self._connected()
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if os.environ.get("SUDO_USER") and os.geteuid() == 0:
            headers["X-Sudo-User"] = os.environ["SUDO_USER"]
        try:
            content = json.dumps(body).encode() if body is not None else None
            connection.request(method, PREFIX + what, content, headers)
            answer = connection.getresponse()
            received = answer.read()
        except (OSError, http.client.HTTPException) as error:
            reason = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
            fail(f"the streamlb at {self._path} did not answer: {reason}")
        finally:
            connection.close()
        return self._read(answer.status, received)

    def _read(self, status: int, received: bytes) -> Any:
        try:
            content = json.loads(received)
        except ValueError:
            fail(f"what answers at {self._path} is no streamlb")
        if status != 200:
            error = content.get("error", status) if isinstance(content, dict) else status
            hint = content.get("suggestion", "") if isinstance(content, dict) else ""
            fail(f"{error}{'; ' if hint else ''}{hint}")
        return content

    def _connected(self) -> http.client.HTTPConnection:
        """A connection to the first of the places where somebody listens."""
        reasons = []
        for path in [self._path] if self._path else self._paths:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(ANSWER_TIMEOUT)
            try:
                sock.connect(path)
            except OSError as error:
                sock.close()
                reasons.append(f"{path}: {_why(error)}")
                continue
            self._path = path
            connection = http.client.HTTPConnection("streamlb", timeout=ANSWER_TIMEOUT)
            connection.sock = sock
            return connection
        where = "\n  ".join(reasons)
        fail(f"no running streamlb was found (--socket, or {SOCKET_VARIABLE}, says where it is):\n  {where}")


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such socket"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there any more"
    return error.strerror or str(error)


def fail(reason: str) -> NoReturn:
    """Say why, and end with exit code 1."""
    click.echo(f"streamlb: {reason}", err=True)
    raise SystemExit(1)


def speaks(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that speaks to a running streamlb."""
    command = click.option("--json", "as_json", is_flag=True, help="For programs.")(command)
    return click.option(
        "--socket", metavar="PATH", help=f"The socket of the streamlb that is meant; also {SOCKET_VARIABLE}."
    )(command)
