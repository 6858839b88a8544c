"""What a running streamlb says of itself, for a person at a terminal.

What lives here: the screens of `status`, `ctl health`, `ctl conns` and `ctl overrides`, made of the JSON they come as.
What must not: asking for it (`client.py`). Names and reasons may come from anywhere: they move no cursor.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from streamlb.observe.log import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_SERVERS = 60
"""Servers a status shows one by one; of more, those that are not simply up."""
COLOURS = {"up": "green", "serving": "green", "down": "red", "ejected": "red", "maintenance": "yellow"}
COLOURS |= {"drain": "yellow", "stopping": "yellow", "starting": "yellow"}


class Screen:
    """Lines of text, coloured or not."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour
        self._lines: list[str] = []

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self._lines)

    def line(self, text: str = "", indent: int = 0) -> None:
        self._lines.append(" " * indent + escape(text) if text else "")

    def alarm(self, text: str, indent: int = 0) -> None:
        self._lines.append(" " * indent + self._painted(escape(text), "red"))

    def title(self, text: str) -> None:
        self.line()
        self._lines.append(self._painted(text, None, bold=True))

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]], indent: int = 2) -> None:
        """Columns as wide as what is in them; the last one is as long as it is."""
        cells = [[escape(cell) for cell in row] for row in ([*head], *rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
        for number, row in enumerate(cells):
            if not number and not any(head):
                continue
            padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            if number:
                padded = [self._painted(cell, COLOURS.get(cell.strip())) for cell in padded]
            else:
                padded = [self._painted(cell, None, dim=True) for cell in padded]
            self._lines.append((" " * indent + "  ".join(padded)).rstrip())

    def _painted(self, text: str, colour: str | None, *, bold: bool = False, dim: bool = False) -> str:
        if not self._colour or not (colour or bold or dim):
            return text
        return click.style(text, fg=colour, bold=bold or None, dim=dim or None)


# --- status ------------------------------------------------------------------------------------------------------


def show_status(status: dict[str, Any], now: float, *, colour: bool, everything: bool = False) -> str:
    """One screen."""
    screen = Screen(colour)
    up = ago(status["upSince"], now)
    screen.line(f"streamlb {status['version']}, {status['state']} for {up} (pid {status['pid']})")
    _show_configuration(screen, status["configuration"], now)
    for warning in status["warnings"]:
        screen.alarm(warning)
    screen.title("workers")
    screen.table(
        ("", "pid", "up for", "restarts", "active", "lag"),
        [
            (
                str(each["number"]),
                str(each["pid"] or "-"),
                ago(each["upSince"], now) if each["ready"] else "not ready",
                str(each["restarts"]),
                str(each["active"]),
                f"{each['lag'] * 1000:.1f} ms" if each["lag"] is not None else "-",
            )
            for each in status["workers"]
        ],
    )
    screen.line(f"they answered within {status['latency'] * 1000:.1f} ms", 2)
    screen.title("entry points")
    screen.table(
        ("", "address", "active"),
        [(each["name"], each["address"], str(each["active"])) for each in status["entryPoints"]],
    )
    _show_services(screen, status["services"])
    _show_servers(screen, status["servers"], now, everything)
    if status["overrides"] or status["yielded"]:
        screen.title("overrides")
        _show_interventions(screen, status, now)
    return screen.text


def _show_configuration(screen: Screen, configuration: dict[str, Any], now: float) -> None:
    age = ago(configuration["loadedAt"], now)
    files = ", ".join(configuration["files"])
    reloads, failures = configuration["reloads"], configuration["failures"]
    times = f", {_count(reloads, 'reload')}" if reloads else ""
    failed = f", {_count(failures, 'failure')}" if failures else ""
    screen.line(f"configuration {files}: version {configuration['version']}, read {age} ago{times}{failed}")
    for problem in configuration["problems"]:
        screen.alarm(f"not taken over: {problem}", 2)
    for file in configuration["kept"]:
        screen.alarm(f"its last good version is served: {file}", 2)


def _show_services(screen: Screen, services: list[dict[str, Any]]) -> None:
    if not services:
        return
    screen.title("services")
    rows = []
    for service in services:
        children = ", ".join(_child(each, service["children"]) for each in service["children"][:8])
        more = len(service["children"]) - 8
        children += f" and {more} more" if more > 0 else ""
        users = ", ".join(service["usedBy"][:3]) + (" ..." if len(service["usedBy"]) > 3 else "")
        rows.append((service["protocol"], service["name"], service["kind"], users or "-", children or "-"))
    screen.table(("", "service", "kind", "routers", "children"), rows)


def _child(child: dict[str, Any], siblings: list[dict[str, Any]]) -> str:
    """`v1 75% (weight 3, configured 1)`."""
    if child["weight"] is None:
        return f"{child['name']} ({child['role']})"
    if child["inMaintenance"]:
        return f"{child['name']} (maintenance)"
    total = sum(each["weight"] for each in siblings if not each["inMaintenance"])
    share = f" {100 * child['weight'] / total:.4g}%" if total else " 0%"
    changed = f" (weight {child['weight']}, configured {child['configured']})"
    return f"{child['name']}{share}{changed if child['weight'] != child['configured'] else ''}"


def _show_servers(screen: Screen, servers: list[dict[str, Any]], now: float, everything: bool) -> None:
    if not servers:
        return
    screen.title("servers")
    shown = servers
    if len(servers) > MAX_SERVERS and not everything:
        shown = [each for each in servers if each["state"] != "up"][:MAX_SERVERS]
    screen.table(
        ("", "service", "server", "state", "for", "weight", "active", "idle", "failed", ""),
        [
            (
                each["protocol"],
                each["service"],
                each["server"],
                each["state"],
                ago(each["since"], now) if each["since"] else "-",
                _weight(each),
                str(each["active"]) + (f" +{each['waiting']}" if each["waiting"] else ""),
                str(each["idle"]),
                str(each["failures"]),
                each["reason"],
            )
            for each in shown
        ],
    )
    hidden = len(servers) - len(shown)
    if hidden:
        screen.line(f"{hidden} more (--all shows them)", 2)


def _weight(server: dict[str, Any]) -> str:
    weight, configured = server["weight"], server["configured"]
    return str(weight) if weight == configured else f"{weight} ({configured})"


# --- the others --------------------------------------------------------------------------------------------------


def show_health(servers: list[dict[str, Any]], now: float, *, colour: bool) -> str:
    """Every server and what is known of it."""
    screen = Screen(colour)
    if not servers:
        screen.line("there are no servers")
    else:
        screen.table(
            ("", "service", "server", "state", "for", "streak", "last check", ""),
            [
                (
                    each["protocol"],
                    each["service"],
                    each["server"],
                    each["state"],
                    ago(each["since"], now) if each["since"] else "-",
                    str(each["streak"]) if each["checked"] else "-",
                    f"{ago(each['lastCheck'], now)} ago" if each["lastCheck"] else "-",
                    each["reason"],
                )
                for each in servers
            ],
            indent=0,
        )
    return screen.text


def show_connections(said: dict[str, Any], *, colour: bool) -> str:
    """What is under way."""
    screen = Screen(colour)
    found = said["connections"]
    if not found:
        screen.line("nothing is under way")
        return screen.text
    head = ("", "client", "entry point", "state", "router", "service", "server", "age", "in", "out", "request")
    rows = [
        (
            each["kind"],
            each["client"],
            each["entryPoint"],
            each["state"],
            each.get("router", "-"),
            each.get("service", "-"),
            each.get("server", "-"),
            _seconds(each["age"]) if "age" in each else "-",
            _size(each["received"]) if "received" in each else "-",
            _size(each["sent"]) if "sent" in each else "-",
            f"{each['request']} for {_seconds(each.get('busy', 0.0))}" if "request" in each else "",
        )
        for each in found
    ]
    screen.table(head, rows, indent=0)
    hidden = said["total"] - len(found)
    if hidden > 0:
        screen.line(f"{hidden} more (--limit 0 shows all)")
    return screen.text


def _seconds(seconds: float) -> str:
    """`0.3 s`, `12 s`, `5 min`, `3 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def _size(count: float) -> str:
    """`512`, `1.5 KB`, `20 MB`."""
    for unit in ("", " KB", " MB", " GB"):
        if count < 1024:
            return f"{count:.1f}{unit}" if unit else f"{count}"
        count /= 1024
    return f"{count:.1f} TB"


def show_interventions(said: dict[str, Any], now: float, *, colour: bool) -> str:
    """What was changed at run time."""
    screen = Screen(colour)
    if not said["overrides"]:
        screen.line("there are no overrides")
    _show_interventions(screen, said, now, indent=0)
    if said["overrides"]:
        screen.line(f"kept in {said['stateFile']}" if not said["problem"] else "")
    if said["problem"] and said["overrides"]:
        screen.alarm(f"not kept over a restart: {said['problem']}")
    return screen.text


def _show_interventions(screen: Screen, said: dict[str, Any], now: float, indent: int = 2) -> None:
    if said["overrides"]:
        screen.table(
            ("", "what", "in", "is", "configured", "by", "since"),
            [
                (
                    str(each["id"]),
                    each["child"],
                    f"{each['protocol']} {each['service']}",
                    str(each["value"]),
                    str(each["replaced"]),
                    each["by"],
                    f"{each['at']} ({ago(each['at'], now)} ago)",
                )
                for each in said["overrides"]
            ],
            indent=indent,
        )
    for each in said["yielded"]:
        gone = each["override"]
        what = f"{gone['child']} in {gone['protocol']} service {gone['service']}: {gone['value']}"
        screen.line(f"yielded {ago(each['at'], now)} ago: {what} ({each['reason']})", indent)


def ago(instant: str, now: float) -> str:
    """`3 d 4 h`, `5 min`, `12 s`: how long ago an instant was."""
    try:
        then = datetime.fromisoformat(instant.replace("Z", "+00:00"))
    except ValueError:
        return "?"
    seconds = max(0, int(now - then.astimezone(UTC).timestamp()))
    for unit, size, smaller, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60)):
        if seconds >= size:
            rest = seconds % size // part
            return f"{seconds // size} {unit}{f' {rest} {smaller}' if rest else ''}"
    return f"{seconds // 60} min" if seconds >= 60 else f"{seconds} s"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
