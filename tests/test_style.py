"""The style checkers, as tests: one command is the gate."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import probes

ROOT = Path(__file__).parents[1]
FOLDERS = ("builder", "grammar", "runtime", "tests", "benchmarks", "fixtures")


def run(module: str, *arguments: str) -> None:
    if importlib.util.find_spec(module) is None:
        probes.unmet(f"{module} is not installed")
    process = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    if process.returncode != 0:
        pytest.fail(process.stdout, pytrace=False)


def test_ruff_finds_nothing() -> None:
    run("ruff", "check", "--no-cache", *FOLDERS)


def test_everything_is_formatted() -> None:
    run("ruff", "format", "--check", "--diff", "--no-cache", *FOLDERS)


def test_types_hold(tmp_path: Path) -> None:
    run("mypy", "--cache-dir", str(tmp_path))


def test_types_of_the_tests_hold(tmp_path: Path) -> None:
    run("mypy", "--cache-dir", str(tmp_path), "tests", "benchmarks")


def test_shell_scripts_are_sound() -> None:
    if shutil.which("shellcheck") is None:
        probes.unmet("shellcheck is not installed")
    scripts = [*ROOT.glob("fixtures/*.sh"), *ROOT.glob("tests/*.sh"), ROOT / ".ci" / "run"]
    process = subprocess.run(
        ["shellcheck", "--severity=warning", *scripts], capture_output=True, encoding="utf-8"
    )
    assert process.returncode == 0, process.stdout
