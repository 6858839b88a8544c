"""The whole way from a file to a validated configuration.

What lives here: the order of the steps, and what a valid configuration comes with.
What must not: the steps themselves (`load.py`, `shape.py`, `entry_points.py`, `kubernetes.py`, `services.py`,
`transports.py`, `certificates.py`, `routers.py`, `tcp.py`, `timeouts.py`). Called by the command line and the control
process. Specified by docs/reference.md.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlb.config import (
    certificates,
    entry_points,
    health,
    internal,
    kubernetes,
    routers,
    services,
    shape,
    tcp,
    timeouts,
    transports,
)
from streamlb.config.load import decode, find_files, parse, read_bytes, read_source
from streamlb.config.model import Config
from streamlb.config.reading import Reading
from streamlb.config.transports import Files
from streamlb.config.tree import Mapping, Node, Scalar, Source, is_empty, problem_at
from streamlb.errors import ConfigError, Problem

if TYPE_CHECKING:
    from streamlb.config.certificates import CheckTlsOptions, DescribeCertificate, Remark
    from streamlb.config.health import CheckPattern
    from streamlb.config.reading import Path
    from streamlb.config.routers import CheckRule, FindDisputed, FindHidden
    from streamlb.config.transports import CheckCiphers, CheckPem

MAX_PROBLEMS = 1_000  # shown; nobody reads more, and an alias can multiply one mistake a million times
MAX_MANIFESTS = 10_000  # files


@dataclass(slots=True)
class Loaded:
    """A valid configuration. notes: what is allowed but hardly meant. files: everything that was read.

    pem: where in `config` there is the text of which file: certificates, keys and authorities.
    """

    config: Config
    notes: list[Problem] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    pem: dict[Path, str] = field(default_factory=dict)


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


def load(path: str | os.PathLike[str], judges: Judges | None = None) -> Loaded:
    """The configuration of a file and what comes with it. Raises ConfigError with all its problems."""
    name = os.fspath(path)
    return _load(read_source(name), os.path.dirname(name), judges or Judges())


def load_text(text: str, name: str = "config.yaml", judges: Judges | None = None) -> Loaded:
    """The same for text that is not in a file; `name` says how to call it and where relative paths begin."""
    source = decode(name, text.encode("utf-8", "surrogatepass"))
    return _load(source, os.path.dirname(name), judges or Judges())


def _load(source: Source, directory: str, judges: Judges) -> Loaded:
    reading = Reading()
    root = _document(source, reading.problems)
    config = shape.read(root, Config, reading)
    files = [source.name]
    entry_points.check(config, reading)
    if config.providers.kubernetes_manifests:
        _add_manifests(config, directory, files, reading)
    _check_names(config, reading)
    internal.check(config, reading)
    services.check(config, reading)
    if judges.check_pattern is not None:
        health.check_patterns(config, reading, judges.check_pattern)
    pem = Files(directory, files, reading, judges.check_pem)
    transports.check(config, pem, reading, judges.check_ciphers)
    certificates.check(config, pem, reading, judges.describe, judges.check_tls_options, judges.remark)
    routers.check(config, reading, judges.check_rule)
    tcp.check(config, reading)
    timeouts.check(config, reading)
    if reading.problems:
        raise ConfigError(_tidy(reading.problems))
    if judges.find_hidden:
        routers.note_hidden(config, reading, judges.find_hidden)
    if judges.find_disputed:
        routers.note_disputed(config, reading, judges.find_disputed)
    return Loaded(config, sorted(_tidy(reading.notes), key=lambda note: note.position), files, pem.sources)


def _document(source: Source, problems: list[Problem]) -> Node:
    """The one document of the main file; raises ConfigError when there is none to go on with."""
    documents = parse(source, problems)
    if len(documents) > 1:
        reason = "the configuration is one YAML document; this file has a second one, behind `---`"
        problems.append(problem_at(documents[1], "", reason))
    if not documents or is_empty(documents[0]):
        if not problems:
            reason = "the file is empty"
            problems.append(source.problem(1, 1, "", reason, "begin with `entryPoints:`"))
        raise ConfigError(_tidy(problems))
    root = documents[0]
    if isinstance(root, Mapping) and {"apiVersion", "kind"} <= root.entries.keys():
        suggestion = "name it in `providers.kubernetesManifests.paths` of a streamlb configuration"
        problems.append(problem_at(root, "", "this is a Kubernetes document, not a configuration", suggestion))
        raise ConfigError(_tidy(problems))
    if isinstance(root, Scalar):
        problems.append(problem_at(root, "", "expected `key: value` lines, got a single value"))
        raise ConfigError(_tidy(problems))
    return root


def _check_names(config: Config, reading: Reading) -> None:
    for protocol in ("http", "tcp", "udp"):
        section = config.section(protocol)
        for kind, names in (("routers", section.routers), ("services", section.services)):
            for name in names:
                reading.check_own_name((protocol, kind, name))


def _add_manifests(config: Config, directory: str, files: list[str], reading: Reading) -> None:
    """Read the Kubernetes documents and add what they say to the configuration."""
    manifests = config.providers.kubernetes_manifests
    assert manifests is not None
    where: Path = ("providers", "kubernetesManifests")
    if not manifests.paths and not reading.is_broken((*where, "paths")):
        reading.error((*where, "paths"), "there is no path to read Kubernetes documents from", at_key=True)
    documents: list[Node] = []
    for index, path in enumerate(manifests.paths):
        spot = (*where, "paths", index)
        if reading.is_broken(spot):
            continue
        found = _find(os.path.join(directory, path), path, spot, reading)
        for file in found[:MAX_MANIFESTS]:
            if file not in files:
                files.append(file)
                documents.extend(_manifest(file, spot, reading))
    kubernetes.translate(documents, config, reading)


def _find(path: str, written: str, spot: Path, reading: Reading) -> list[str]:
    try:
        found = find_files(path)
    except OSError as error:
        reading.error(spot, f"cannot read the directory `{written}`: {error.strerror or error}")
        return []
    if not found:
        reading.error(spot, f"there is no YAML file in the directory `{written}`")
    return found


def _manifest(file: str, spot: Path, reading: Reading) -> list[Node]:
    """The documents of one file; that it cannot be read is the fault of the path, the rest its own."""
    try:
        raw = read_bytes(file)
    except OSError as error:
        reading.error(spot, f"cannot read `{file}`: {error.strerror or error}")
        return []
    try:
        return parse(decode(file, raw), reading.problems)
    except ConfigError as error:
        reading.problems.extend(error.problems)
        return []


def _tidy(problems: list[Problem]) -> list[Problem]:
    """Each problem once, not too many, by place."""
    unique = list(dict.fromkeys(problems))
    unique.sort(key=lambda problem: problem.position)
    if len(unique) <= MAX_PROBLEMS:
        return unique
    last = unique[MAX_PROBLEMS - 1]
    more = len(unique) - MAX_PROBLEMS + 1
    return [*unique[: MAX_PROBLEMS - 1], Problem(last.position, "", f"and {more} more problems like these")]
