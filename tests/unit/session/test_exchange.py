"""The exchange: what a loss means, and what may be used again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.session.exchange import MAX_SERVERS_TRIED, Answer, Exchange, Loss


def begun(*, client_keeps: bool = True, idempotent: bool = True, has_body: bool = False) -> Exchange:
    exchange = Exchange()
    exchange.begin(client_keeps=client_keeps, idempotent=idempotent, has_body=has_body)
    return exchange


def test_other_servers_are_tried_a_bounded_number_of_times() -> None:
    exchange = begun(idempotent=False)
    answers = [exchange.on_dial_failed() for _ in range(MAX_SERVERS_TRIED)]
    assert answers == [True] * (MAX_SERVERS_TRIED - 1) + [False]


def test_a_dead_kept_connection_is_replaced_once() -> None:
    exchange = begun()
    assert exchange.on_loss(clean=True, reused=True) is Loss.RETRY
    assert exchange.on_loss(clean=True, reused=True) is Loss.REFUSE


@pytest.mark.parametrize(
    ("idempotent", "body_sent", "reused"), [(False, False, True), (True, True, True), (True, False, False)]
)
def test_what_may_have_been_served_is_not_repeated(idempotent: bool, body_sent: bool, reused: bool) -> None:
    exchange = begun(idempotent=idempotent, has_body=body_sent)
    exchange.body_sent = body_sent
    assert exchange.on_loss(clean=True, reused=reused) is Loss.REFUSE


@pytest.mark.parametrize(
    ("until_close", "clean", "loss"),
    [(True, True, Loss.COMPLETE), (True, False, Loss.CUT), (False, True, Loss.CUT), (False, False, Loss.CUT)],
)
def test_a_loss_within_the_answer(until_close: bool, clean: bool, loss: Loss) -> None:
    exchange = begun()
    exchange.on_answer(server_keeps=True, until_close=until_close)
    assert exchange.answer is Answer.STREAMING
    assert exchange.on_loss(clean=clean, reused=True) is loss


@pytest.mark.parametrize("server_keeps", [True, False])
@pytest.mark.parametrize("client_keeps", [True, False])
@pytest.mark.parametrize("request_done", [True, False])
@pytest.mark.parametrize("until_close", [True, False])
def test_what_is_kept(server_keeps: bool, client_keeps: bool, request_done: bool, until_close: bool) -> None:
    exchange = begun(client_keeps=client_keeps, has_body=True)
    exchange.request_done = request_done
    exchange.on_answer(server_keeps=server_keeps, until_close=until_close)
    assert exchange.keeps_client is (client_keeps and request_done)
    assert exchange.keeps_server is (server_keeps and request_done and not until_close)


@given(st.lists(st.booleans(), max_size=6))
def test_a_new_request_begins_anew(losses: list[bool]) -> None:
    exchange = begun(client_keeps=False, idempotent=False, has_body=True)
    exchange.body_sent = True
    for clean in losses:
        exchange.on_loss(clean=clean, reused=True)
        exchange.on_dial_failed()
    exchange.on_answer(server_keeps=False, until_close=True)
    exchange.begin(client_keeps=True, idempotent=True, has_body=False)
    fresh = begun()
    assert all(getattr(exchange, name) == getattr(fresh, name) for name in Exchange.__slots__)


def test_a_fallback_has_tries_of_its_own() -> None:
    exchange = Exchange()
    for _ in range(MAX_SERVERS_TRIED):
        tried = exchange.on_dial_failed()
    assert not tried
    exchange.body_sent = True
    exchange.on_fallback()
    assert exchange.on_dial_failed()
    assert exchange.on_loss(clean=True, reused=True) is Loss.RETRY
