"""How soon a worker that died is started again."""

from __future__ import annotations

from streamlb.process.restart import CALM, DELAYS, LOOP, Restarts


def test_the_first_successor_starts_at_once_and_the_next_ones_ever_later() -> None:
    restarts = Restarts()
    delays = []
    now = 100.0
    for _ in range(len(DELAYS) + 2):
        restarts.started(now)
        now += 0.5
        delays.append(restarts.died(now))
        now += delays[-1]
    assert delays == [*DELAYS, DELAYS[-1], DELAYS[-1]]
    assert delays == sorted(delays)


def test_a_calm_life_wipes_the_slate() -> None:
    restarts = Restarts()
    for _ in range(LOOP):
        restarts.started(0.0)
        restarts.died(1.0)
    was_loop = restarts.is_loop
    restarts.started(2.0)
    assert restarts.died(2.0 + CALM) == DELAYS[0]
    assert (was_loop, restarts.is_loop, restarts.deaths) == (True, False, 1)


def test_a_loop_is_called_one_at_the_limit_not_before() -> None:
    restarts = Restarts()
    for death in range(1, LOOP + 1):
        restarts.started(0.0)
        restarts.died(CALM - 1)
        assert restarts.is_loop == (death >= LOOP)
