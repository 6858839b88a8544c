"""The same requests through streamlb, nginx and HAProxy: where they differ, the reason is written down.

The story: an operator who moves here from one of them can look up what will change, and it is true. The cases are in
`tests/support/differential`, for people in docs/differences.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.differential import answers, bodies, proxies, requests
from tests.support.differential.cases import table
from tests.support.programs import ROOT, need

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.differential.cases import Case
    from tests.support.differential.proxies import Proxy

SECTIONS = {**requests.SECTIONS, **bodies.SECTIONS, **answers.SECTIONS}
PROXIES = ("streamlb", "nginx", "haproxy")
RECORDED = {"nginx": "1.22.", "haproxy": "2.6."}
"""The versions whose behaviour is recorded; another one may well do something else."""


def recorded(name: str) -> str:
    """The path of a proxy in the version that was recorded; the test is skipped without it."""
    path = need(name)
    version = proxies.version_of([path, "-v"])
    if not version.startswith(RECORDED[name]):
        pytest.skip(f"{name} {version}: the differences are recorded for {RECORDED[name]}x")
    return path


@pytest.fixture(scope="module")
def streamlb() -> Iterator[Proxy]:
    with proxies.streamlb() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def nginx() -> Iterator[Proxy]:
    with proxies.nginx(recorded("nginx")) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def haproxy() -> Iterator[Proxy]:
    with proxies.haproxy(recorded("haproxy")) as proxy:
        yield proxy


def each_case(sections: dict[str, dict[str, Case]]) -> pytest.MarkDecorator:
    cases = [pytest.param(case, id=name) for section in sections.values() for name, case in section.items()]
    return pytest.mark.parametrize("case", cases)


@each_case({**requests.SECTIONS, **bodies.SECTIONS})
@pytest.mark.parametrize("proxy", PROXIES)
def test_requests(proxy: str, case: Case, request: pytest.FixtureRequest) -> None:
    running: Proxy = request.getfixturevalue(proxy)
    assert isinstance(case.sent, bytes)
    assert running.request(case.sent, case.show) == case.expected(proxy)


@each_case(answers.SECTIONS)
@pytest.mark.parametrize("proxy", PROXIES)
def test_answers(proxy: str, case: Case, request: pytest.FixtureRequest) -> None:
    running: Proxy = request.getfixturevalue(proxy)
    assert running.answer(case.sent, case.method, case.show) == case.expected(proxy)


@each_case(SECTIONS)
def test_every_difference_has_a_reason(case: Case) -> None:
    differs = {case.expected(proxy) for proxy in PROXIES} != {case.streamlb}
    assert bool(case.why) == differs
    assert case.streamlb not in (case.nginx, case.haproxy), "said twice"


@pytest.mark.parametrize("name", SECTIONS)
def test_the_differences_are_in_the_docs(name: str) -> None:
    page = (ROOT / "docs" / "differences.md").read_text()
    assert f"## {name}\n\n{table(SECTIONS[name])}" in page
