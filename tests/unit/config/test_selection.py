"""Which files make up a configuration, and what counts of one that cannot be read any more."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from streamlb.config.load import read_bytes
from streamlb.config.selection import Look, Selected, select
from streamlb.config.versions import Shelf
from tests.unit.config.files import MAIN, Files, app

if TYPE_CHECKING:
    from pathlib import Path

MORE = "providers: {file: {directory: more}}\n"
ONE = "providers: {file: {filename: one.yaml}}\n"
GATEWAY = (
    "apiVersion: traefik.io/v1alpha1\nkind: TraefikService\nmetadata: {name: x}\nspec: {weighted: {services: []}}\n"
)


def selected(folder: Path, *paths: str, good: Selected | None = None, held: tuple[str, ...] = ()) -> Selected:
    look = Look([str(folder / path) for path in paths], Shelf({}, read_bytes))
    return select(look, good, [str(folder / path) for path in held])


def names(found: Selected, folder: Path) -> list[str]:
    return [os.path.relpath(path, folder) for path in found.versions]


def test_files_and_directories_in_the_order_they_are_given(tmp_path: Path) -> None:
    Files(tmp_path, {"z.yaml": MAIN, "b/y.yaml": app("y"), "b/x.yaml": app("x"), "a.txt": app("a")})
    assert names(selected(tmp_path, "z.yaml", "b", "a.txt"), tmp_path) == ["z.yaml", "b/x.yaml", "b/y.yaml", "a.txt"]


def test_files_of_providers_are_seen_from_the_file_that_names_them(tmp_path: Path) -> None:
    texts = {"conf/lb.yaml": MAIN + MORE, "conf/more/a.yaml": app("a"), "conf/more/deep/b.yaml": app("b")}
    Files(tmp_path, texts)
    found = selected(tmp_path, "conf/lb.yaml")
    assert names(found, tmp_path) == ["conf/lb.yaml", "conf/more/a.yaml", "conf/more/deep/b.yaml"]
    assert len(found.roots) == 3


def test_a_file_counts_once_however_often_it_is_named(tmp_path: Path) -> None:
    Files(tmp_path, {"lb.yaml": MAIN + "Providers: {FILE: {Directory: .}}\n", "a.yaml": app("a")})
    (tmp_path / "same.yaml").symlink_to("a.yaml")
    found = selected(tmp_path, "lb.yaml", "lb.yaml", ".")
    assert (names(found, tmp_path), found.problems) == (["lb.yaml", "a.yaml"], [])


def test_manifests_are_no_roots_and_as_they_are(tmp_path: Path) -> None:
    texts = {"lb.yaml": MAIN + "providers: {kubernetesManifests: {paths: [k, one.yml]}}\n"}
    Files(tmp_path, {**texts, "k/a.yaml": GATEWAY + "x: ${NOPE}\n", "k/in/b.yaml": GATEWAY, "one.yml": GATEWAY})
    found = selected(tmp_path, "lb.yaml")
    assert names(found, tmp_path) == ["lb.yaml", "k/a.yaml", "one.yml"]
    assert (len(found.roots), len(found.manifests), found.problems) == (1, 2, [])


def test_what_is_watched(tmp_path: Path) -> None:
    texts = {
        "lb.yaml": MAIN + MORE + "ping: {entryPoint: '${file:token}'}\n",
        "token": "web\n",
        "more/in/a.yaml": app("a"),
        "more/in/in/.x": "",
    }
    files = Files(tmp_path, texts, "lb.yaml")
    files.read()
    watched = {os.path.relpath(path, tmp_path) for path in files.sources.watched}
    assert watched == {"lb.yaml", "token", "more", "more/in", "more/in/in", "more/in/a.yaml"}


def test_what_is_not_watched(tmp_path: Path) -> None:
    texts = {"lb.yaml": MAIN + "providers: {file: {directory: more, watch: false}}\n", "more/a.yaml": app("a")}
    files = Files(tmp_path, texts, "lb.yaml")
    files.read()
    assert {os.path.relpath(path, tmp_path) for path in files.sources.watched} == {"lb.yaml"}
    files.write({"more/a.yaml": app("b")})
    assert files.reread() == (["b"], [], [])


@pytest.mark.parametrize(
    ("texts", "start", "problem"),
    [
        ({}, "gone.yaml", "gone.yaml:1:1  | cannot read the file: No such file or directory | "),
        (
            {"d/x.txt": ""},
            "d",
            "d:1:1  | there is no YAML file in the directory | names end in `.yaml` or `.yml`",
        ),
        ({"a.yaml": ""}, "a.yaml", "a.yaml:1:1  | the file is empty | begin with `entryPoints:`"),
        ({"a.yaml": "", "b.yaml": "#\n"}, ".", "./a.yaml:1:1  | the file is empty | begin with `entryPoints:`"),
        (
            {"a.yaml": MAIN + MORE},
            "a.yaml",
            "a.yaml:2:31 providers.file.directory | cannot read the directory `more`: No such file or directory | ",
        ),
        (
            {"a.yaml": MAIN + ONE},
            "a.yaml",
            "a.yaml:2:30 providers.file.filename | cannot read `one.yaml`: No such file or directory | ",
        ),
        (
            {"a.yaml": MAIN + "providers: {file: {}}\n"},
            "a.yaml",
            "a.yaml:2:13 providers.file | there is no file to read | give `directory` or `filename`",
        ),
        (
            {"a.yaml": MAIN + MORE, "more/k.yaml": GATEWAY},
            "a.yaml",
            "more/k.yaml:1:1  | this is a Kubernetes document, not a configuration | "
            "name it in `providers.kubernetesManifests.paths` of a streamlb configuration",
        ),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, texts: dict[str, str], start: str, problem: str) -> None:
    assert Files(tmp_path, texts, start).problems() == [problem.replace("./", "")]


def test_all_that_is_wrong_at_once(tmp_path: Path) -> None:
    texts = {"a.yaml": "entryPoints: {web: {adress: 1}}\n", "b.yaml": "a: [\n", "c.yaml": "http: {routers: {x: {}}}\n"}
    found = [line.partition(":")[0] for line in Files(tmp_path, texts).problems()]
    assert set(found) == {"a.yaml", "b.yaml", "c.yaml"}


def test_an_empty_file_among_others_is_a_note(tmp_path: Path) -> None:
    files = Files(tmp_path, {"a.yaml": MAIN, "b.yaml": "# later\n"})
    assert [files.line_of(note) for note in files.read().notes] == ["b.yaml:1:1  | the file is empty | "]


def test_later_the_last_good_version_counts(tmp_path: Path) -> None:
    files = Files(tmp_path, {"a.yaml": MAIN, "b.yaml": app("b"), "c.yaml": app("c"), "d.yaml": app("d")})
    good = selected(tmp_path, ".")
    files.write({"b.yaml": "", "c.yaml": "http: [\n", "e.yaml": "[\n", "d.yaml": app("dd")})
    later = selected(tmp_path, ".", good=good)
    assert {os.path.basename(path) for path in later.kept} == {"b.yaml", "c.yaml"}
    assert sorted(problem.position.file.rpartition("/")[2] for problem in later.refused) == [
        "b.yaml",
        "c.yaml",
        "e.yaml",
    ]
    assert later.problems == []
    assert {os.path.basename(path) for path in later.changed_since(good)} == {"a.yaml", "d.yaml"}  # Other objects here.


def test_what_is_held(tmp_path: Path) -> None:
    files = Files(tmp_path, {"a.yaml": MAIN, "b.yaml": app("b")})
    good = selected(tmp_path, ".")
    files.remove("b.yaml")
    files.write({"c.yaml": app("c")})
    assert [os.path.basename(path) for path in selected(tmp_path, ".", good=good).versions] == ["a.yaml", "c.yaml"]
    found = selected(tmp_path, ".", good=good, held=("./b.yaml", "./c.yaml"))
    assert [os.path.basename(path) for path in found.versions] == ["a.yaml", "b.yaml"]
