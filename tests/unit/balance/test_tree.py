"""The service tree: exact shares through any nesting, stickiness, mirrors, health, retries."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlb.balance.hashing import Rendezvous, client_key
from streamlb.balance.quota import Quota
from streamlb.balance.selection import MirrorOrder, Selection, Server
from streamlb.balance.sticky import Attributes, Sticky, token
from streamlb.balance.tree import Balancer, Child, Mirror

if TYPE_CHECKING:
    from streamlb.balance.tree import TreeNode


def server(name: str) -> Server:
    return Server(name, "127.0.0.1", 80)


def balancer(name: str, *children: tuple[TreeNode, int], cookie: str = "") -> Balancer:
    edges = [Child(node.name, node, weight) for node, weight in children]
    sticky = Sticky(cookie, [(edge.name, edge.node) for edge in edges], Attributes()) if cookie else None
    return Balancer(name, edges, sticky=sticky)


def mirror(name: str, main: TreeNode, *mirrors: tuple[TreeNode, int]) -> Mirror:
    orders = [(MirrorOrder(node.name, node, True, -1), Quota(percent)) for node, percent in mirrors]
    return Mirror(name, main, orders)


def names(node: TreeNode, count: int) -> str:
    """The servers of so many requests."""
    return " ".join(str(picked and picked.name) for picked in (node.pick(Selection()) for _ in range(count)))


# --- shares ---


def test_canary() -> None:
    v1 = balancer("myapp1", (server("v1"), 1))
    v2 = balancer("myapp2", (server("v2"), 1))
    assert names(balancer("app", (v1, 1), (v2, 2)), 6) == "v1 v2 v2 v1 v2 v2"


def test_three_thousand_split_exactly() -> None:
    app = balancer("app", (server("v1"), 1), (server("v2"), 2))
    assert Counter(names(app, 3000).split()) == {"v1": 1000, "v2": 2000}


def test_nobody_to_pick() -> None:
    for empty in (balancer("none"), balancer("drained", (server("a"), 0))):
        assert not empty.up
        assert empty.pick(Selection()) is None


def test_a_shared_service_is_one_rotation() -> None:
    shared = balancer("shared", (server("a"), 1), (server("b"), 1))
    one, other = balancer("one", (shared, 1)), balancer("other", (shared, 1))
    assert [names(one, 1), names(other, 1), names(one, 1), names(other, 1)] == ["a", "b", "a", "b"]


def test_the_same_child_twice() -> None:
    a = server("a")
    app = balancer("app", (a, 1), (server("b"), 1), (a, 1))
    assert names(app, 3) == "a b a"
    assert a.parents == [app]
    a.set_up(False)
    assert names(app, 3) == "b b b"


def test_shown_to_people() -> None:
    app = balancer("app", (server("a"), 1))
    assert repr(app) == "Balancer(app)"
    assert repr(mirror("m", app)) == "Mirror(m)"


@st.composite
def trees(draw: st.DrawFn) -> tuple[TreeNode, list[Server], dict[str, list[tuple[TreeNode, int]]]]:
    """A tree whose nodes may be shared, its servers, and the children of each balancer by name."""
    leaves = [server(f"s{n}") for n in range(draw(st.integers(1, 6)))]
    nodes: list[TreeNode] = list(leaves)
    made: dict[str, list[tuple[TreeNode, int]]] = {}
    for number in range(draw(st.integers(1, 6))):
        if draw(st.booleans()) and number:
            nodes.append(mirror(f"m{number}", draw(st.sampled_from(nodes)), (draw(st.sampled_from(nodes)), 50)))
            continue
        children = draw(st.lists(st.tuples(st.sampled_from(nodes), st.integers(0, 4)), min_size=1, max_size=4))
        nodes.append(balancer(f"b{number}", *children))
        made[f"b{number}"] = children
    return nodes[-1], leaves, made


@given(outer=st.lists(st.integers(1, 6), min_size=1, max_size=4), inner=st.integers(1, 6))
def test_nested_shares_are_exact(outer: list[int], inner: int) -> None:
    parts = [balancer(f"lb{n}", (server(f"{n}a"), 1), (server(f"{n}b"), inner)) for n in range(len(outer))]
    app = balancer("app", *zip(parts, outer, strict=True))
    expected: dict[str, int] = {}
    for n, weight in enumerate(outer):
        expected |= {f"{n}a": weight, f"{n}b": weight * inner}
    for _ in range(2):
        assert Counter(names(app, sum(outer) * (inner + 1)).split()) == expected


# --- health ---


def test_a_child_that_is_down_is_not_asked() -> None:
    a, b = server("a"), server("b")
    app = balancer("app", (a, 1), (b, 1))
    a.set_up(False)
    assert names(app, 3) == "b b b"
    b.set_up(False)
    assert (app.up, names(app, 1)) == (False, "None")
    a.set_up(True)
    assert (app.up, names(app, 2)) == (True, "a a")


def test_health_travels_up_and_stops_where_nothing_changes() -> None:
    a, b, c = server("a"), server("b"), server("c")
    inner = balancer("inner", (a, 1), (b, 1))
    middle = mirror("middle", inner)
    outer = balancer("outer", (middle, 1), (c, 1))
    told: list[bool] = []

    class Root:
        def refresh(self) -> None:
            told.append(outer.up)

    outer.parents.append(Root())
    a.set_up(False)
    assert (inner.up, middle.up, outer.up) == (True, True, True)
    b.set_up(False)
    assert (inner.up, middle.up, outer.up) == (False, False, True)
    assert names(outer, 2) == "c c"
    assert told == []
    c.set_up(False)
    assert told == [False]
    b.set_up(True)
    assert (inner.up, middle.up, outer.up) == (True, True, True)
    assert told == [False, True]


def test_a_mirror_that_is_down_does_not_matter() -> None:
    a, m = server("a"), server("m")
    app = mirror("app", balancer("main", (a, 1)), (balancer("copy", (m, 1)), 100))
    m.set_up(False)
    assert app.up
    assert names(app, 1) == "a"


def recomputed(node: TreeNode, children: dict[str, list[tuple[TreeNode, int]]]) -> bool:
    """Whether a node is up, from the servers alone."""
    if isinstance(node, Mirror):
        return recomputed(node.main, children)
    if isinstance(node, Server):
        return node.up
    return any(weight > 0 and recomputed(child, children) for child, weight in children[node.name])


@given(tree=trees(), flips=st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 5)), max_size=12))
@settings(max_examples=200)
def test_incremental_health_equals_recomputed(
    tree: tuple[TreeNode, list[Server], dict[str, list[tuple[TreeNode, int]]]], flips: list[tuple[int, bool, int]]
) -> None:
    root, leaves, children = tree
    for which, up, requests in flips:
        leaves[which % len(leaves)].set_up(up)
        assert root.up == recomputed(root, children)
        for _ in range(requests):
            picked = root.pick(Selection())
            assert (picked is not None) == root.up
            assert picked is None or picked.up


# --- retries ---


def test_a_retry_goes_to_somebody_else() -> None:
    a, b = server("a"), server("b")
    app = balancer("app", (a, 3), (b, 1))
    want = Selection()
    assert app.pick(want) is a
    want.retry(a)
    assert app.pick(want) is b
    want.retry(b)
    assert app.pick(want) is None


def test_a_retry_leaves_a_service_whose_servers_were_all_tried() -> None:
    a, b = server("a"), server("b")
    app = balancer("app", (balancer("one", (a, 1)), 1), (balancer("other", (b, 1)), 1))
    want = Selection()
    assert app.pick(want) is a
    want.retry(a)
    assert app.pick(want) is b


def test_a_dead_server_costs_its_sibling_nothing_later() -> None:
    a, b = server("a"), server("b")
    app = balancer("app", (a, 3), (b, 1))
    for _ in range(1000):
        want = Selection()
        while (picked := app.pick(want)) is a:
            want.retry(a)
        assert picked is b
    assert Counter(names(app, 8).split()) == {"a": 6, "b": 2}


def test_the_others_share_a_dead_server_s_requests_equally() -> None:
    a, b, c = server("a"), server("b"), server("c")
    app = balancer("app", (a, 4), (b, 1), (c, 1))
    served: Counter[Server] = Counter()
    for _ in range(300):
        want = Selection()
        while (picked := app.pick(want)) is a:
            want.retry(a)
        assert picked is not None
        served[picked] += 1
    assert served == {b: 150, c: 150}


@given(tree=trees(), down=st.sets(st.integers(0, 5)))
@settings(max_examples=200)
def test_retries_reach_every_usable_server_once(
    tree: tuple[TreeNode, list[Server], dict[str, list[tuple[TreeNode, int]]]], down: set[int]
) -> None:
    root, leaves, children = tree
    for number in down:
        leaves[number % len(leaves)].set_up(False)
    want = Selection()
    picked = []
    while (found := root.pick(want)) is not None:
        assert found.up
        assert found not in want.avoid
        picked.append(found)
        want.retry(found)
    assert set(picked) == reachable(root, children)
    assert len(picked) == len(set(picked))


def test_a_pick_ends_soon_however_many_ways_lead_to_a_dead_end() -> None:
    a = server("a")
    layer: list[TreeNode] = [balancer(side, (a, 1)) for side in "wxyz"]
    for n in range(30):
        layer = [balancer(f"{side}{n}", *((node, 1) for node in layer)) for side in "wxyz"]
    want = Selection()
    assert layer[0].pick(want) is a
    want.retry(a)
    assert layer[0].pick(want) is None
    want.avoid = ()
    assert layer[0].pick(want) is a


def test_dead_ends_are_remembered_during_a_pick() -> None:
    asked: list[str] = []

    class Spent(Server):
        def pick(self, want: Selection) -> Server | None:
            asked.append(self.name)
            return None

    leaves = [Spent(name, "127.0.0.1", 80) for name in "abc"]
    middles = [balancer(f"m{n}", *((leaf, 1) for leaf in leaves)) for n in range(3)]
    assert balancer("app", *((middle, 1) for middle in middles)).pick(Selection()) is None
    # All of the first service, and whose turn it is in the others.
    assert asked == ["a", "b", "c", "a", "a"]


def test_a_snapshot_that_health_does_not_speak_to_any_more() -> None:
    old = [server(f"s{n}") for n in range(1000)]
    app = balancer("app", *((each, 1) for each in old))
    for each in old[:-1]:
        # As a newer snapshot's server with the same state does it.
        each.state.up = False
    assert app.pick(Selection()) is old[-1]
    old[-1].state.up = False
    assert app.pick(Selection()) is None


def reachable(node: TreeNode, children: dict[str, list[tuple[TreeNode, int]]]) -> set[Server]:
    if isinstance(node, Mirror):
        return reachable(node.main, children)
    if isinstance(node, Server):
        return {node} if node.up else set()
    return set().union(*(reachable(child, children) for child, weight in children[node.name] if weight > 0))


# --- mirrors ---


def noted(node: TreeNode, count: int) -> list[list[str]]:
    found = []
    for _ in range(count):
        want = Selection()
        node.pick(want)
        found.append([order.name for order in want.mirrors])
    return found


def test_half_is_mirrored() -> None:
    app = mirror("app", server("v1"), (server("v2"), 50))
    assert noted(app, 4) == [["v2"], [], ["v2"], []]
    assert names(app, 4) == "v1 v1 v1 v1"


def test_several_mirrors_count_each_for_itself() -> None:
    app = mirror("app", server("v1"), (server("x"), 100), (server("y"), 25))
    assert noted(app, 5) == [["x", "y"], ["x"], ["x"], ["x"], ["x", "y"]]


def test_a_mirror_of_a_mirror_notes_both() -> None:
    app = mirror("outer", mirror("inner", server("v1"), (server("x"), 100)), (server("y"), 100))
    assert noted(app, 1) == [["x", "y"]]


def test_a_retry_is_neither_noted_nor_counted_again() -> None:
    a, b = server("a"), server("b")
    app = mirror("app", balancer("main", (a, 1), (b, 1)), (server("m"), 50))
    want = Selection()
    want.retry(app.pick(want) or a)
    app.pick(want)
    want.avoid = ()
    app.pick(want)
    assert [order.name for order in want.mirrors] == ["m"]
    assert noted(app, 3) == [[], ["m"], []]


def test_nothing_is_mirrored_where_nobody_serves() -> None:
    a = server("a")
    app = mirror("app", balancer("main", (a, 1)), (server("m"), 50))
    a.set_up(False)
    assert noted(app, 3) == [[], [], []]
    a.set_up(True)
    assert noted(app, 2) == [["m"], []]


def test_a_weighted_service_over_mirrors() -> None:
    app = balancer("app", (mirror("m", server("a"), (server("x"), 50)), 1), (server("b"), 1))
    assert noted(app, 6) == [["x"], [], [], [], ["x"], []]


# --- stickiness ---

V1 = b"lvl1=9c95d45b96623357; Path=/"
V2 = b"lvl1=063d8603bfb44904; Path=/"


def tutorial(weight: int = 1) -> tuple[Balancer, Server, Server]:
    v1, v2 = server("v1"), server("v2")
    one, two = balancer("default-myapp1-80", (v1, 1)), balancer("default-myapp2-80", (v2, 1))
    return balancer("wrr", (one, weight), (two, 2), cookie="lvl1"), v1, v2


def ask(node: TreeNode, cookie: bytes = b"") -> tuple[str, list[bytes]]:
    want = Selection(cookie)
    picked = node.pick(want)
    return str(picked and picked.name), want.cookies


def test_the_first_answer_sets_the_cookie() -> None:
    app, _, _ = tutorial()
    assert [ask(app) for _ in range(3)] == [("v1", [V1]), ("v2", [V2]), ("v2", [V2])]


@pytest.mark.parametrize("value", [b"default-myapp2-80", b"e4369312204a003f", b"517a027fe1bc8190"])
def test_an_old_value_is_kept_and_rewritten(value: bytes) -> None:
    app, _, _ = tutorial()
    assert [ask(app, b"lvl1=" + value) for _ in range(3)] == [("v2", [V2])] * 3


def test_a_new_value_is_kept_in_silence() -> None:
    app, _, _ = tutorial()
    assert [ask(app, b"lvl1=9c95d45b96623357") for _ in range(3)] == [("v1", [])] * 3


def test_sticky_requests_do_not_move_the_rotation() -> None:
    app, _, _ = tutorial()
    ask(app)
    ask(app, b"lvl1=9c95d45b96623357")
    assert [ask(app)[0] for _ in range(3)] == ["v2", "v2", "v1"]


def test_an_unknown_value_falls_back_to_the_weights() -> None:
    app, _, _ = tutorial()
    assert [ask(app, b"lvl1=nobody") for _ in range(3)] == [("v1", [V1]), ("v2", [V2]), ("v2", [V2])]


def test_a_child_that_is_down_falls_through_and_is_rewritten() -> None:
    app, _, v2 = tutorial()
    v2.set_up(False)
    assert ask(app, b"lvl1=default-myapp2-80") == ("v1", [V1])
    v2.set_up(True)
    assert ask(app, b"lvl1=9c95d45b96623357") == ("v1", [])


def test_a_refused_server_of_a_sticky_client_is_rewritten() -> None:
    app, _, v2 = tutorial()
    want = Selection(b"lvl1=063d8603bfb44904")
    assert app.pick(want) is v2
    want.retry(v2)
    assert str(app.pick(want)) == "Server(v1)"
    assert want.cookies == [V1]


def test_whether_a_cookie_was_followed_is_noted() -> None:
    app, _, v2 = tutorial()
    assert stuck(balancer("plain", (server("a"), 1)), b"") is None
    assert stuck(app, b"") is False
    assert stuck(app, b"lvl1=9c95d45b96623357") is True
    assert stuck(app, b"lvl1=nobody") is False
    want = Selection(b"lvl1=063d8603bfb44904")
    app.pick(want)
    assert want.stuck is True
    want.retry(v2)
    app.pick(want)
    assert want.stuck is False
    want.reset()
    assert want.stuck is None


def test_all_levels_must_have_followed_theirs() -> None:
    inner = balancer("in", (server("a"), 1), cookie="lvl2")
    app = balancer("app", (inner, 1), cookie="lvl1")
    outer, a = f"lvl1={token('in')}".encode(), f"lvl2={token('a')}".encode()
    assert [stuck(app, cookie) for cookie in (outer + b"; " + a, outer, a, b"")] == [True, False, False, False]


def stuck(node: TreeNode, cookie: bytes) -> bool | None:
    want = Selection(cookie)
    node.pick(want)
    return want.stuck


def test_weight_zero_keeps_its_sticky_users_only() -> None:
    app, v1, v2 = tutorial(weight=0)
    assert [ask(app)[0] for _ in range(4)] == ["v2"] * 4
    assert ask(app, b"lvl1=9c95d45b96623357") == ("v1", [])
    v2.set_up(False)
    assert ask(app) == ("None", [])
    assert ask(app, b"lvl1=9c95d45b96623357") == ("v1", [])
    v1.set_up(False)
    assert ask(app, b"lvl1=9c95d45b96623357") == ("None", [])


def test_a_service_drained_by_its_servers_keeps_its_sticky_users() -> None:
    drained = balancer("old", (server("a"), 0), cookie="lvl2")
    app = balancer("app", (drained, 1), (server("b"), 1), cookie="lvl1")
    cookie = f"lvl1={token('old')}; lvl2={token('a')}".encode()
    assert ask(app, cookie) == ("a", [])
    assert ask(app)[0] == "b"


def test_two_levels_set_two_cookies_the_outer_first() -> None:
    inner = balancer("in", (server("a"), 1), (server("b"), 1), cookie="lvl2")
    app = balancer("app", (inner, 1), cookie="lvl1")
    outer_value, a = f"lvl1={token('in')}".encode(), f"lvl2={token('a')}".encode()
    assert ask(app) == ("a", [outer_value + b"; Path=/", a + b"; Path=/"])
    assert ask(app, outer_value + b"; " + a) == ("a", [])
    b = f"lvl2={token('b')}".encode()
    assert ask(app, b"lvl1=in") == ("b", [outer_value + b"; Path=/", b + b"; Path=/"])
    assert ask(app, b"lvl1=in; " + a) == ("a", [outer_value + b"; Path=/"])
    assert ask(app, a) == ("a", [outer_value + b"; Path=/"])


def test_no_cookie_for_a_request_nobody_serves() -> None:
    app, v1, v2 = tutorial()
    v1.set_up(False)
    v2.set_up(False)
    assert ask(app, b"lvl1=default-myapp1-80") == ("None", [])


def test_a_retry_sets_the_cookies_of_its_own_pick_only() -> None:
    a, b = server("a"), server("b")
    app = balancer("app", (a, 3), (b, 1), cookie="c")
    want = Selection()
    want.retry(app.pick(want) or b)
    # It is a's turn again, which is over.
    assert app.pick(want) is b
    assert want.cookies == [f"c={token('b')}; Path=/".encode()]


@given(children=st.lists(st.integers(0, 3), min_size=1, max_size=5), data=st.data())
def test_what_was_set_leads_back(children: list[int], data: st.DataObject) -> None:
    app = balancer("app", *((server(f"s{n}"), weight) for n, weight in enumerate(children)), cookie="c")
    for _ in range(data.draw(st.integers(1, 10))):
        name, cookies = ask(app)
        if name != "None":
            assert ask(app, cookies[0].partition(b";")[0]) == (name, [])


# --- nobody up ---


def fail_open(name: str, *children: tuple[TreeNode, int], cookie: str = "") -> Balancer:
    edges = [Child(node.name, node, weight) for node, weight in children]
    sticky = Sticky(cookie, [(edge.name, edge.node) for edge in edges], Attributes()) if cookie else None
    return Balancer(name, edges, sticky=sticky, fail_open=True)


def down(*servers: Server) -> None:
    for each in servers:
        each.set_up(False)


def test_failing_open_picks_among_all_by_weight_and_is_still_down() -> None:
    a, b, c = server("a"), server("b"), server("drained")
    app = fail_open("app", (a, 1), (b, 2), (c, 0))
    down(a, b)
    assert (app.up, names(app, 6)) == (False, "a b b a b b")
    b.set_up(True)
    assert (app.up, names(app, 3)) == (True, "b b b")
    down(b)
    want = Selection()
    want.retry(a)
    want.retry(b)
    assert app.pick(want) is None
    assert not want.fail_open


def test_failing_open_below_a_service_that_does_not() -> None:
    a, b = server("a"), server("b")
    app = mirror("m", balancer("w", (fail_open("open", (a, 1)), 1), (balancer("shut", (b, 1)), 1)))
    assert app.opens
    down(a, b)
    assert names(app, 4) == "a a a a"
    b.set_up(True)
    assert names(app, 2) == "b b"


def test_failing_open_above_services_that_do_not() -> None:
    a, b = server("a"), server("b")
    app = fail_open("w", (balancer("one", (a, 1)), 1), (balancer("other", (b, 1)), 1))
    down(a, b)
    assert names(app, 4) == "a b a b"


def test_failing_open_with_nobody_to_open_to() -> None:
    assert fail_open("empty").pick(Selection()) is None
    drained = server("drained")
    app = fail_open("app", (drained, 0))
    down(drained)
    assert app.pick(Selection()) is None


def test_a_session_stays_while_everybody_is_down() -> None:
    a, b = server("a"), server("b")
    app = fail_open("app", (a, 1), (b, 1), cookie="c")
    down(a, b)
    want = Selection(f"c={token('b')}".encode())
    assert [app.pick(want), app.pick(want)] == [b, b]
    assert want.cookies == []


# --- other strategies ---


def test_stickiness_with_another_strategy() -> None:
    servers = [server(name) for name in "abc"]
    edges = [Child(each.name, each, 1) for each in servers]
    sticky: Sticky[TreeNode] = Sticky("c", [(edge.name, edge.node) for edge in edges], Attributes())
    strategy: Rendezvous[TreeNode] = Rendezvous([(each.name, each, 1) for each in servers], client_key)
    app = Balancer("app", edges, sticky=sticky, strategy=strategy)
    want = Selection(b"", b"somebody")
    first = app.pick(want)
    assert first is not None
    assert want.cookies == [sticky.cookies[first]]
    other = next(each for each in servers if each is not first)
    bound = Selection(f"c={token(other.name)}".encode(), b"somebody")
    assert app.pick(bound) is other
    other.set_up(False)
    assert app.pick(bound) is first
    second = strategy.upcoming(want)[1]
    want.retry(first)
    assert app.pick(want) is second
