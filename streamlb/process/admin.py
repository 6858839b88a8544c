"""The admin sockets of the control process: one for those who steer it, a private one for what workers pass on.

What lives here: `Admin`, when they are made, served and given up. What must not: how (`admin/`), what is answered
(`process/steering.py`). Owned by `process/control.py`. Specified in docs/reference.md ("Steering").

Both are bound at once, so that callers wait rather than fail, and served when the workers are ready: what HTTP needs is
loaded then, in a thread, since neither a start nor a signal is to wait for it.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from streamlb.admin.sockets import UnavailableError, claim, discard, private
from streamlb.config.places import socket_path
from streamlb.errors import StartError
from streamlb.net.tasks import spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.routing import Route

    from streamlb.admin.office import Office
    from streamlb.admin.server import Server
    from streamlb.admin.sockets import Claimed
    from streamlb.config.observation import Steering as Options

log = logging.getLogger(__name__)

GIVING_UP_TIMEOUT = 5.0
"""Seconds that answers under way have when another socket takes over."""
RETRY_INTERVAL = 2.0
"""Seconds until a default socket is tried for again that another process has."""
WHAT_IT_NEEDS = ("streamlb.admin.app", "streamlb.admin.server")


class Admin:
    """The admin sockets; `make_office`, and privately `private_routes`, make what is behind them when it is needed.

    succeeds: this process takes over from another one, its socket included.
    """

    def __init__(
        self,
        make_office: Callable[[], Office],
        *,
        private_routes: Callable[[], list[Route]] = list,
        environ: Mapping[str, str] = os.environ,
        succeeds: bool = False,
    ) -> None:
        # process
        self._make_office = make_office
        self._private_routes = private_routes
        self._environ = environ
        self._succeeds = succeeds
        self._serves = False
        self._stopped = False
        self._servers: dict[Claimed, Server] = {}
        self._private: Claimed | None = None
        # configuration
        self._wanted = ""
        self._claimed: Claimed | None = None
        self._retry: asyncio.TimerHandle | None = None

    @property
    def path(self) -> str:
        """Where the socket is; empty where there is none."""
        return str(self._claimed.path) if self._claimed is not None else ""

    def open(self, options: Options) -> None:
        """Bind the socket. Raises StartError where one was asked for that cannot be had.

        A successor waits until it serves: it may not get that far, and its predecessor goes on then.
        """
        self._wanted = options.socket
        if self._succeeds:
            return
        try:
            self._claim()
        except UnavailableError as error:
            if options.socket:
                raise StartError(f"ctl.socket {options.socket} cannot be used: {error}") from error
            self._complain(error)

    def adopt(self, options: Options) -> list[str]:
        """The configuration may name another socket now; why it cannot be had."""
        if options.socket == self._wanted:
            return []
        former = self._claimed
        self._wanted, wanted = options.socket, self._wanted
        try:
            self._claim()
        except UnavailableError as error:
            self._wanted = wanted
            return [f"ctl.socket {options.socket} cannot be used: {error}"]
        if former is not None:
            self._give_up(former)
        return []

    def private_path(self) -> str:
        """Where workers may bring what is for this process. Raises StartError."""
        if self._private is None:
            try:
                self._private = private()
            except UnavailableError as error:
                raise StartError(f"no private socket can be made: {error}") from error
            if self._serves:
                spawn(self._serve(), "admin sockets")
        return str(self._private.path)

    async def serve(self) -> None:
        """Serve what is bound, from now on."""
        self._serves = True
        if self._succeeds:
            try:
                self._claim()
            except UnavailableError as error:
                self._complain(error)
        await self._serve()

    def stop(self) -> None:
        """Give everything up."""
        self._stopped = True
        if self._retry is not None:
            self._retry.cancel()
        if self._claimed is not None:
            self._give_up(self._claimed)
        if self._private is not None:
            server = self._servers.pop(self._private, None)
            if server is not None:
                server.stop()
            discard(self._private)

    # --- inside --------------------------------------------------------------------------------------------------

    def _claim(self) -> None:
        path = self._wanted or socket_path(self._environ, os.geteuid())
        self._claimed = claim(Path(path), succeeds=self._succeeds)
        if self._serves:
            spawn(self._serve(), "admin sockets")

    def _give_up(self, claimed: Claimed) -> None:
        claimed.release()
        server = self._servers.pop(claimed, None)
        if server is not None:
            # Whoever asked for this is still to hear what became of it.
            asyncio.get_running_loop().call_later(GIVING_UP_TIMEOUT, server.stop)

    def _complain(self, error: UnavailableError) -> None:
        path = socket_path(self._environ, os.geteuid())
        if error.is_taken:
            log.warning("%s: %s; `streamlb ctl` will reach this one when that one is gone", path, error)
            self._retry = asyncio.get_running_loop().call_later(RETRY_INTERVAL, self._try_again)
        else:
            log.warning("`streamlb ctl` cannot reach this process: %s: %s", path, error)

    def _try_again(self) -> None:
        if self._stopped or self._wanted:
            return
        try:
            self._claim()
        except UnavailableError:
            self._retry = asyncio.get_running_loop().call_later(RETRY_INTERVAL, self._try_again)
        else:
            log.info("`streamlb ctl` reaches this process at %s", self.path)

    @functools.cached_property
    def _office(self) -> Office:
        return self._make_office()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(_load)
        app, server = importlib.import_module(WHAT_IT_NEEDS[0]), importlib.import_module(WHAT_IT_NEEDS[1])
        for claimed in (self._claimed, self._private):
            if claimed is None or claimed in self._servers or self._stopped:
                continue
            behind = app.make(self._private_routes()) if claimed is self._private else app.steering(self._office)
            serving = self._servers[claimed] = server.Server(behind, claimed.sock)
            await serving.start(loop)


def _load() -> None:
    for name in WHAT_IT_NEEDS:
        importlib.import_module(name)
