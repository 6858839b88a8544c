"""The wheel and the source archive: built as a release is, installed where nothing of the checkout is, and run."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import streamlb
from streamlb.cli.schema import PAGES
from tests.support.http import http_get
from tests.support.ports import free_port
from tests.support.programs import ROOT, Program, running_whoami

pytest.importorskip("hatchling")


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=120, check=False, cwd=cwd
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the source archive."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", folder)
    [wheel], [archive] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, archive


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`streamlb` of a fresh environment that has the wheel, and the libraries it needs, which are not fetched again."""
    folder = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", built[0])
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "libraries.pth").write_text("\n".join(sorted(libraries)))
    return folder / "bin" / "streamlb"


def test_the_wheel_holds_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    names = zipfile.ZipFile(built[0]).namelist()
    assert {name.split("/")[0] for name in names} == {"streamlb", f"streamlb-{streamlb.__version__}.dist-info"}
    assert {"streamlb/docs/reference.md", "streamlb/py.typed"} <= set(names)
    pages = [f"streamlb/docs/{page}" for page in PAGES if (ROOT / "docs" / page).is_file()]
    assert set(pages) <= set(names)
    ours = {path.relative_to(ROOT).as_posix() for path in (ROOT / "streamlb").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == ours


def test_the_archive_holds_what_is_needed_to_build_and_test(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "docs/reference.md", "conf/lb.yaml", "scripts/test"} <= names
    assert any(name.startswith("tests/unit/") for name in names)
    assert not [name for name in names if "__pycache__" in name or ".venv" in name or "_cache/" in name]


def test_it_is_itself_and_not_the_checkout(installed: Path, tmp_path: Path) -> None:
    python = installed.parent / "python"
    where = run(python, "-c", "import streamlb; print(streamlb.__file__)", cwd=tmp_path).stdout
    assert where.startswith(str(installed.parent.parent))
    assert f"streamlb      {streamlb.__version__}\n" in run(installed, "version", cwd=tmp_path).stdout


def test_every_command_is_there(installed: Path, tmp_path: Path) -> None:
    assert "Where to listen" in run(installed, "schema", cwd=tmp_path).stdout
    assert ".TH STREAMLB 1" in run(installed, "man", cwd=tmp_path).stdout
    assert "is valid" in run(installed, "check", ROOT / "conf" / "lb.yaml", cwd=tmp_path).stdout


def test_it_serves(installed: Path, tmp_path: Path) -> None:
    port = free_port()
    with running_whoami(text="hello") as server:
        (tmp_path / "lb.yaml").write_text(
            f"entryPoints: {{web: {{address: '127.0.0.1:{port}'}}}}\n"
            "http:\n"
            '  routers: {all: {rule: "PathPrefix(`/`)", service: app}}\n'
            "  services:\n"
            f"    app: {{loadBalancer: {{servers: [{{url: 'http://127.0.0.1:{server.http_port}'}}]}}}}\n"
        )
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        program = Program([installed, "run", tmp_path / "lb.yaml"], tmp_path, env=environ, name="streamlb")
        try:
            program.wait_for("ready in")
            assert http_get(port).text == "hello\n"
            assert program.stop() == 0
        finally:
            program.kill()
