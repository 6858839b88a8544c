"""The command line of `scripts/bench`: starts origin and peers, gives each its turns, prints the medians.

What lives here: the run of a scenario and the report. What is measured: `scenarios.py`; who takes part: `peers.py`.
CPU is user and system time of all processes of a proxy, divided by the units of work done meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchlib.peers import PEERS, nginx_origin, whoami_origin
from benchlib.programs import PACKAGES, Program, accepts, echoes, find, free_port
from benchlib.scenarios import FAMILIES, SCENARIOS, chosen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchlib.load import Work
    from benchlib.programs import Cpu
    from benchlib.scenarios import Scenario

OWN = "streamlb"
WARM_UP = 0.5
"""Seconds of load before each measurement, so that connections, pools and caches are there."""


@dataclass(slots=True)
class Turn:
    """One measurement of one peer."""

    cpu: Cpu
    work: Work

    @property
    def cost(self) -> float:
        """CPU seconds per unit."""
        return self.cpu.total / self.work.units


def main(root: Path) -> int:
    options = _parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    missing: set[str] = set()
    reports = []
    with contextlib.suppress(KeyboardInterrupt):
        for name in chosen(options.scenarios):
            scenario = SCENARIOS[name]
            needs = [*filter(None, [scenario.load.needs]), *(["openssl"] if scenario.secure else [])]
            if lacking := {PACKAGES[program] for program in needs if find(program) is None}:
                missing |= lacking
                continue
            peers = _peers(scenario, options.peer, missing)
            turns = _run(scenario, peers, options.rounds, options.seconds, root, quiet=options.json)
            reports.append(_report(name, scenario, turns))
            if not options.json:
                print(_render(reports[-1], scenario), flush=True)
    if options.json:
        print(json.dumps(reports, indent=2))
    if missing:
        print(f"missing: apt-get install {' '.join(sorted(missing))}", file=sys.stderr)
    return 1 if missing else 0


def _parse() -> argparse.Namespace:
    rows = "\n".join(f"  {name:16}{scenario.title}" for name, scenario in SCENARIOS.items())
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="CPU per unit of work of streamlb and its peers, one thread or worker each, on loopback.",
        epilog=f"scenarios:\n{rows}\n\nfamilies: {', '.join(FAMILIES)}; `all` takes some minutes",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenarios", nargs="+", choices=[*SCENARIOS, *FAMILIES, "all"], metavar="scenario")
    parser.add_argument(
        "--peer",
        action="append",
        choices=[name for name in PEERS if name != OWN],
        help="compare with this one only (may be repeated; default: all that are installed)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns per peer, interleaved (default: 3)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a turn (default: 3)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    if not 1 <= options.rounds <= 100 or not 0.1 <= options.seconds <= 600:
        parser.error("--rounds must be 1 to 100 and --seconds 0.1 to 600")
    return options


def _peers(scenario: Scenario, wanted: list[str] | None, missing: set[str]) -> list[str]:
    """Who takes part; what would be needed for the others goes to `missing`."""
    found = []
    for peer in PEERS.values():
        if scenario.kind not in peer.kinds or (wanted and peer.name not in [*wanted, OWN]):
            continue
        needs = peer.missing(scenario.kind)
        if needs:
            missing.update(needs.split())
        else:
            found.append(peer.name)
    return found


def _run(
    scenario: Scenario, peers: list[str], rounds: int, seconds: float, root: Path, *, quiet: bool
) -> dict[str, list[Turn]]:
    turns: dict[str, list[Turn]] = {peer: [] for peer in peers}
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="streamlb-bench-")))
        origin = running.enter_context(_origin(scenario, folder, root))
        proxies = {name: running.enter_context(_proxy(name, scenario, folder, root, origin)) for name in peers}
        for number in range(rounds):
            # Another one begins each round, so that nobody always follows the same neighbour.
            first = number % len(peers)
            for name in [*peers[first:], *peers[:first]]:
                if not quiet and sys.stderr.isatty():
                    print(f"\r\033[Kround {number + 1} of {rounds}: {name}", end="\r\033[K", file=sys.stderr)
                program, port = proxies[name]
                scenario.load.run(port, WARM_UP)
                before = program.cpu()
                work = scenario.load.run(port, seconds)
                turns[name].append(Turn(program.cpu() - before, work))
    return turns


@contextlib.contextmanager
def _origin(scenario: Scenario, folder: Path, root: Path) -> Iterator[int]:
    port = free_port()
    if scenario.origin == "http":
        command = nginx_origin(folder, port) if find("nginx") else whoami_origin(port)
    else:
        command = [sys.executable, str(Path(__file__).with_name("origin.py")), scenario.origin, str(port)]
    with _running(Program("origin", command, folder, root), scenario, port):
        yield port


@contextlib.contextmanager
def _proxy(name: str, scenario: Scenario, folder: Path, root: Path, origin: int) -> Iterator[tuple[Program, int]]:
    port = free_port()
    command = PEERS[name].command(scenario, folder, port, origin)
    program = Program(name, command, folder, root)
    with _running(program, scenario, port):
        yield program, port


@contextlib.contextmanager
def _running(program: Program, scenario: Scenario, port: int) -> Iterator[None]:
    is_ready = echoes if scenario.kind == "udp" else accepts
    try:
        program.wait_until(lambda: is_ready(port))
        yield
    finally:
        program.stop()


def _report(name: str, scenario: Scenario, turns: dict[str, list[Turn]]) -> dict[str, Any]:
    """Medians over the rounds. A ratio is the median of the ratios within each round."""
    reference = turns.get(scenario.reference)
    rows = {}
    for peer, own in turns.items():
        ratio = None
        if reference is not None:
            ratio = statistics.median(a.cost / b.cost for a, b in zip(own, reference, strict=True))
        rows[peer] = {
            "cost": statistics.median(turn.cost for turn in own) * scenario.scale,
            "user": statistics.median(turn.cpu.user / turn.work.units for turn in own) * scenario.scale,
            "system": statistics.median(turn.cpu.system / turn.work.units for turn in own) * scenario.scale,
            "ratio": ratio,
            "throughput": statistics.median(turn.work.units / turn.work.seconds for turn in own),
            "p50": _median([turn.work.percentile(0.5) for turn in own]),
            "p99": _median([turn.work.percentile(0.99) for turn in own]),
        }
    own_ratio = rows[OWN]["ratio"]
    return {
        "scenario": name,
        "unit": scenario.unit,
        "cost_unit": scenario.cost_unit,
        "reference": scenario.reference if reference is not None else None,
        "goal": scenario.goal,
        "met": None if scenario.goal is None or own_ratio is None else own_ratio <= scenario.goal,
        "peers": rows,
    }


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _render(report: dict[str, Any], scenario: Scenario) -> str:
    cost = f"{scenario.cost_unit}/{scenario.unit}"
    lines = [
        f"{report['scenario']}: {scenario.title}",
        f"  {'':10}{cost:>16}{'user':>8}{'system':>8}{'ratio':>8}{scenario.rate:>15}{'p50':>10}{'p99':>10}",
    ]
    for peer, row in report["peers"].items():
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
        line = f"  {peer:10}{row['cost']:16.1f}{row['user']:8.1f}{row['system']:8.1f}{ratio:>8}"
        throughput = f"{row['throughput']:,.0f}" if row["throughput"] >= 100 else f"{row['throughput']:.2f}"
        line += f"{throughput:>15}{_span(row['p50']):>10}{_span(row['p99']):>10}"
        if peer == OWN and report["met"] is not None:
            line += f"   goal {scenario.goal:.2f}: {'met' if report['met'] else 'MISSED'}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1e6:.0f} us" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"
