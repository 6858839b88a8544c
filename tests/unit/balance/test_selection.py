"""A selection's life over retries and requests; the leaf of the tree."""

from __future__ import annotations

from streamlb.balance.selection import MirrorOrder, Selection, Server, ServerState


class Told:
    """A parent that counts how often it was told."""

    def __init__(self) -> None:
        self.times = 0

    def refresh(self) -> None:
        self.times += 1


def server(name: str = "a") -> Server:
    return Server(name, "127.0.0.1", 80)


def test_retry_avoids_and_forgets_cookies() -> None:
    want = Selection(b"a=b", b"key")
    want.cookies.append(b"lvl1=x")
    mirror = MirrorOrder("m", server(), True, -1)
    want.mirrors.append(mirror)
    first = server()
    want.retry(first)
    assert (want.avoid, want.cookies, want.mirrors, want.retried) == ((first,), [], [mirror], True)
    assert (want.cookie_header, want.hash_key) == (b"a=b", b"key")


def test_reset_leaves_lists_handed_out_alone() -> None:
    want = Selection()
    mirrors, cookies = want.mirrors, want.cookies
    mirrors.append(MirrorOrder("m", server(), True, -1))
    cookies.append(b"x=y")
    want.retry(server())
    want.cookies = cookies
    want.reset(b"c=d", b"k")
    assert (want.avoid, want.cookies, want.mirrors, want.retried) == ((), [], [], False)
    assert (want.cookie_header, want.hash_key) == (b"c=d", b"k")
    assert len(mirrors) == len(cookies) == 1


def test_a_server_is_picked_unless_down_or_avoided() -> None:
    one, other = server("a"), server("b")
    want = Selection()
    assert one.pick(want) is one
    want.retry(one)
    assert one.pick(want) is None
    assert other.pick(want) is other
    other.set_up(False)
    assert other.pick(want) is None
    assert repr(one) == "Server(a)"


def test_parents_are_told_of_news_only() -> None:
    parent = Told()
    one = server()
    one.parents.append(parent)
    one.set_up(True)
    assert parent.times == 0
    one.set_up(False)
    one.set_up(False)
    assert parent.times == 1
    assert not one.up
    one.set_up(True)
    assert parent.times == 2


def test_what_hangs_on_a_server_is_kept_in_its_state() -> None:
    state = ServerState()
    before = Server("a", "h", 1, state=state)
    before.pool = pool = object()
    after = Server("a", "h", 1, state=state)
    assert after.pool is pool
    assert Server("a", "h", 1).pool is None


def test_what_is_spent_depends_on_whom_to_avoid() -> None:
    want, node = Selection(), server()
    want.spent().add(node)
    assert want.spent() == {node}
    want.reset()
    assert want.spent() == set()
    want.spent().add(node)
    want.retry(node)
    assert want.spent() == set()
