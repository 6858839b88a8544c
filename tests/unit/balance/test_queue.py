"""Who waits for whom: order, bounds, and what a place that became free is worth."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamlb.balance.queue import Queue
from streamlb.balance.selection import Selection, Server
from streamlb.balance.sticky import Attributes, Sticky
from streamlb.balance.tree import Balancer, Child


class Client:
    """A waiter that takes the place it is offered, or (`taking` nothing) lets it go."""

    def __init__(self, name: str, log: list[str], taking: Server | None = None) -> None:
        self.name = name
        self.log = log
        self.taking = taking

    def on_room(self) -> None:
        self.log.append(self.name)
        if self.taking is not None:
            self.taking.state.active += 1


def limited(name: str, queue: Queue, places: int = 1) -> Server:
    return Server(name, "127.0.0.1", 80, max_connections=places, queue=queue)


def balancer(queue: Queue, *servers: Server, sticky: bool = False) -> Balancer:
    children = [Child(server.name, server) for server in servers]
    cookie = Sticky("c", [(child.name, child.node) for child in children], Attributes()) if sticky else None
    return Balancer("app", children, queue=queue, sticky=cookie)


def test_a_place_goes_to_whoever_came_first() -> None:
    queue, log = Queue("app", 10, 1.0), []
    server = limited("a", queue)
    server.state.active = 1
    for name in ("one", "two"):
        assert queue.join(Client(name, log, server))
    server.leave()
    assert (log, len(queue), server.state.active) == (["one"], 1, 1)
    server.leave()
    assert (log, len(queue), server.state.active) == (["one", "two"], 0, 1)
    server.leave()
    assert server.state.active == 0


def test_a_place_nobody_takes_is_offered_on_but_to_each_only_once() -> None:
    queue, log = Queue("app", 10, 1.0), []
    server = limited("a", queue)

    class Stubborn(Client):
        def on_room(self) -> None:
            super().on_room()
            assert queue.join(self)

    for name in ("one", "two"):
        queue.join(Stubborn(name, log))
    queue.offer(server)
    assert (log, len(queue)) == (["one", "two"], 2)


def test_a_queue_is_bounded_and_can_be_left() -> None:
    queue, log = Queue("app", 2, 1.0), []
    one, two, three = (Client(name, log) for name in ("one", "two", "three"))
    assert [queue.join(each) for each in (one, two, three)] == [True, True, False]
    queue.leave(one)
    queue.leave(one)
    assert queue.join(three)
    queue.offer(limited("a", queue))
    assert log == ["two", "three"]
    assert not Queue("none", 0, 1.0).join(one)


def test_who_waits_for_one_server_is_not_served_by_another() -> None:
    queue, log = Queue("app", 10, 1.0), []
    a, b = limited("a", queue), limited("b", queue)
    queue.join(Client("bound", log), a)
    queue.join(Client("free", log))
    queue.offer(b)
    assert log == ["free"]
    queue.join(Client("later", log, a))
    queue.offer(a)
    assert log == ["free", "bound", "later"]


def test_a_full_server_is_passed_over_and_a_full_service_says_where_to_wait() -> None:
    queue = Queue("app", 10, 1.0)
    a, b = limited("a", queue), limited("b", queue, 2)
    app = balancer(queue, a, b)
    want = Selection()
    picked = []
    for _ in range(3):
        server = app.pick(want)
        assert server
        server.state.active += 1
        picked.append(server.name)
    assert (sorted(picked), want.queue) == (["a", "b", "b"], None)
    assert app.pick(want) is None
    assert (want.queue, want.wanted) == (queue, None)
    a.state.active = 0
    want.again()
    assert app.pick(want) is a
    assert want.queue is None


def test_nobody_waits_for_what_is_down_or_was_tried() -> None:
    queue = Queue("app", 10, 1.0)
    a, b = limited("a", queue), limited("b", queue)
    app = balancer(queue, a, b)
    a.state.active = b.state.active = 1
    a.set_up(False)
    want = Selection()
    want.retry(b)
    assert app.pick(want) is None
    assert want.queue is None


def test_a_client_bound_by_a_cookie_waits_for_its_server() -> None:
    queue = Queue("app", 10, 1.0)
    a, b = limited("a", queue), limited("b", queue)
    app = balancer(queue, a, b, sticky=True)
    a.state.active = 1
    want = Selection(b"c=a")
    assert app.pick(want) is None
    assert (want.queue, want.wanted, want.cookies) == (queue, a, [])
    a.set_up(False)
    want.again()
    assert app.pick(want) is b


def test_a_full_service_does_not_overflow_into_its_sibling() -> None:
    queue = Queue("app", 10, 1.0)
    full = limited("a", queue)
    full.state.active = 1
    spare = Server("b", "127.0.0.1", 80)
    main = balancer(queue, full)
    canary = Balancer("canary", [Child("b", spare)])
    weighted = Balancer("weighted", [Child("app", main), Child("canary", canary)])
    found = []
    for _ in range(4):
        want = Selection()
        found.append((weighted.pick(want), want.queue))
    assert found == [(None, queue), (spare, None)] * 2
    main_last = Balancer("weighted", [Child("app", main), Child("canary", canary, 0)])
    want = Selection()
    want.retry(spare)
    assert (main_last.pick(want), want.queue) == (None, queue)


@given(st.lists(st.sampled_from(["come", "bound", "leave", "end"]), max_size=60), st.integers(1, 3))
def test_nobody_is_forgotten_and_no_place_is_lost(steps: list[str], places: int) -> None:
    queue = Queue("app", 5, 1.0)
    servers = [limited("a", queue, places), limited("b", queue, places)]
    app = balancer(queue, *servers)
    waiting: list[Comer] = []
    served: list[Server] = []

    class Comer:
        def __init__(self, wanted: Server | None) -> None:
            self.wanted = wanted
            if wanted is None or wanted.is_full:
                self.begin()

        def begin(self) -> None:
            want = Selection()
            server = app.pick(want) if self.wanted is None else self.wanted.pick(want)
            if server is not None:
                server.state.active += 1
                served.append(server)
            elif queue.join(self, self.wanted):
                waiting.append(self)

        def on_room(self) -> None:
            waiting.remove(self)
            self.begin()

    for step in steps:
        if step in ("come", "bound"):
            Comer(servers[0] if step == "bound" else None)
        elif step == "leave" and waiting:
            queue.leave(waiting.pop())
        elif step == "end" and served:
            served.pop(0).leave()
        assert len(queue) == len(waiting) <= 5
        assert [server.state.active for server in servers] == [served.count(server) for server in servers]
        assert all(server.state.active <= places for server in servers)
        free = [server for server in servers if not server.is_full]
        assert not any(each.wanted is None or each.wanted in free for each in waiting if free)


def test_the_queue_knows_servers_by_what_outlives_them() -> None:
    queue, log = Queue("app", 10, 1.0), []
    server = limited("a", queue)
    server.state.active = 1
    successor = Server("a", "127.0.0.1", 80, state=server.state)
    queue.join(Client("one", log, server), server)
    successor.leave()
    assert log == ["one"]


def test_who_waits_in_another_world_picks_again_in_turn() -> None:
    queue, log = Queue("app", 10, 1.0), []

    class Stubborn(Client):
        def on_room(self) -> None:
            super().on_room()
            assert queue.join(self)

    stubborn = Stubborn("two", log)
    for waiter in (Client("one", log), stubborn, Client("three", log)):
        queue.join(waiter)
    queue.stir()
    assert log == ["one", "two", "three"]
    assert len(queue) == 1
