"""The way from the trees of all files to a validated configuration.

What lives here: the order of the steps, and what a valid configuration comes with.
What must not: the steps themselves (`merging.py`, `shape.py`, `entry_points.py`, `kubernetes.py`, `services.py`,
`telling.py`, `transports.py`, `certificates.py`, `routers.py`, `tcp.py`, `timeouts.py`), which files there are
(`sources.py`).
Called by `sources.py`. Specified by docs/reference.md.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlb.config import (
    certificates,
    entry_points,
    health,
    internal,
    kubernetes,
    merging,
    routers,
    services,
    shape,
    tcp,
    telling,
    timeouts,
    transports,
)
from streamlb.config.model import Config
from streamlb.config.reading import Reading
from streamlb.config.transports import Files
from streamlb.errors import ConfigError, Problem

if TYPE_CHECKING:
    from streamlb.config.certificates import CheckTlsOptions, DescribeCertificate, Remark
    from streamlb.config.health import CheckPattern
    from streamlb.config.reading import Path, Place
    from streamlb.config.routers import CheckRule, FindDisputed, FindHidden
    from streamlb.config.transports import CheckCiphers, CheckPem
    from streamlb.config.tree import Node

MAX_PROBLEMS = 1_000  # shown; nobody reads more, and an alias can multiply one mistake a million times
HIDDEN = "(a secret)"
MIN_SECRET = 3  # characters; shorter ones are words of every sentence


@dataclass(slots=True)
class Loaded:
    """A valid configuration. notes: what is allowed but hardly meant. files: everything that was read.

    pem: where in `config` there is the text of which file: certificates, keys and authorities.
    places: where each value was written. spared: files with certificates that are not good any more, so that what
    they held before is used.
    """

    config: Config
    notes: list[Problem] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    pem: dict[Path, str] = field(default_factory=dict)
    places: dict[Path, Place] = field(default_factory=dict)
    spared: dict[str, Problem] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Judges:
    """What others know and the checks do not; None leaves a check out."""

    check_rule: CheckRule | None = None
    find_hidden: FindHidden | None = None
    check_pem: CheckPem | None = None
    check_pattern: CheckPattern | None = None
    describe: DescribeCertificate | None = None
    remark: Remark | None = None
    check_tls_options: CheckTlsOptions | None = None
    check_ciphers: CheckCiphers | None = None
    find_disputed: FindDisputed | None = None


@dataclass(slots=True, kw_only=True)
class Parts:
    """What a configuration is made of.

    roots: the document of each file. manifests: all Kubernetes documents. files: everything that was read.
    problems: of reading the files. secrets: texts that no message may show.
    fallback: what files with certificates held when they were good.
    """

    roots: list[Node]
    manifests: list[Node] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)
    fallback: dict[str, str] = field(default_factory=dict)
    notes: list[Problem] = field(default_factory=list)


def assemble(parts: Parts, judges: Judges) -> Loaded:
    """The configuration. Raises ConfigError with all its problems."""
    reading = Reading()
    reading.problems.extend(parts.problems)
    reading.notes.extend(parts.notes)
    if not parts.roots:
        raise ConfigError(_tidy(reading.problems, parts.secrets))
    root = merging.merge(parts.roots, reading.problems)
    config = shape.read(root, Config, reading)
    files = list(parts.files)
    entry_points.check(config, reading)
    _check_providers(config, reading)
    if config.providers.kubernetes_manifests:
        kubernetes.translate(parts.manifests, config, reading)
    _check_names(config, reading)
    internal.check(config, reading)
    telling.check(config, reading)
    services.check(config, reading)
    if judges.check_pattern is not None:
        health.check_patterns(config, reading, judges.check_pattern)
    pem = Files(files, reading, judges.check_pem, parts.fallback)
    transports.check(config, pem, reading, judges.check_ciphers)
    certificates.check(config, pem, reading, judges.describe, judges.check_tls_options, judges.remark)
    routers.check(config, reading, judges.check_rule)
    tcp.check(config, reading)
    timeouts.check(config, reading)
    if reading.problems:
        raise ConfigError(_tidy(reading.problems, parts.secrets))
    if judges.find_hidden:
        routers.note_hidden(config, reading, judges.find_hidden)
    if judges.find_disputed:
        routers.note_disputed(config, reading, judges.find_disputed)
    notes = sorted(_tidy(reading.notes, parts.secrets), key=lambda note: note.position)
    return Loaded(config, notes, files, pem.sources, reading.places, pem.spared)


def _check_names(config: Config, reading: Reading) -> None:
    for protocol in ("http", "tcp", "udp"):
        section = config.section(protocol)
        for kind, names in (("routers", section.routers), ("services", section.services)):
            for name in names:
                reading.check_own_name((protocol, kind, name))


def _check_providers(config: Config, reading: Reading) -> None:
    manifests, file = config.providers.kubernetes_manifests, config.providers.file
    where: Path = ("providers", "kubernetesManifests", "paths")
    if manifests is not None and not manifests.paths and not reading.is_broken(where):
        reading.error(where, "there is no path to read Kubernetes documents from", at_key=True)
    if file is not None and not file.filename and not file.directory:
        reading.error(("providers", "file"), "there is no file to read", "give `directory` or `filename`", at_key=True)


def _tidy(problems: list[Problem], secrets: set[str]) -> list[Problem]:
    """Each problem once, not too many, by place, and none that tells a secret."""
    unique = list(dict.fromkeys(problems))
    hidden = [secret for secret in secrets if len(secret) >= MIN_SECRET]
    if hidden:
        unique = [_discreet(problem, hidden) for problem in unique]
    unique.sort(key=lambda problem: problem.position)
    if len(unique) <= MAX_PROBLEMS:
        return unique
    last = unique[MAX_PROBLEMS - 1]
    more = len(unique) - MAX_PROBLEMS + 1
    return [*unique[: MAX_PROBLEMS - 1], Problem(last.position, "", f"and {more} more problems like these")]


def _discreet(problem: Problem, secrets: list[str]) -> Problem:
    reason, suggestion = problem.reason, problem.suggestion
    for secret in secrets:
        reason, suggestion = reason.replace(secret, HIDDEN), suggestion.replace(secret, HIDDEN)
    return dataclasses.replace(problem, reason=reason, suggestion=suggestion)
