"""What is remembered of clients that come and go; how heads are read is tested with `wire` and in tests/wire."""

from __future__ import annotations

from unittest.mock import Mock

from streamlb.config.static import EntryPoint, ForwardedHeaders
from streamlb.proxy.heads import MAX_HABIT, MAX_HABITS, Habits, HeadReader
from streamlb.proxy.http import request_policy
from streamlb.proxy.trusted import Trusted
from streamlb.wire.message import RequestFields

HEAD = b"GET / HTTP/1.1\r\nHost: a.com\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"


def entry(*trusted: str) -> Mock:
    options = EntryPoint(address=":80", forwarded_headers=ForwardedHeaders(trusted_ips=list(trusted)))
    made = Mock(habits=Habits(), policy=request_policy(options), forwarding=options.forwarded_headers)
    made.trusted = Trusted(options.forwarded_headers)
    made.marking = None
    made.is_secure, made.server_name = False, b"us"
    return made


def visit(to: Mock, peer: str, head: bytes = HEAD) -> RequestFields:
    reader = HeadReader(to, peer)
    fields = reader.read(head, len(head)).fields
    reader.leave()
    return fields


def test_a_client_that_says_the_same_again_is_not_read_again() -> None:
    shop = entry()
    first = visit(shop, "192.0.2.1")
    assert visit(shop, "192.0.2.1", HEAD.replace(b"GET /", b"GET /other")) is first
    assert visit(shop, "192.0.2.1", HEAD.replace(b"a.com", b"b.com")).host == b"b.com"
    assert visit(shop, "192.0.2.1").host == b"a.com"


def test_one_client_never_speaks_for_another() -> None:
    shop = entry("192.0.2.1")
    believed, other = visit(shop, "192.0.2.1"), visit(shop, "192.0.2.2")
    assert b"X-Forwarded-For: 1.2.3.4, 192.0.2.1\r\n" in believed.upstream_block
    assert b"X-Forwarded-For: 192.0.2.2\r\n" in other.upstream_block
    assert b"1.2.3.4" not in other.upstream_block
    assert visit(shop, "192.0.2.1") is believed
    assert visit(entry(), "192.0.2.1") is not believed


def test_what_is_remembered_is_bounded() -> None:
    habits, fields = Habits(), RequestFields()
    habits.note("nothing", b"", fields)
    habits.note("much", b"x" * (MAX_HABIT + 1), fields)
    assert habits.recall("nothing") is None
    assert habits.recall("much") is None
    for number in range(MAX_HABITS):
        habits.note(str(number), b"x" * MAX_HABIT, fields)
    habits.note("0", b"x", fields)  # Was here just now, so another one is forgotten.
    habits.note("new", b"x", fields)
    assert habits.recall("1") is None
    assert habits.recall("0") == (b"x", fields)
    assert habits.recall("2") is not None
