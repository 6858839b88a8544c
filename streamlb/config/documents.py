"""Kubernetes documents sorted by kind, each read into its shape.

What lives here: which kinds count, what is skipped with a note, names and namespaces, the same object given twice.
What must not: translation (`kubernetes.py`), the shapes themselves (`manifest.py`).
Called by `kubernetes.py`. Specified by the Kubernetes API conventions and Traefik's CRD reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from streamlb.config import manifest, shape, traefik
from streamlb.config.kinds import shorten
from streamlb.config.model import TcpMiddleware
from streamlb.config.near import nearest
from streamlb.config.reading import Place
from streamlb.config.tree import Mapping, Node, Sequence, is_empty, problem_at, text_of

if TYPE_CHECKING:
    from streamlb.config.endpoints import Directory, Name
    from streamlb.config.reading import Path, Reading

T = TypeVar("T")

GROUPS = ("traefik.io/v1alpha1", "traefik.containo.us/v1alpha1")
CORE_KINDS = {
    ("v1", "Service"): manifest.ServiceSpec,
    ("v1", "Endpoints"): manifest.Endpoints,
    ("discovery.k8s.io/v1", "EndpointSlice"): manifest.EndpointSlice,
}
SPECS: dict[str, Any] = {
    "IngressRoute": manifest.IngressRouteSpec,
    "IngressRouteTCP": manifest.IngressRouteTcpSpec,
    "IngressRouteUDP": manifest.IngressRouteUdpSpec,
    "MiddlewareTCP": TcpMiddleware,
    "TLSOption": manifest.TlsOptionSpec,
    "TLSStore": manifest.TlsStoreSpec,
    "TraefikService": manifest.TraefikServiceSpec,
}
SECRET = ("v1", "Secret")
SLICE_OF = "kubernetes.io/service-name"


@dataclass(slots=True)
class Document:
    """One object of a manifest: `root` is where its places are kept, `spec` what it says."""

    kind: str
    name: Name
    node: Mapping
    root: Path
    spec: Any = None

    @property
    def label(self) -> str:
        return f"{self.kind} {'/'.join(self.name)}"


class Sorter:
    """Takes documents apart by kind; what a proxy does not need is skipped with a note."""

    def __init__(self, directory: Directory, reading: Reading) -> None:
        self.directory = directory
        self.reading = reading
        self.objects: list[Document] = []
        self.seen: dict[tuple[str, Name], Document] = {}
        self.secrets: dict[Name, Document] = {}

    def sort(self, documents: list[Node]) -> list[Document]:
        todo = list(reversed(documents))
        while todo:
            node = todo.pop()
            if is_empty(node):
                continue
            if not isinstance(node, Mapping):
                self._refuse(node, "expected a Kubernetes document: a mapping with `apiVersion` and `kind`")
                continue
            items = node.get("items")
            if text_of(node.get("kind")).endswith("List") and isinstance(items, Sequence):
                todo.extend(reversed(items.items))
                continue
            self._take(node)
        return self.objects

    def _take(self, node: Mapping) -> None:
        version, kind = text_of(node.get("apiVersion")), text_of(node.get("kind"))
        if version in GROUPS and kind in SPECS:
            document = self._document(kind, node)
            if document:
                self._read_spec(document)
        elif (version, kind) in CORE_KINDS:
            document = self._document(kind, node)
            if document:
                self._read_core(document, CORE_KINDS[(version, kind)])
        elif (version, kind) == SECRET:
            document = self._document(kind, node)
            if document:
                self.secrets[document.name] = document
        else:
            self._skip(node, version, kind)

    def _skip(self, node: Mapping, version: str, kind: str) -> None:
        if not version or not kind:
            missing = "`kind`" if version else "`apiVersion`" if kind else "`apiVersion` and `kind`"
            self._note(node, f"skipped: without {missing} this is no Kubernetes document")
        elif version.partition("/")[0] in [group.partition("/")[0] for group in GROUPS]:
            self._skip_traefik(node, version, kind)
        else:
            self._note(node, f"skipped: streamlb has no use for a `{kind}` of `{version}`")

    def _skip_traefik(self, node: Mapping, version: str, kind: str) -> None:
        if kind in traefik.KINDS_NOT_YET:
            self._note(node, f"skipped: Traefik's `{kind}` is not supported by streamlb yet")
        elif kind in SPECS:
            self._refuse(node, f"Traefik's version is `v1alpha1`, not `{version.partition('/')[2]}`", "apiVersion")
        else:
            guess = nearest(kind, [*SPECS, *traefik.KINDS_NOT_YET])
            suggestion = f"did you mean `{guess}`?" if guess else ""
            self._refuse(node, f"Traefik has no kind `{shorten(kind)}`", "kind", suggestion)

    def _document(self, kind: str, node: Mapping) -> Document | None:
        metadata = node.get("metadata")
        inner = metadata if isinstance(metadata, Mapping) else None
        name = text_of(inner.get("name") if inner else None)
        if not name:
            self._refuse(metadata if inner and metadata else node, f"the {kind} has no `metadata.name`")
            return None
        namespace = text_of(inner.get("namespace") if inner else None) or "default"
        document = Document(kind, (namespace, name), node, ("manifests", len(self.seen)))
        first = self.seen.get((kind, document.name))
        if first:
            where = f"line {first.node.line} of {first.node.source.name}"
            self._refuse(node, f"{document.label} is given twice; the first is in {where}")
            return None
        self.seen[(kind, document.name)] = document
        self.reading.places[document.root] = Place(document.label, None, node)
        return document

    def _read_spec(self, document: Document) -> None:
        spec = document.node.entries.get("spec")
        if spec is None or is_empty(spec.value):
            self._refuse(document.node, f"{document.label} has no `spec`")
            return
        for key, entry in document.node.entries.items():
            if key not in ("apiVersion", "kind", "metadata", "spec", "status"):
                guess = nearest(key, ["metadata", "spec"])
                problem = problem_at(
                    entry.key, document.label, f"unknown key `{key}`", f"did you mean `{guess}`?" if guess else ""
                )
                self.reading.problems.append(problem)
        document.spec = self._shape(spec.value, SPECS[document.kind], document, "spec")
        self.objects.append(document)

    def _read_core(self, document: Document, cls: Any) -> None:
        if document.kind == "Service":
            spec = document.node.get("spec")
            if spec is not None and not is_empty(spec):
                self.directory.services[document.name] = self._shape(spec, cls, document, "spec")
        elif document.kind == "Endpoints":
            self.directory.endpoints[document.name] = self._shape(document.node, cls, document, "")
        else:
            metadata = shape.entries_of(document.node.get("metadata"))
            labels = metadata["labels"].value if "labels" in metadata else None
            owner = text_of(labels.get(SLICE_OF)) if isinstance(labels, Mapping) else ""
            if not owner:
                self._note(document.node, f"skipped: {document.label} has no label `{SLICE_OF}`")
                return
            piece = self._shape(document.node, cls, document, "")
            self.directory.slices.setdefault((document.name[0], owner), []).append(piece)

    def _shape(self, node: Node, cls: type[T], document: Document, part: str) -> T:
        label = f"{document.label}: {part}" if part else f"{document.label}: "
        place = f"{document.kind}.{part}" if part else document.kind
        root = (*document.root, part) if part else document.root
        key = document.node.entries[part].key if part else None
        return shape.read(node, cls, self.reading, root=root, label=label, place=place, key=key)

    def _note(self, node: Mapping, reason: str) -> None:
        self.reading.notes.append(problem_at(node, "", reason))

    def _refuse(self, node: Node, reason: str, key: str = "", suggestion: str = "") -> None:
        marked = node.get(key) if key and isinstance(node, Mapping) else None
        self.reading.problems.append(problem_at(marked or node, key, reason, suggestion))
