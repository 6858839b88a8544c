"""Secrets, TLSOptions, TLSStores and MiddlewareTCPs to what the model has for them.

What lives here: their translation, and what an IngressRoute's `tls` means. What must not: routes (`kubernetes.py`),
whether a certificate is right (`certificates.py`, which sees all of them).
Called by `kubernetes.py`. Specified by Traefik's Kubernetes CRD provider; kubernetes.io/tls Secrets by Kubernetes.

A Secret's lines are never shown, not even in an error: they may hold a key.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
from typing import TYPE_CHECKING

from streamlb.config.kubernetes_names import full, normalise, object_name
from streamlb.config.model import FILE_PROVIDER, bare, provider_of
from streamlb.config.near import nearest
from streamlb.config.reading import Place
from streamlb.config.shape import entries_of
from streamlb.config.tls import DEFAULT_OPTIONS, ClientAuth, RouterTls, ServedCertificate, Store, TlsOptions
from streamlb.config.transports import MARK
from streamlb.config.tree import problem_at, text_of

if TYPE_CHECKING:
    from streamlb.config import manifest
    from streamlb.config.documents import Document
    from streamlb.config.kubernetes_names import Name
    from streamlb.config.model import Config
    from streamlb.config.reading import Path, Reading

CERTIFICATE, KEY = "tls.crt", "tls.key"
AUTHORITIES = ("tls.ca", "ca.crt")


class TlsObjects:
    """All that documents say about TLS. used: the Secrets that something needed."""

    def __init__(self, secrets: dict[Name, Document], config: Config, reading: Reading) -> None:
        self.secrets = secrets
        self.config = config
        self.reading = reading
        self.used: set[Name] = set()
        self._certificates: dict[Name, ServedCertificate | None] = {}

    def note_unused(self) -> None:
        for name, document in self.secrets.items():
            if name not in self.used:
                self.reading.notes.append(problem_at(document.node, "", f"nothing needs {document.label}"))

    # --- objects -------------------------------------------------------------------------------------------------

    def middleware(self, document: Document) -> None:
        name = full(normalise("-".join(document.name)))
        self.config.tcp.middlewares[name] = document.spec
        self._graft((*document.root, "spec"), ("tcp", "middlewares", name))

    def options(self, document: Document) -> None:
        """A TLSOption; one called `default` holds for all who name none."""
        spec: manifest.TlsOptionSpec = document.spec
        root: Path = (*document.root, "spec")
        name = DEFAULT_OPTIONS if document.name[1] == DEFAULT_OPTIONS else full(normalise("-".join(document.name)))
        if name in self.config.tls.options:
            self.reading.error(root, f"there are other TLS options called `{name}`", at_key=True)
            return
        plain = {each.name: getattr(spec, each.name) for each in dataclasses.fields(spec)}
        authorities = []
        for index, secret in enumerate(spec.client_auth.secret_names):
            where = (*root, "clientAuth", "secretNames", index)
            authorities.append(self._authorities((document.name[0], secret), where))
        plain["client_auth"] = ClientAuth(ca_files=authorities, client_auth_type=spec.client_auth.client_auth_type)
        target: Path = ("tls", "options", name)
        self.config.tls.options[name] = TlsOptions(**plain)
        self._graft(root, target)
        self._graft((*root, "clientAuth", "secretNames"), (*target, "clientAuth", "caFiles"))

    def store(self, document: Document) -> None:
        spec: manifest.TlsStoreSpec = document.spec
        root: Path = (*document.root, "spec")
        if document.name[1] != DEFAULT_OPTIONS:
            self.reading.error(root, f"there is only the store `{DEFAULT_OPTIONS}`", at_key=True)
            return
        for index, each in enumerate(spec.certificates):
            self._serve((document.name[0], each.secret_name), (*root, "certificates", index, "secretName"))
        if spec.default_certificate is None:
            return
        store = self.config.tls.stores.setdefault(DEFAULT_OPTIONS, Store())
        where = (*root, "defaultCertificate", "secretName")
        if store.default_certificate is not None:
            self.reading.error(where, "there is another default certificate")
            return
        target: Path = ("tls", "stores", DEFAULT_OPTIONS, "defaultCertificate")
        store.default_certificate = self._pair((document.name[0], spec.default_certificate.secret_name), where, target)

    # --- routes --------------------------------------------------------------------------------------------------

    def router_tls(self, document: Document, target: Path) -> RouterTls | None:
        """What `tls` of a route's document makes of its router, which is `target`."""
        tls: manifest.RouteTls | None = getattr(document.spec, "tls", None)
        if tls is None:
            return None
        root: Path = (*document.root, "spec", "tls")
        if tls.secret_name:
            self._serve((document.name[0], tls.secret_name), (*root, "secretName"))
        found = RouterTls(passthrough=getattr(tls, "passthrough", False))
        self._graft(root, (*target, "tls"))
        if tls.options is not None:
            found.options = self._options_named(tls.options, document.name[0], (*root, "options", "name"))
        return found

    def _options_named(self, reference: manifest.Reference, namespace: str, where: Path) -> str:
        known = self.config.tls.options
        wanted = object_name(reference.name, reference.namespace or namespace)
        if provider_of(wanted) == FILE_PROVIDER:
            wanted = bare(wanted)
        if wanted in known:
            return wanted
        if reference.name != DEFAULT_OPTIONS and not self.reading.is_broken(where):
            written = bare(wanted)
            guess = bare(nearest(wanted, known))
            suggestion = f"did you mean `{guess}`?" if guess else "no TLSOption of the manifests has that name"
            self.reading.error(where, f"unknown TLS options `{written}`", suggestion)
        return ""

    # --- Secrets -------------------------------------------------------------------------------------------------

    def _serve(self, secret: Name, where: Path) -> None:
        """Show the certificate of a Secret to whoever asks for one of its names."""
        if secret in self._certificates or self.reading.is_broken(where):
            return
        target: Path = ("tls", "certificates", len(self.config.tls.certificates))
        certificate = self._certificates[secret] = self._pair(secret, where, target)
        if certificate is not None:
            self.config.tls.certificates.append(certificate)

    def _pair(self, secret: Name, where: Path, target: Path) -> ServedCertificate | None:
        texts = [self._text(secret, (key,), where) for key in (CERTIFICATE, KEY)]
        if not all(texts):
            return None
        document = self.secrets[secret]
        for key, field in ((CERTIFICATE, "certFile"), (KEY, "keyFile")):
            self.reading.places[(*target, field)] = Place(f"{document.label}: {key}", None, document.node)
        return ServedCertificate(cert_file=texts[0], key_file=texts[1])

    def _authorities(self, secret: Name, where: Path) -> str:
        return self._text(secret, AUTHORITIES, where)

    def _text(self, secret: Name, keys: tuple[str, ...], where: Path) -> str:
        """The PEM text under one of the keys of a Secret; empty after an error."""
        document = self.secrets.get(secret)
        self.used.add(secret)
        if document is None:
            known = {"/".join(name): name for name in self.secrets}
            guess = nearest("/".join(secret), known)
            suggestion = f"did you mean `{guess.partition('/')[2]}`?" if guess else "put it beside the routes"
            self.reading.error(where, f"unknown Secret `{'/'.join(secret)}`", suggestion)
            return ""
        for part in ("stringData", "data"):
            entries = entries_of(document.node.get(part))
            for key in keys:
                if key in entries:
                    return self._decoded(text_of(entries[key].value), part == "data", f"{document.label}: {key}", where)
        self.reading.error(where, f"{document.label} has no `{keys[0]}`")
        return ""

    def _decoded(self, written: str, is_encoded: bool, label: str, where: Path) -> str:
        try:
            raw = base64.b64decode("".join(written.split()), validate=True) if is_encoded else written.encode()
        except (binascii.Error, ValueError):
            self.reading.error(where, f"{label} is not base64", "`stringData` takes plain text")
            return ""
        text = raw.decode("ascii", "replace")
        if MARK not in text:
            self.reading.error(where, f"{label} is not PEM text (`{MARK}...`)")
            return ""
        return text

    def _graft(self, source: Path, target: Path) -> None:
        """Let `target` and all below it be reported where `source` was written."""
        depth = len(source)
        for path, place in list(self.reading.places.items()):
            if path[:depth] == source:
                self.reading.places[(*target, *path[depth:])] = place
        for path in list(self.reading.broken):
            if path[:depth] == source:
                self.reading.broken.add((*target, *path[depth:]))
