"""Asking a running streamlb whether it is to get requests, from outside, as a container's health check does.

What lives here: `url_of`, where `/ping` is, and `ask`. What must not: the answer (`runtime/local.py`).
Called by the command line. Specified by Traefik's `healthcheck`: HEAD, five seconds, 200 is good.
"""

from __future__ import annotations

import http
import http.client
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from streamlb.config.internal import ADDRESS, complete
from streamlb.errors import StreamlbError
from streamlb.net.address import parse_address

if TYPE_CHECKING:
    from streamlb.config.model import Config

TIMEOUT = 5.0
"""Seconds for the connection, and for the answer."""
DEFAULT_URL = f"http://{ADDRESS}/ping"
LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where to reach what listens everywhere."""


class UnansweredError(StreamlbError):
    """There was no good answer."""


def url_of(config: Config) -> str:
    """Where a configuration has its `/ping`. Raises UnansweredError where it has none to be found."""
    if config.ping is None:
        raise UnansweredError("`ping` is not on in this configuration: add `ping: {}`")
    if config.ping.manual_routing:
        raise UnansweredError("with `ping.manualRouting` only you know where it is: say --url")
    entry_point = complete(config).entry_points[config.ping.entry_point]
    address = parse_address(entry_point.address)
    host = LOOPBACK.get(address.host, address.host)
    host = f"[{host}]" if ":" in host else host
    scheme = "http" if entry_point.http.tls is None else "https"
    return f"{scheme}://{host}:{address.port}/ping"


def ask(url: str, timeout: float = TIMEOUT) -> None:
    """Raises UnansweredError, with the reason, unless the answer is 200."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise UnansweredError(f"{url!r} is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise UnansweredError(f"{url!r} is not a URL: write http://HOST:PORT/ping")
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        # Whether it serves is the question, not who it is: it is asked over loopback, by an address.
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=_trusting())
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("HEAD", parts.path or "/", headers={"User-Agent": "streamlb-healthcheck"})
        answer = connection.getresponse()
    except TimeoutError as error:
        raise UnansweredError(f"no answer from {url} within {timeout:g} s") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UnansweredError(f"cannot ask {url}: {getattr(error, 'strerror', None) or error}") from error
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        raise UnansweredError(f"bad status of {url}: {answer.status} {answer.reason}")


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
