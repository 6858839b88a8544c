"""From the names of strategies to strategies.

What lives here: `Strategies`, which makes the strategy of each balancer. What must not: the tree (`build.py`), how a
strategy chooses (`balance/`). Called by `build.py`. Specified by docs/reference.md ("Strategies").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from streamlb.balance.hashing import Rendezvous, client_key, cookie_key, header_key
from streamlb.balance.latency import Latency
from streamlb.balance.load import LeastBusy, LeastTime, TwoChoices
from streamlb.balance.strategy import Rotation

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlb.balance.selection import Selection, Server
    from streamlb.balance.strategy import Strategy
    from streamlb.balance.tree import Child, TreeNode
    from streamlb.config import model


class Strategies:
    """Makes strategies for worker number `worker` of `workers`; `random` gives numbers in [0, 1)."""

    __slots__ = ("_random", "worker", "workers")

    def __init__(self, worker: int, workers: int, random: Callable[[], float]) -> None:
        self.worker = worker
        self.workers = workers
        self._random = random

    def of_servers(self, balancer: model.LoadBalancer, children: list[Child]) -> Strategy[TreeNode]:
        """The strategy of a load balancer, whose children are servers."""
        servers = [(cast("Server", child.node), child.weight) for child in children]
        match balancer.strategy:
            case "p2c":
                return cast("Strategy[TreeNode]", TwoChoices(servers, self._random))
            case "leastconn":
                return cast("Strategy[TreeNode]", LeastBusy(servers, self.worker, self.workers))
            case "leasttime":
                timed = [(server, weight, latency_of(server)) for server, weight in servers]
                return cast("Strategy[TreeNode]", LeastTime(timed))
            case "hrw":
                return self.rendezvous(children, balancer.hash_by)
        return self.rotation(children)

    def rotation(self, children: list[Child]) -> Strategy[TreeNode]:
        return Rotation([(child.node, child.weight) for child in children], self.worker, self.workers)

    def rendezvous(self, children: list[Child], hash_by: model.HashBy | None) -> Strategy[TreeNode]:
        key: Callable[[Selection], bytes] = client_key
        if hash_by is not None:
            key = header_key(hash_by.header) if hash_by.header else cookie_key(hash_by.cookie)
        return Rendezvous([(child.name, child.node, child.weight) for child in children], key)


def latency_of(server: Server) -> Latency:
    """What is known of a server's answers; from now on the proxy takes their time."""
    if server.state.latency is None:
        server.state.latency = Latency()
    return server.state.latency
