"""The listening sockets of all workers, by address: bound before anybody is told to use them, kept while they are used.

What lives here: `Sockets`, and `Plan`, the sockets of one configuration. What must not: options of a single socket
(`net/address.py`). Called by `process/control.py`, so that whatever is wrong with an address is known before anything
has changed. SO_REUSEPORT (socket(7)) gives each worker a queue of its own; the kernel spreads connections over them.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from streamlb.errors import StartError
from streamlb.net.address import Address, bind, parse_address
from streamlb.process.inheritance import Inheritance

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamlb.config.model import Config

    Key = tuple[str, Address]
    """An address; where the system chooses the port, of one entry point."""
    Group = list[socket.socket]
    """The sockets of an address, by worker."""


class Sockets:
    """All listening sockets of this process. It owns them; who stops listening for good calls `close`."""

    def __init__(self, inheritance: Inheritance | None = None) -> None:
        """inheritance: sockets that listen already, which are used before any are made."""
        # process
        self.inheritance = inheritance or Inheritance()
        self.groups: dict[Key, Group] = {}

    def plan(self, config: Config, workers: int) -> Plan:
        """The sockets for a configuration. Raises StartError, with everything as it was before."""
        wanted: dict[str, Key] = {}
        for name, entry_point in config.entry_points.items():
            address = parse_address(entry_point.address)
            wanted[name] = ("" if address.port else name, address)
        plan = Plan(self, workers)
        leaving = [sock for key, group in self.groups.items() if key not in wanted.values() for sock in group]
        leaving += self.inheritance.rest
        try:
            for name, key in wanted.items():
                plan.add(name, key, leaving)
        except BaseException:
            plan.abandon()
            raise
        return plan

    def close(self) -> None:
        for group in self.groups.values():
            _close(group)
        self.groups.clear()


class Plan:
    """What a configuration listens on; in the end it is either `commit`ted or `abandon`ed.

    slots: for each worker, a socket per entry point.
    """

    def __init__(self, sockets: Sockets, workers: int) -> None:
        # take-over
        self.slots: list[dict[str, socket.socket]] = [{} for _ in range(workers)]
        self._sockets = sockets
        self._workers = workers
        self._groups: dict[Key, Group] = {}
        self._fresh: list[socket.socket] = []

    def add(self, name: str, key: Key, leaving: Iterable[socket.socket]) -> None:
        """Find or make the sockets of an entry point. `leaving`: those of ours that this plan does not need."""
        known = [] if key in self._groups else self._sockets.groups.get(key, [])[: self._workers]
        group = list(known) or self._inherited(name, key[1]) or [self._first(name, key[1], leaving)]
        self._groups[key] = group
        if len(group) < self._workers:
            self._multiply(name, key[1], group)
        for slot, sock in zip(self.slots, group, strict=False):
            slot[name] = sock

    def commit(self) -> bool:
        """These are the sockets from now on; those that are not among them are closed. Whether there were any."""
        used = {id(sock) for group in self._groups.values() for sock in group}
        gone = [sock for group in self._sockets.groups.values() for sock in group if id(sock) not in used]
        _close(gone)
        self._sockets.groups = self._groups
        return bool(gone)

    def abandon(self) -> None:
        """All stays as it was."""
        _close(self._fresh)

    # --- making sockets --------------------------------------------------------------------------------------------

    def _inherited(self, name: str, address: Address) -> Group:
        group = self._sockets.inheritance.take(name, address)
        self._fresh += group
        # Nobody would accept what the kernel gives to the rest.
        _close(group[self._workers :])
        return group[: self._workers]

    def _first(self, name: str, address: Address, leaving: Iterable[socket.socket]) -> socket.socket:
        """The first socket of an address; it does not share, so it finds out whether somebody else listens there."""
        try:
            sock = bind(address, name=name)
        except StartError:
            # Perhaps it is only ourselves, under a wider or a narrower address that is about to go.
            kind = socket.SOCK_DGRAM if address.kind == "udp" else socket.SOCK_STREAM
            ours = [each for each in leaving if each.type == kind and each.getsockname()[1] == address.port]
            if not ours:
                raise
            _let_share(ours)
            sock = bind(address, name=name, reuse_port=True)
        self._fresh.append(sock)
        return sock

    def _multiply(self, name: str, address: Address, group: Group) -> None:
        """As many sockets as there are workers. Who has bound alone may let those of the same user join afterwards."""
        # Who comes while there is no streamlb waits in the queue of a socket that systemd keeps, and in no other: it
        # stays the only one, and all workers accept from it.
        is_kept = address.kind == "tcp" and self._sockets.inheritance.is_held(group[0])
        if not is_kept:
            _let_share(group)
        chosen = address._replace(port=group[0].getsockname()[1])
        while len(group) < self._workers:
            sock = group[0].dup() if is_kept else bind(chosen, name=name, reuse_port=True)
            self._fresh.append(sock)
            group.append(sock)


def _let_share(group: Iterable[socket.socket]) -> None:
    for sock in group:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def _close(group: Iterable[socket.socket]) -> None:
    for sock in group:
        sock.close()
