"""What a user installs is what was tested: the wheel, in an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from support.cli import Lamina

ROOT = Path(__file__).parents[1]
# One worker makes the environment, and uses it for all.
pytestmark = pytest.mark.xdist_group("install")
NOT_WITHOUT_NEED = ("lark", "httpx", "zstandard", "isal", "interegular", "tarsafe")


def run(*command: str | Path) -> str:
    process = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=600)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a fresh environment with nothing in it but the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("install")
    source = folder / "source"  # building leaves traces in its source
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")
    shutil.copytree(ROOT, source, ignore=unwanted)
    pip = (sys.executable, "-m", "pip", "--quiet")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("lamina-*.whl")
    venv.create(folder / "venv", with_pip=True)
    run(folder / "venv/bin/python", "-m", "pip", "--quiet", "install", wheel)
    return folder / "venv/bin"


def test_the_command_says_what_it_can(installed: Path) -> None:
    text = run(installed / "lamina", "--help")
    for verb in ("build", "run", "import", "images", "inspect", "rmi", "history"):
        assert verb in text


def test_the_command_knows_its_version(installed: Path) -> None:
    assert "0.1.0" in run(installed / "lamina", "--version")


def test_data_files_are_in_the_wheel(installed: Path) -> None:
    program = "import grammar; print(grammar.parse('FROM scratch\\n', 'Dockerfile').stages[0])"
    assert "scratch" in run(installed / "python", "-c", program)
    program = (
        "from runtime.sandbox.seccomp_profile import numbers; print(numbers('x86_64')['mount'])"
    )
    assert run(installed / "python", "-c", program) == "165\n"


@pytest.mark.namespaces
@pytest.mark.parametrize(
    "command", [("--version",), ("images",), ("run", "--rm", "busybox", "true")], ids=lambda c: c[0]
)
def test_nothing_heavy_is_imported(lamina: Lamina, command: tuple[str, ...]) -> None:
    told = lamina(*command, environment={"PYTHONPROFILEIMPORTTIME": "1"}).stderr
    imports = {line.rpartition("|")[2].strip().split(".")[0] for line in told.splitlines()}
    assert "builder" in imports
    assert imports.isdisjoint(NOT_WITHOUT_NEED)
