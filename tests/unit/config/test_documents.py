"""Kubernetes documents by kind: what counts, what is skipped, what is refused."""

from __future__ import annotations

import pytest

from streamlb.config.documents import Sorter
from streamlb.config.endpoints import Directory
from streamlb.config.load import parse
from streamlb.config.reading import Reading
from streamlb.config.tree import Source
from tests.unit.config.asking import line_of

ROUTE = "apiVersion: traefik.io/v1alpha1\nkind: IngressRoute\nmetadata: {name: r}\nspec: {routes: []}\n"


class Sorted:
    """The outcome of sorting a text."""

    def __init__(self, text: str) -> None:
        self.reading, self.directory = Reading(), Directory()
        documents = parse(Source("x.yaml", text), self.reading.problems)
        self.objects = Sorter(self.directory, self.reading).sort(documents)
        self.labels = [document.label for document in self.objects]
        self.problems = [line_of(problem) for problem in self.reading.problems]
        self.notes = [line_of(note) for note in self.reading.notes]


def test_both_groups_and_the_default_namespace() -> None:
    old = ROUTE.replace("traefik.io", "traefik.containo.us").replace("{name: r}", "{name: r, namespace: prod}")
    found = Sorted(f"{ROUTE}---\n---\n{old}---\n")
    assert found.labels == ["IngressRoute default/r", "IngressRoute prod/r"]
    assert not found.problems
    assert not found.notes


def test_a_list_is_its_items() -> None:
    items = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: traefik.io/v1alpha1, kind: TraefikService, "
    assert Sorted(items + "metadata: {name: t}, spec: {}}\n").labels == ["TraefikService default/t"]


def test_core_kinds_fill_the_directory() -> None:
    text = (
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80, targetPort: web}], x: {}}\n---\n"
        "apiVersion: v1\nkind: Service\nmetadata: {name: headless}\n---\n"
        "apiVersion: v1\nkind: Endpoints\nmetadata: {name: a}\nsubsets: [{addresses: [{ip: 1.1.1.1}]}]\n---\n"
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n"
        "metadata: {name: a-x, labels: {kubernetes.io/service-name: a}}\nendpoints: [{addresses: [1.1.1.1]}]\n---\n"
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: b}\n"
    )
    found = Sorted(text)
    assert not found.problems
    assert found.directory.services[("default", "a")].ports[0].port == 80
    assert found.directory.endpoints[("default", "a")].subsets[0].addresses[0].ip == "1.1.1.1"
    assert found.directory.slices[("default", "a")][0].endpoints[0].addresses == ["1.1.1.1"]
    assert found.notes == ["21:1  | skipped: EndpointSlice default/b has no label `kubernetes.io/service-name` | "]


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (
            "apiVersion: apps/v1\nkind: Deployment\n",
            "skipped: streamlb has no use for a `Deployment` of `apps/v1`",
        ),
        (
            "apiVersion: traefik.io/v1alpha1\nkind: Middleware\n",
            "skipped: Traefik's `Middleware` is not supported by streamlb yet",
        ),
        ("resources: []\n", "skipped: without `apiVersion` and `kind` this is no Kubernetes document"),
        ("kind: X\n", "skipped: without `apiVersion` this is no Kubernetes document"),
        ("apiVersion: v1\n", "skipped: without `kind` this is no Kubernetes document"),
    ],
)
def test_what_is_skipped(text: str, note: str) -> None:
    found = Sorted(text)
    assert found.notes == [f"1:1  | {note} | "]
    assert not found.problems
    assert not found.objects


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("5\n", "1:1  | expected a Kubernetes document: a mapping with `apiVersion` and `kind` | "),
        (
            ROUTE.replace("IngressRoute", "IngresRoute"),
            "2:7 kind | Traefik has no kind `IngresRoute` | did you mean `IngressRoute`?",
        ),
        (
            ROUTE.replace("v1alpha1", "v1"),
            "1:13 apiVersion | Traefik's version is `v1alpha1`, not `v1` | ",
        ),
        (ROUTE.replace("name: r", ""), "3:11  | the IngressRoute has no `metadata.name` | "),
        (ROUTE.replace("metadata", "meta"), "1:1  | the IngressRoute has no `metadata.name` | "),
        (ROUTE.replace("spec: {routes: []}", ""), "1:1  | IngressRoute default/r has no `spec` | "),
        (ROUTE + "spce: {}\n", "5:1 IngressRoute default/r | unknown key `spce` | did you mean `spec`?"),
        (
            ROUTE.replace("[]", "5"),
            "4:16 IngressRoute default/r: spec.routes | expected a list (`- item` lines), got the number 5 | ",
        ),
        (
            f"{ROUTE}---\n{ROUTE}",
            "6:1  | IngressRoute default/r is given twice; the first is in line 1 of x.yaml | ",
        ),
        (
            "apiVersion: v1\nkind: Endpoints\nmetadata: {name: a}\nsubsets: 80\n",
            "4:10 Endpoints default/a: subsets | expected a list (`- item` lines), got the number 80 | ",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: 80}\n",
            "4:15 Service default/a: spec.ports | expected a list (`- item` lines), got the number 80 | ",
        ),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    assert Sorted(text).problems == [problem]
