"""Failover: main while it has somebody, the fallback when it fails, outwards through any nesting, and cookies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from streamlb.balance.failover import Failover, fall_back
from streamlb.balance.queue import Queue
from streamlb.balance.selection import FallbackOrder, Selection, Server
from streamlb.balance.sticky import Attributes, Sticky
from streamlb.balance.tree import Balancer, Child

if TYPE_CHECKING:
    from streamlb.balance.tree import TreeNode


def server(name: str) -> Server:
    return Server(name, "127.0.0.1", 80)


def balancer(name: str, *nodes: TreeNode, cookie: str = "", fail_open: bool = False) -> Balancer:
    edges = [Child(node.name, node, 1) for node in nodes]
    sticky = Sticky(cookie, [(edge.name, edge.node) for edge in edges], Attributes()) if cookie else None
    return Balancer(name, edges, sticky=sticky, fail_open=fail_open)


def failover(name: str, main: TreeNode, fallback: TreeNode, *statuses: int) -> Failover:
    return Failover(name, main, fallback, FallbackOrder(name, fallback, frozenset(statuses), 100))


def noted(want: Selection) -> list[str]:
    return [order.name for order, _ in want.fallbacks]


def bound(want: Selection) -> list[str]:
    """The names of the cookies to set."""
    return [cookie.decode().partition("=")[0] for cookie in want.cookies]


# --- health ---


def test_main_then_fallback_then_nobody_and_back() -> None:
    a, b = server("a"), server("b")
    app = failover("app", balancer("main", a), balancer("fallback", b))
    assert (app.up, app.pick(Selection())) == (True, a)
    a.set_up(False)
    assert (app.up, app.pick(Selection())) == (True, b)
    b.set_up(False)
    assert (app.up, app.pick(Selection())) == (False, None)
    b.set_up(True)
    assert (app.up, app.pick(Selection())) == (True, b)
    a.set_up(True)
    assert app.pick(Selection()) is a
    assert repr(app) == "Failover(app)"


def test_parents_are_told_when_it_matters() -> None:
    a, b, c = server("a"), server("b"), server("c")
    root = balancer("root", failover("app", a, b), c)
    a.set_up(False)
    assert {root.pick(Selection()) for _ in range(4)} == {b, c}
    b.set_up(False)
    assert {root.pick(Selection()) for _ in range(4)} == {c}
    a.set_up(True)
    assert {root.pick(Selection()) for _ in range(4)} == {a, c}


def test_one_service_twice_is_told_once() -> None:
    a = server("a")
    app = failover("app", a, a)
    assert a.parents == [app]
    assert app.pick(Selection()) is a


def test_failing_open_is_the_last_resort() -> None:
    a, b = server("a"), server("b")
    app = failover("app", balancer("main", a, fail_open=True), balancer("fallback", b))
    assert app.opens
    a.set_up(False)
    assert app.pick(Selection()) is b
    b.set_up(False)
    assert app.pick(Selection()) is a


# --- servers that cannot be reached ---


def test_when_all_of_main_have_refused_the_fallback_is_next() -> None:
    a, b, c = server("a"), server("b"), server("c")
    app = failover("app", balancer("main", a, b), balancer("fallback", c))
    want = Selection()
    for expected in (a, b, c):
        assert app.pick(want) is expected
        assert noted(want) == ([] if expected is c else ["app"])
        want.retry(expected)
    assert app.pick(want) is None
    assert fall_back(want) is None


def test_a_main_service_with_too_many_dead_servers_is_left_early() -> None:
    servers = [server(f"s{n}") for n in range(20)]
    spare = server("spare")
    fallback = balancer("fallback", spare)
    want = Selection()
    assert failover("app", balancer("main", *servers), fallback).pick(want) is servers[0]
    assert fall_back(want) == (fallback, spare)
    assert fall_back(want) is None
    assert want.retried


# --- answers that are failures ---


def test_a_status_leads_to_the_innermost_fallback_that_minds_it() -> None:
    a, b, c = server("a"), server("b"), server("c")
    inner = failover("inner", balancer("main", a), balancer("second", b), 503)
    outer = failover("outer", inner, balancer("third", c), 500, 503)

    def path(*statuses: int) -> list[str]:
        want = Selection()
        picked = outer.pick(want)
        assert picked is not None
        names = [picked.name]
        for status in statuses:
            found = fall_back(want, status)
            if found is None:
                return [*names, "answer"]
            names.append(found[1].name)
        return names

    assert path(200) == ["a", "answer"]
    assert path(503) == ["a", "b"]
    assert path(503, 503) == ["a", "b", "c"]
    assert path(503, 500) == ["a", "b", "c"]
    assert path(500) == ["a", "c"]
    assert path(500, 500) == ["a", "c", "answer"]
    assert path(503, 404) == ["a", "b", "answer"]


def test_a_fallback_that_is_a_failover_of_its_own() -> None:
    a, b, c = server("a"), server("b"), server("c")
    app = failover("app", a, failover("spare", b, c, 503), 503)
    want = Selection()
    assert app.pick(want) is a
    assert [found and found[1] for found in (fall_back(want, 503), fall_back(want, 503), fall_back(want, 503))] == [
        b,
        c,
        None,
    ]


def test_a_fallback_without_anybody_leaves_the_answer_as_it_is() -> None:
    a, b, c = server("a"), server("b"), server("c")
    inner = failover("inner", balancer("main", a, cookie="m"), balancer("second", b), 503)
    want = Selection()
    assert inner.pick(want) is a
    b.set_up(False)
    before = (want.fallbacks, want.cookies)
    assert fall_back(want, 503) is None
    assert (want.fallbacks, want.cookies) == before
    outer = failover("outer", inner, balancer("third", c), 503)
    want = Selection()
    assert outer.pick(want) is a
    found = fall_back(want, 503)
    assert found is not None
    assert found[1] is c


def test_a_fallback_that_cannot_be_reached_is_retried_where_it_is() -> None:
    """Never back to the main service, and the fallbacks outside of it still count."""
    a, b, c, d = server("a"), server("b"), server("c"), server("d")
    inner = failover("inner", balancer("main", a), balancer("second", b, c), 503)
    outer = failover("outer", inner, balancer("third", d), 503)
    want = Selection()
    assert outer.pick(want) is a
    found = fall_back(want, 503)
    assert found is not None
    service, first = found
    want.retry(first)
    assert service.pick(want) in {b, c} - {first}
    assert noted(want) == ["outer"]
    found = fall_back(want, None)
    assert found is not None
    assert found[1] is d


def test_beginning_again() -> None:
    a, b = server("a"), server("b")
    app = failover("app", a, b, 503)
    want = Selection()
    for _ in range(3):
        assert app.pick(want) is a
        assert noted(want) == ["app"]
        assert fall_back(want, 503) == (b, b)
        want.begin_again()
    assert app.pick(want) is a
    want.reset()
    assert noted(want) == []


# --- cookies ---


def test_cookies_are_of_who_answers() -> None:
    a, b, c = server("a"), server("b"), server("c")
    inner = failover("inner", balancer("m", a, cookie="m"), balancer("s", b, cookie="s"), 503)
    outer = failover("outer", balancer("w", inner, cookie="w"), balancer("t", c, cookie="t"), 500)
    root = balancer("root", outer, cookie="r")
    want = Selection()
    assert root.pick(want) is a
    assert bound(want) == ["r", "w", "m"]
    assert fall_back(want, 503) is not None
    assert bound(want) == ["r", "w", "s"]
    assert fall_back(want, 500) is not None
    assert bound(want) == ["r", "t"]


def test_cookies_of_a_repeated_pick_in_a_fallback() -> None:
    a, b, c = server("a"), server("b"), server("c")
    app = balancer("root", failover("f", a, balancer("s", b, c, cookie="s"), 503), cookie="r")
    want = Selection()
    assert app.pick(want) is a
    found = fall_back(want, 503)
    assert found is not None
    service, first = found
    assert bound(want) == ["r", "s"]
    want.retry(first)
    assert bound(want) == ["r"]
    assert service.pick(want) is not None
    assert bound(want) == ["r", "s"]


# --- any nesting ---


@st.composite
def towers(draw: st.DrawFn, depth: int = 3) -> tuple[TreeNode, set[Server], int]:
    """A tree of failovers and balancers, its servers, and how many failovers it has."""
    kind = draw(st.sampled_from(["server", "failover", "balancer"])) if depth else "server"
    if kind == "server":
        leaf = server(f"s{draw(st.integers(0, 99))}")
        leaf.state.up = draw(st.booleans())
        return leaf, {leaf}, 0
    one, servers, count = draw(towers(depth=depth - 1))
    other, more, more_count = draw(towers(depth=depth - 1))
    if kind == "balancer":
        return balancer("b", one, other, cookie=draw(st.sampled_from(["", "c"]))), servers | more, count + more_count
    statuses = draw(st.sets(st.sampled_from([500, 503])))
    return failover("f", one, other, *statuses), servers | more, count + more_count + 1


@given(tower=towers(), events=st.lists(st.sampled_from([None, 500, 503, "refused"]), max_size=20))
def test_every_step_ends_and_leads_only_to_the_living(
    tower: tuple[TreeNode, set[Server], int], events: list[int | str | None]
) -> None:
    root, servers, failovers = tower
    want = Selection()
    service, picked = root, root.pick(want)
    assert (picked is not None) == root.up
    steps = 0
    for event in events:
        if picked is None:
            break
        assert picked in servers
        assert picked.up
        assert picked not in want.avoid
        assert len(want.fallbacks) <= failovers
        if event == "refused":
            want.retry(picked)
            picked = service.pick(want)
            continue
        found = fall_back(want, event if isinstance(event, int) else None)
        if found is not None:
            steps += 1
            service, picked = found
    assert steps <= failovers


def test_a_sibling_is_no_fallback() -> None:
    a, b, c = server("a"), server("b"), server("c")
    root = balancer("root", failover("f", a, b, 503), c)
    for _ in range(3):
        want = Selection()
        first = root.pick(want)
        assert first is a
        assert fall_back(want, 503) == (b, b)
        want = Selection()
        assert root.pick(want) is c
        assert fall_back(want, 503) is None


def test_a_main_service_that_is_full_is_waited_for() -> None:
    a, b = server("a"), server("b")
    queue = Queue("main", 10, 1.0)
    a.state.max_connections, a.state.queue = 1, queue
    main = Balancer("main", [Child("a", a, 1)], queue=queue)
    app = failover("app", main, b, 503)
    a.state.active = 1
    want = Selection()
    assert app.pick(want) is None
    assert want.queue is queue
    a.state.active = 0
    want.again()
    assert app.pick(want) is a
    assert noted(want) == ["app"]


def test_a_fallback_that_is_full_is_nobody() -> None:
    a, b = server("a"), server("b")
    queue = Queue("spare", 10, 1.0)
    b.state.max_connections, b.state.queue, b.state.active = 1, queue, 1
    app = failover("app", a, Balancer("spare", [Child("b", b, 1)], queue=queue), 503)
    want = Selection()
    assert app.pick(want) is a
    assert fall_back(want, 503) is None
    assert (want.queue, noted(want)) == (None, ["app"])
