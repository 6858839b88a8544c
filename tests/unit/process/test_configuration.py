"""The rule language handed to the configuration check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamlb.errors import ConfigError
from streamlb.process.configuration import check_rule, load

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("rule", "protocol"),
    [("Host(`a`) && !Path(`/x`)", "http"), ("HostSNI(`*`)", "tcp"), ("ClientIP(`10.0.0.0/8`)", "tcp")],
)
def test_good_rules(rule: str, protocol: str) -> None:
    assert check_rule(rule, protocol) is None


@pytest.mark.parametrize(
    ("rule", "protocol", "column"),
    [
        ("Path(`/`) && Hots(`a`)", "http", 13),
        ("Path(`x`)", "http", 5),
        ("ClientIP(`10.0.0.0/99`)", "http", 9),
        ("Host(`a`) &&", "http", 12),
        ("HostSNI(`db.example.com`)", "tcp", 8),
        ("Host(`a`)", "tcp", 0),
    ],
)
def test_faults_carry_the_column_inside_the_rule(rule: str, protocol: str, column: int) -> None:
    fault = check_rule(rule, protocol)
    assert fault
    assert fault.column == column
    assert fault.reason


def test_a_file_is_checked_with_the_rule_language(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text(
        'entryPoints: {web: {address: ":80"}}\n'
        "http:\n"
        '  routers: {r: {rule: "Path(`/`) && Hots(`a`)", service: s}}\n'
        "  services: {s: {loadBalancer: {servers: [{url: 'http://a'}]}}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(path)
    [problem] = caught.value.problems
    assert (problem.position.line, problem.position.column, problem.width) == (3, 37, 4)
    assert problem.suggestion == "did you mean `Host`?"
