"""The same requests through streamlb, nginx and HAProxy: where they differ, the reason is written down.

The story: an operator who moves here from one of them can look up what will change, and it is true. The cases are in
`tests/support/differences.py`, for people in docs/differences.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import differential
from tests.support.differences import CASES, SECTIONS, table
from tests.support.programs import ROOT, need

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.differential import Proxy

RECORDED = {"nginx": "1.22.", "haproxy": "2.6."}
"""The versions whose behaviour is recorded; another one may well do something else."""


def recorded(name: str) -> str:
    """The path of a proxy in the version that was recorded; the test is skipped without it."""
    path = need(name)
    version = differential.version_of([path, "-v"])
    if not version.startswith(RECORDED[name]):
        pytest.skip(f"{name} {version}: the differences are recorded for {RECORDED[name]}x")
    return path


@pytest.fixture(scope="module")
def streamlb() -> Iterator[Proxy]:
    with differential.streamlb() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def nginx() -> Iterator[Proxy]:
    with differential.nginx(recorded("nginx")) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def haproxy() -> Iterator[Proxy]:
    with differential.haproxy(recorded("haproxy")) as proxy:
        yield proxy


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("proxy", ["streamlb", "nginx", "haproxy"])
def test_requests(proxy: str, name: str, request: pytest.FixtureRequest) -> None:
    running: Proxy = request.getfixturevalue(proxy)
    case = CASES[name]
    assert running.outcome(case.request, case.show) == case.expected(proxy)


@pytest.mark.parametrize("name", CASES)
def test_every_difference_has_a_reason(name: str) -> None:
    case = CASES[name]
    differs = {case.expected(proxy) for proxy in RECORDED} != {case.streamlb}
    assert bool(case.why) == differs
    for theirs in (case.nginx, case.haproxy):
        assert theirs != case.streamlb, "said twice"


@pytest.mark.parametrize("name", SECTIONS)
def test_the_differences_are_in_the_docs(name: str) -> None:
    page = (ROOT / "docs" / "differences.md").read_text()
    assert f"## {name}\n\n{table(SECTIONS[name])}" in page
