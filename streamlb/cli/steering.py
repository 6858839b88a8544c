"""`streamlb ctl`, `status`, `reload`: what a running streamlb is doing, and changing it.

What lives here: the commands and what they print. What must not: speaking HTTP (`client.py`), tables (`screen.py`).
Specified in docs/reference.md ("Steering"). Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from streamlb.cli.client import Caller, fail, speaks
from streamlb.cli.output import show, wants_colour

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_INTERVAL = 0.5
"""Seconds between two looks at what is left at a server."""


@click.command(short_help="Show what a running streamlb is doing.")
@click.option("--all", "everything", is_flag=True, help="Every server, however many there are.")
@speaks
def status(socket: str | None, as_json: bool, everything: bool) -> None:
    """Show what a running streamlb is doing, on one screen: configuration, workers, services, servers, overrides."""
    from streamlb.cli.screen import show_status

    said = Caller(socket).get("status")
    _show(said, as_json, lambda: show_status(said, _now(), colour=wants_colour(sys.stdout), everything=everything))


@click.command(short_help="Have a running streamlb read its configuration again.")
@speaks
def reload(socket: str | None, as_json: bool) -> None:
    """Have a running streamlb read its configuration again, wait, and show what has changed.

    Exit code 0 when all of it is served now, 1 when something was refused: what was served before goes on.
    """
    said = Caller(socket).post("reload")
    _show(said, as_json, lambda: _outcome(said))
    raise SystemExit(0 if said["ok"] else 1)


@click.group()
def ctl() -> None:
    """Show and steer a running streamlb over its Unix socket.

    What is changed here is an override: it is in force at once, survives a restart, is shown wherever it matters, and
    yields when the configuration itself comes to say something else.

    A service is called as in the configuration: `shop`, `shop@kubernetescrd`, or `tcp:shop` where HTTP has one, too.
    A server is called by its URL or its address.
    """


ctl.add_command(status)
ctl.add_command(reload)


@ctl.command(short_help="Give a child of a service another weight.")
@click.argument("service")
@click.argument("child")
@click.argument("weight", metavar="WEIGHT", type=click.IntRange(0, 1_000_000))
@speaks
def weight(socket: str | None, as_json: bool, service: str, child: str, weight: int) -> None:
    """Give CHILD of SERVICE the weight WEIGHT: a child of a weighted service, or a server of a load balancer.

    Weight 0: no new clients; those that a sticky cookie binds stay.
    """
    _done(Caller(socket).post("weight", service=service, child=child, weight=weight), as_json)


def _state(name: str, short: str, text: str) -> Callable[..., Any]:
    """The command that puts a server into a state."""

    @click.argument("server")
    @click.option("--service", default="", help="Only there; else in every service that has the server.")
    @speaks
    def command(socket: str | None, as_json: bool, server: str, service: str, **waiting: Any) -> None:
        caller = Caller(socket)
        said = caller.post("state", server=server, service=service, state=name)
        _done(said, as_json)
        if waiting.get("wait"):
            _wait(caller, server, service, waiting["timeout"], as_json)

    command.__doc__ = text
    if name != "ready":
        command = click.option("--wait", is_flag=True, help="Until nothing is under way there any more.")(command)
        command = click.option(
            "--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Wait no longer; then exit code 1."
        )(command)
    return ctl.command(name, short_help=short)(command)


_state("ready", "Let a server have clients again.", "Let SERVER have clients again.")
_state(
    "drain",
    "Send a server no new clients.",
    """Send SERVER no new clients. Those that a sticky cookie binds to it still get there; what is under way goes on.

    With --wait it shows what is left there, and ends when that is nothing.""",
)
_state(
    "maintenance",
    "Send a server nobody at all.",
    """Send SERVER nobody at all, not even those that a sticky cookie binds to it. What is under way there goes on.

    With --wait it shows what is left there, and ends when that is nothing.""",
)


@ctl.command(short_help="Show every server, its state and the reason.")
@speaks
def health(socket: str | None, as_json: bool) -> None:
    """Show every server, its state, since when, and what its health check said last."""
    from streamlb.cli.screen import show_health

    said = Caller(socket).get("health")
    _show(said, as_json, lambda: show_health(said, _now(), colour=wants_colour(sys.stdout)))


@ctl.command(short_help="Show the connections and flows that are open now.")
@click.option("--limit", type=click.IntRange(0, 1_000_000), default=50, show_default=True, help="0 for all.")
@speaks
def conns(socket: str | None, as_json: bool, limit: int) -> None:
    """Show the connections and UDP flows that are open now, the oldest first: client, entry point, state, router,
    service, server, age, bytes from the client and to it."""
    from streamlb.cli.screen import show_connections

    said = Caller(socket).get("connections", limit=limit)
    found = [{"worker": int(worker), **each} for worker, many in said["workers"].items() for each in many]
    found.sort(key=lambda each: each.get("age", 0.0), reverse=True)
    said = {"total": said["total"], "connections": found[:limit] if limit else found}
    _show(said, as_json, lambda: show_connections(said, colour=wants_colour(sys.stdout)))


@ctl.command(short_help="Look names of servers up again now.")
@click.argument("name", default="all")
@speaks
def resolve(socket: str | None, as_json: bool, name: str) -> None:
    """Look the NAME of servers with `resolve: all` up again now; without NAME all of them."""
    _done(Caller(socket).post("resolve", name=name), as_json)


@ctl.command(short_help="List what was changed at run time.")
@speaks
def overrides(socket: str | None, as_json: bool) -> None:
    """List what was changed at run time: by whom, when, and what the configuration says."""
    from streamlb.cli.screen import show_interventions

    said = Caller(socket).get("overrides")
    _show(said, as_json, lambda: show_interventions(said, _now(), colour=wants_colour(sys.stdout)))


@ctl.command(short_help="Undo what was changed at run time.")
@click.argument("which", metavar="ID|all")
@speaks
def reset(socket: str | None, as_json: bool, which: str) -> None:
    """Undo one override, by its number in `ctl overrides`, or all of them."""
    _done(Caller(socket).post("reset", id=which), as_json)


# --- printing ----------------------------------------------------------------------------------------------------


def _show(said: Any, as_json: bool, text: Callable[[], str]) -> None:
    show(json.dumps(said, indent=2, ensure_ascii=False) + "\n" if as_json else text())


def _done(said: dict[str, Any], as_json: bool) -> None:
    from streamlb.observe.log import escape

    _show(said, as_json, lambda: "".join(f"{escape(line)}\n" for line in said["done"]))
    if not as_json:
        for warning in said["warnings"]:
            click.echo(f"warning: {escape(warning)}", err=True)


def _outcome(said: dict[str, Any]) -> str:
    from streamlb.observe.log import escape

    lines = [*said["changes"]]
    lines += [f"not taken over: {problem}" for problem in said["problems"]]
    lines += [f"its last good version is served: {file}" for file in said["kept"]]
    if said["ok"] and not said["changes"]:
        lines.append("nothing has changed")
    lines.append(f"version {said['version']} is served")
    return "".join(f"{escape(line)}\n" for line in lines)


def _wait(caller: Caller, server: str, service: str, timeout: float | None, as_json: bool) -> None:
    """Show what is left at a server until that is nothing."""
    ends_at = None if timeout is None else time.monotonic() + timeout
    shown = ""
    while True:
        said = caller.get("remaining", server=server, service=service)
        if as_json:
            text = json.dumps(said)
        else:
            workers = ", ".join(f"{count} in worker {worker}" for worker, count in sorted(said["workers"].items()))
            text = f"{said['total']} under way{f' ({workers})' if len(said['workers']) > 1 else ''}"
        if text != shown:
            show(f"{text}\n")
            shown = text
        if not said["total"]:
            return
        if ends_at is not None and time.monotonic() >= ends_at:
            fail(f"{said['total']} still under way at {server} after {timeout:g} s")
        time.sleep(LOOK_INTERVAL)


def _now() -> float:
    return datetime.now(UTC).timestamp()
