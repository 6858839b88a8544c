"""From trees to a configuration: what a configuration comes with, and what its problems may say."""

from __future__ import annotations

import pytest

from streamlb.config.assembly import HIDDEN, Judges, Parts, assemble
from streamlb.config.load import parse
from streamlb.config.tree import Node, Source
from streamlb.errors import ConfigError, Position, Problem

MAIN = "entryPoints: {web: {address: ':80'}}\n"


def roots(*texts: str) -> list[Node]:
    return [parse(Source(f"{number}.yaml", text), [])[0] for number, text in enumerate(texts)]


def test_what_a_configuration_comes_with() -> None:
    note = Problem(Position("x", 1, 1), "", "note")
    loaded = assemble(Parts(roots=roots(MAIN, "workers: 2\n"), files=["0.yaml", "1.yaml"], notes=[note]), Judges())
    assert (loaded.config.workers, loaded.files, loaded.notes) == (2, ["0.yaml", "1.yaml"], [note])
    assert loaded.places["workers",].node.source.name == "1.yaml"
    assert (loaded.pem, loaded.spared) == ({}, {})


def test_problems_of_reading_are_problems() -> None:
    problem = Problem(Position("x", 1, 1), "", "cannot read the file")
    for trees in ([], roots(MAIN)):
        with pytest.raises(ConfigError) as caught:
            assemble(Parts(roots=trees, problems=[problem]), Judges())
        assert caught.value.problems == [problem]


def test_secrets_are_in_no_problem() -> None:
    with pytest.raises(ConfigError) as caught:
        assemble(Parts(roots=roots("entryPoints: {web: {address: hunter2}}\n"), secrets={"hunter2", "a"}), Judges())
    [problem] = caught.value.problems
    assert "hunter2" not in problem.reason + problem.suggestion
    assert HIDDEN in problem.suggestion


def test_a_provider_that_names_nothing() -> None:
    with pytest.raises(ConfigError) as caught:
        assemble(Parts(roots=roots(MAIN + "providers: {file: {}, kubernetesManifests: {}}\n")), Judges())
    assert [problem.path for problem in caught.value.problems] == [
        "providers.file",
        "providers.kubernetesManifests.paths",
    ]
