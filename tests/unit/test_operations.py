"""The operations guide: what it shows is valid, the commands it names exist, and links lead somewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import click
import pytest

from streamlb.cli import FAMILIES, main
from streamlb.process.configuration import open_sources
from tests.support.certificates import authority
from tests.support.programs import need

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "operations.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)


def blocks(kind: str) -> list[str]:
    found = [match[2] for match in FENCE.finditer(GUIDE) if match[1] == kind]
    assert found, f"no block of {kind}"
    return found


def test_every_block_says_what_it_is() -> None:
    """YAML of others is marked as theirs; what says only `yaml` is tried with all the docs."""
    kinds = {match[1] for match in FENCE.finditer(GUIDE)}
    known = {"yaml", "yaml certificates", "yaml prometheus", "yaml alerts", "console", "sh", "keepalived", "dockerfile"}
    assert kinds <= known


def test_the_configuration_and_its_certificates_are_one(tmp_path: Path) -> None:
    pair = authority().certificate("shop.example.com")
    (tmp_path / "lb.yaml").write_text(blocks("yaml")[0])
    [certificates] = blocks("yaml certificates")
    keys = tmp_path / "tls"
    keys.mkdir()
    (keys / "shop.example.com.pem").write_text(pair.certificate.read_text())
    (keys / "shop.example.com.key").write_text(pair.key.read_text())
    (tmp_path / "tls.yaml").write_text(certificates.replace("/etc/streamlb/tls", str(keys)))
    loaded = open_sources([tmp_path]).read()
    assert loaded.notes == []
    assert set(loaded.config.entry_points) >= {"web", "websecure"}


def test_shell_scripts_are_valid(tmp_path: Path) -> None:
    for block in blocks("sh"):
        subprocess.run([need("sh"), "-n"], input=block, text=True, check=True, timeout=10)


def commands() -> list[tuple[str, str]]:
    """The commands of streamlb that the guide has its readers type, with what follows."""
    lines = "".join(blocks("console")) + "\n".join(re.findall(r"`([^`\n]+)`", GUIDE))
    return [(found[1], found[2]) for found in re.finditer(r"(?<![/\w])streamlb ([a-z]+)\b([^|&;>#\n`]*)", lines)]


@pytest.mark.parametrize(("name", "rest"), sorted(set(commands())))
def test_commands_exist_with_their_options(name: str, rest: str) -> None:
    if name not in FAMILIES:
        assert rest.strip() in ("", ".") or name in {"healthcheck"}, f"streamlb {name} {rest}"
        return
    command = main.get_command(click.Context(main), name)  # type: ignore[attr-defined]
    assert command is not None
    words = rest.split()
    while isinstance(command, click.Group) and words:
        inner = command.get_command(click.Context(command), words.pop(0))
        assert inner is not None, f"streamlb {name} {rest}"
        command = inner
    options = {option for parameter in command.params for option in parameter.opts}
    for word in words:
        if word.startswith("--"):
            assert word in options, f"streamlb {name} has no {word}"


def test_prometheus_takes_its_files(tmp_path: Path) -> None:
    [rules], [config] = blocks("yaml alerts"), blocks("yaml prometheus")
    (tmp_path / "streamlb.rules.yml").write_text(rules)
    (tmp_path / "prometheus.yml").write_text(config)
    for kind, name in (("rules", "streamlb.rules.yml"), ("config", "prometheus.yml")):
        command = [need("promtool", "prometheus"), "check", kind, str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_ask_for_metrics_there_are() -> None:
    source = "".join(path.read_text() for path in (ROOT / "streamlb").rglob("*.py"))
    source += source.replace("{scope}", "service") + source.replace("{scope}", "entrypoint")
    for name in re.findall(r"\b(?:streamlb|traefik)_[a-z_]+", blocks("yaml alerts")[0]):
        plain = re.sub(r"_(?:total|bucket)$", "", name)
        assert f'"{plain}"' in source, f"nobody counts {name}"


def anchors(page: Path) -> set[str]:
    """The anchors of headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text())
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} leads to {target}"
        if anchor:
            assert anchor in anchors(there), f"{page.name} leads to {target}"
