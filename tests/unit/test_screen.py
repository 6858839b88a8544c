"""What a person sees of a running streamlb: ages, sizes, and that nobody moves his cursor."""

from __future__ import annotations

import pytest

from streamlb.cli.screen import Screen, ago, show_connections, show_health

SERVER = {
    "protocol": "http", "service": "app", "server": "http://h:1", "state": "down", "reason": "GET /: 500",
    "since": "2026-01-01T00:00:00.000Z", "weight": 1, "configured": 1, "checked": True, "healthy": False,
    "lastCheck": "2026-01-01T00:01:00.000Z", "streak": 2, "active": 0, "idle": 0, "failures": 3, "waiting": 0,
}  # fmt: skip
NEW_YEAR = 1_767_225_600.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (0, "0 s"), (59, "59 s"), (61, "1 min"), (3_600, "1 h"), (3_700, "1 h 1 min"), (90_000, "1 d 1 h")],
)
def test_ages(seconds: float, text: str) -> None:
    assert ago("2026-01-01T00:00:00.000Z", NEW_YEAR + seconds) == text
    assert ago("2026-01-01T00:00:00Z", NEW_YEAR + seconds) == text


def test_what_is_no_time_is_no_failure() -> None:
    assert ago("soon", 0.0) == "?"


def test_health_has_a_line_for_each_server() -> None:
    shown = show_health([SERVER], NEW_YEAR + 75, colour=False).splitlines()
    assert " ".join(shown[1].split()) == "http app http://h:1 down 1 min 2 15 s ago GET /: 500"
    assert "no servers" in show_health([], 0.0, colour=False)


@pytest.mark.parametrize("colour", [False, True])
def test_what_a_server_says_moves_no_cursor(colour: bool) -> None:
    shown = show_health([SERVER | {"reason": "\x1b[2J\nup", "server": "a\rb"}], NEW_YEAR, colour=colour)
    assert "\\x1b[2J\\nup" in shown
    assert "a\\rb" in shown
    assert shown.count("\n") == 2


def test_connections_that_are_not_shown_are_counted() -> None:
    one = {
        "kind": "tcp",
        "client": "h:1",
        "entryPoint": "raw",
        "state": "open",
        "age": 3.0,
        "received": 5_000,
        "sent": 1,
    }
    shown = show_connections({"total": 7, "connections": [one]}, colour=False)
    assert "6 more" in shown
    assert "4.9 KB" in shown
    assert "3.0 s" in shown


def test_columns_are_as_wide_as_what_is_in_them() -> None:
    screen = Screen(False)
    screen.table(("a", "b"), [("long", "x"), ("s", "y")], indent=0)
    assert screen.text == "a     b\nlong  x\ns     y\n"
