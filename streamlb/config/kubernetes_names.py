"""How Traefik names what it makes of Kubernetes documents.

What lives here: the naming rules. What must not: what is named (`kubernetes.py`, `kubernetes_tls.py`).
Specified by Traefik's Kubernetes CRD provider; sticky cookies and the log show these names.
"""

from __future__ import annotations

import hashlib

PROVIDER = "kubernetescrd"

Name = tuple[str, str]
"""Namespace and name."""


def normalise(name: str) -> str:
    """Every run of characters that are neither letters nor digits becomes one `-`."""
    words = "".join(char if char.isalpha() or char.isdecimal() else " " for char in name).split()
    return "-".join(words)


def rule_key(name: Name, rule: str) -> str:
    """`<namespace>-<name>-<first 10 bytes of the rule's SHA-256>`."""
    digest = hashlib.sha256(rule.encode("utf-8", "surrogatepass")).digest()[:10].hex()
    return f"{name[0]}-{name[1]}-{digest}"


def child_name(name: Name, port: int | str) -> str:
    """A Service as a child: `default-myapp2-80`."""
    return normalise(f"{name[0]}-{name[1]}-{port}" if port else f"{name[0]}-{name[1]}")


def full(name: str) -> str:
    return f"{name}@{PROVIDER}"


def object_name(reference: str, namespace: str) -> str:
    """What a reference to a middleware or to TLS options means: `default-office@kubernetescrd`, or `office@file`."""
    bare, at, provider = reference.rpartition("@")
    if at and provider != PROVIDER:
        return reference
    return full(normalise(f"{namespace}-{bare or reference}"))
