"""Every line that was left has a reason that tells something."""

from __future__ import annotations

import pytest

from tests.unit.convert.asking import from_haproxy, reason


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("option forwardfor", "by itself"),
        ("http-request set-header A b", "does not change"),
        ("http-request deny if { path /a }", "does not restrict"),
        ("stats enable", "metrics"),
        ("log global", "accessLog"),
        ("acl unused path /a", "no condition"),
        ("unheard of", "nothing like it"),
    ],
)
def test_reasons(line: str, why: str) -> None:
    draft = from_haproxy(f"listen a\n mode http\n bind :80\n {line}\n server a 10.0.0.1:80\n")
    assert why in reason(draft, line)


def test_sections() -> None:
    draft = from_haproxy("global\n nbthread 2\npeers x\n peer a 10.0.0.1:1\nbackend unused\n server a 10.0.0.1:80\n")
    assert "own processes" in reason(draft, "nbthread")
    assert "share nothing" in reason(draft, "peer a")
    assert "no route" in reason(draft, "backend unused")
