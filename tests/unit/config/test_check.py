"""The whole way: files, several documents, manifests, and any text at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlb.config.check import MAX_PROBLEMS, Judges, load, load_text
from streamlb.config.report import render
from streamlb.config.routers import RuleFault
from streamlb.errors import ConfigError
from tests.unit.config.asking import WEB, line_of, lines_of, problems_of

if TYPE_CHECKING:
    from streamlb.config.model import Config

CONF = Path(__file__).parents[3] / "conf"
EXAMPLE = (CONF / "lb.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "1:1  | the file is empty | begin with `entryPoints:`"),
        ("# only a comment\n", "1:1  | the file is empty | begin with `entryPoints:`"),
        ("~\n", "1:1  | the file is empty | begin with `entryPoints:`"),
        ("---\n", "1:1  | the file is empty | begin with `entryPoints:`"),
        ("just text\n", "1:1  | expected `key: value` lines, got a single value | "),
        ("- a\n", "1:1  | expected a mapping (`key: value` lines), got a list | remove the `- `"),
        (
            WEB + "---\nhttp: {}\n",
            "3:1  | the configuration is one YAML document; this file has a second one, behind `---` | ",
        ),
        (
            "apiVersion: v1\nkind: Service\n",
            "1:1  | this is a Kubernetes document, not a configuration | "
            "name it in `providers.kubernetesManifests.paths` of a streamlb configuration",
        ),
    ],
)
def test_what_is_no_configuration(text: str, line: str) -> None:
    assert lines_of(text) == [line]


def test_problems_are_sorted_and_gathered() -> None:
    text = "http: {routers: {r: {rule: x, service: s, bad: 1}}}\nentryPoints: {web: {address: 1}}\nhttp: {}\nx: 1\n"
    assert [(problem.position.line, problem.position.column) for problem in problems_of(text)] == [
        (1, 40),
        (1, 43),
        (2, 30),
        (3, 1),
        (4, 1),
    ]


def test_not_more_than_anyone_reads() -> None:
    text = WEB + "http: {routers: {" + ", ".join(f"r{i}: {{}}" for i in range(2 * MAX_PROBLEMS)) + "}}\n"
    problems = problems_of(text)
    assert len(problems) == MAX_PROBLEMS
    assert problems[-1].reason == "and 3001 more problems like these"


def test_names_with_an_at_sign() -> None:
    lines = lines_of(WEB + "http: {services: {a@b: {loadBalancer: {}}}, routers: {c@d: {rule: x, service: a@b}}}\n")
    assert [line.split(" | ")[0] for line in lines] == ["2:19 http.services.a@b", "2:55 http.routers.c@d"]


def test_read_and_load(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text(WEB)
    assert load(path).config.entry_points["web"].address == ":80"
    loaded = load(str(path))
    assert loaded.files == [str(path)]
    assert loaded.notes == []
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "gone.yaml")
    assert line_of(caught.value.problems[0]) == "1:1  | cannot read the file: No such file or directory | "


# --- manifests ---------------------------------------------------------------------------------------------------

ROUTE = """\
apiVersion: traefik.io/v1alpha1
kind: IngressRoute
metadata: {name: r}
spec:
  routes:
  - match: Host(`a`)
    services: [{name: app, port: 80}]
"""
DEPLOYMENT = "apiVersion: apps/v1\nkind: Deployment\n"


def write(folder: Path, paths: str, **files: str) -> str:
    """A main file with these manifest paths, and the files beside it; the main file's path."""
    main = folder / "lb.yaml"
    main.write_text(
        f"{WEB}providers:\n  kubernetesManifests:\n    paths: {paths}\n"
        "    endpoints: {default/app: ['127.0.0.1:8081']}\n"
    )
    (folder / "m").mkdir()
    for name, text in files.items():
        (folder / "m" / f"{name}.yaml").write_text(text)
    return str(main)


def test_manifests_from_directories_and_files(tmp_path: Path) -> None:
    main = write(tmp_path, "[m, m/route.yaml]", route=ROUTE, other=DEPLOYMENT)
    loaded = load(main)
    assert len(loaded.config.http.routers) == 1
    assert loaded.files == [main, str(tmp_path / "m/other.yaml"), str(tmp_path / "m/route.yaml")]
    assert [line_of(note) for note in loaded.notes] == [
        "1:1  | skipped: streamlb has no use for a `Deployment` of `apps/v1` | "
    ]


def test_paths_are_seen_from_the_main_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "[m]", route=ROUTE)
    monkeypatch.chdir(tmp_path.parent)
    main = f"{tmp_path.name}/lb.yaml"
    assert load(main).files == [main, f"{tmp_path.name}/m/route.yaml"]


@pytest.mark.parametrize(
    ("paths", "line"),
    [
        ("[]", "4:5 {where} | there is no path to read Kubernetes documents from | "),
        ("[m]", "4:13 {where}[0] | there is no YAML file in the directory `m` | "),
        ("[gone.yaml]", "4:13 {where}[0] | cannot read `{folder}/gone.yaml`: No such file or directory | "),
        ('["a\\0b"]', "4:13 {where}[0] | cannot read `{folder}/a\0b`: a path cannot hold a NUL | "),
    ],
)
def test_paths_that_lead_nowhere(tmp_path: Path, paths: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, paths))
    expected = line.format(where="providers.kubernetesManifests.paths", folder=tmp_path)
    assert [line_of(problem) for problem in caught.value.problems] == [expected]


def test_problems_of_all_files_at_once(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        "[m]",
        binary="a: \x00\n",
        broken="a: [\n",
        route=ROUTE.replace("Host", "bad"),
        twice=ROUTE,
    )
    with pytest.raises(ConfigError) as caught:
        load(main, Judges(check_rule=lambda rule, *_: RuleFault("no", 0) if "bad" in rule else None))
    found = [(Path(problem.position.file).name, problem.position.line) for problem in caught.value.problems]
    assert found == [("binary.yaml", 1), ("broken.yaml", 2), ("route.yaml", 6), ("twice.yaml", 1)]


# --- anything ----------------------------------------------------------------------------------------------------


def load_or_refuse(text: str) -> Config | None:
    """Nothing but a ConfigError with something to show may come out."""
    try:
        return load_text(text, "conf/x.yaml").config
    except ConfigError as error:
        problems = error.problems
    assert problems
    assert render(problems)
    assert all(problem.position.line >= 1 and problem.position.column >= 1 for problem in problems)
    return None


@settings(max_examples=150)
@given(st.data())
def test_any_mutation_of_the_example_is_loaded_or_refused(data: st.DataObject) -> None:
    text = EXAMPLE
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        length = data.draw(st.sampled_from([0, 0, 1, 2, 10, 80]))
        scrap = data.draw(
            st.sampled_from(
                ["", "\n", " ", "\t", ": ", "- ", "[", "{", "}", "'", '"', "&a ", "*a", "<<: ", "!x ", "~", "1"]
            )
            | st.text(max_size=5)
            | st.integers(0, len(text)).map(lambda at, text=text: text[at : at + 60])  # type: ignore[misc]
        )
        text = text[:start] + scrap + text[start + length :]
    load_or_refuse(text)


KEYS = [
    *("entryPoints", "web", "address", "http", "tcp", "udp", "routers", "services", "app", "rule", "service", "url"),
    *("loadBalancer", "servers", "weight", "weighted", "name", "mirroring", "mirrors", "percent", "sticky", "cookie"),
    *("priority", "providers", "kubernetesManifests", "log"),
]
VALUES = (
    st.sampled_from([":80", "http://a", "app", True, None, -1, 1.5]) | st.integers() | st.floats() | st.text(max_size=8)
)
JSON = st.recursive(
    VALUES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=30,
)


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(["entryPoints", "http", "tcp", "udp", "providers", "workers", "log"]), JSON))
def test_any_tree_is_loaded_or_refused(tree: dict[str, Any]) -> None:
    load_or_refuse(json.dumps(tree))


@settings(max_examples=100)
@given(st.text(max_size=60))
def test_any_text_is_loaded_or_refused(text: str) -> None:
    load_or_refuse(text)


def test_the_example_is_loaded() -> None:
    assert load_or_refuse(EXAMPLE)
