"""`scripts/bench` runs and reports. How fast anything is, is not tested: machines differ."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.programs import ROOT

BENCH = [sys.executable, ROOT / "scripts" / "bench"]


@pytest.mark.parametrize("scenario", ["tcp-small", "udp-small", "http-bulk-up", "http-conn"])
def test_a_scenario_is_measured(scenario: str) -> None:
    # With a peer that cannot serve UDP, and so needs not be installed there; elsewhere its absence is reported.
    command = [*BENCH, scenario, "--rounds", "1", "--seconds", "0.3", "--json", "--peer", "haproxy"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 or "missing: apt-get install haproxy" in done.stderr, done.stderr
    (report,) = json.loads(done.stdout)
    assert report["scenario"] == scenario
    row = report["peers"]["streamlb"]
    assert row["cost"] > 0
    assert row["throughput"] > 0


def test_wrong_usage_names_the_scenarios() -> None:
    done = subprocess.run([*BENCH, "htttp"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "http-browser" in done.stderr
