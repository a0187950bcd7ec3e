"""The benchmark runs, and its files say what it measured; the figures are no test's business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.bases import REPOSITORY

pytestmark = [pytest.mark.namespaces, pytest.mark.any_user]


def test_a_measurement_of_lamina_alone(tmp_path: Path) -> None:
    page, figures = tmp_path / "page.md", tmp_path / "figures.json"
    workloads = ("no-op-1", "start")
    command = [sys.executable, "-m", "benchmarks", "--rounds", "1", "--tools", "lamina"]
    command += ["--workloads", *workloads, "--markdown", str(page), "--json", str(figures)]
    process = subprocess.run(command, cwd=REPOSITORY, capture_output=True, encoding="utf-8")
    assert process.returncode == 0, process.stderr
    series = json.loads(figures.read_text())["series"]
    assert [(one["workload"], one["tool"]) for one in series] == [(w, "lamina") for w in workloads]
    assert all(seconds > 0 for one in series for seconds in one["seconds"])
    assert "| one RUN step that does nothing | lamina |" in page.read_text()
