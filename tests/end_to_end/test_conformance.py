"""The reference builder's recorded outcomes, where the project's workplace has them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from support.bases import REPOSITORY
from support.cli import LAMINA, Lamina

CHECK = REPOSITORY.parent / "shared" / "conformance" / "check.py"
PASSING_AT_LEAST = 94
"""The other two stand on an image of a registry that not every machine reaches."""

pytestmark = [
    pytest.mark.any_user,
    pytest.mark.namespaces,
    pytest.mark.skipif(not CHECK.exists(), reason=f"{CHECK} is not here"),
    pytest.mark.skipif(
        not hasattr(tarfile, "fully_trusted_filter"), reason="check.py needs Python 3.11.4"
    ),
]


def test_agrees_with_the_reference_builder(private_lamina: Lamina, tmp_path: Path) -> None:
    own = {"LAMINA_ROOT": str(private_lamina.root), "TMPDIR": str(tmp_path)}
    process = subprocess.run(
        [sys.executable, CHECK, "--builder", LAMINA, "-j", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        env=os.environ | own,
    )
    closing = re.fullmatch(r"(\d+) passed, (\d+) failed", process.stdout.splitlines()[-1])
    assert closing, process.stdout
    assert int(closing[1]) >= PASSING_AT_LEAST, process.stdout
    assert "a stack trace" not in process.stdout, process.stdout
