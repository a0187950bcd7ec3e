"""What talks to registries is imported by who does, and imports nothing that builds."""

from __future__ import annotations

import subprocess
import sys

import pytest


def imported(statement: str) -> set[str]:
    """The modules that are there after a statement in a new interpreter."""
    script = f"{statement}\nimport sys\nprint(*sys.modules)"
    return set(subprocess.check_output([sys.executable, "-c", script], text=True).split())


@pytest.mark.parametrize("command", ["pull", "push", "login"])
def test_commands_of_registries_import_no_grammar(command: str) -> None:
    modules = imported(f"import builder.commands.{command}, builder.transfers")
    assert not modules & {"grammar", "lark", "httpx", "builder.plan.build_plan"}


def test_the_client_imports_httpx_when_it_asks() -> None:
    assert "httpx" not in imported("import runtime.image.registry.push")
    assert "httpx" not in imported("import runtime.image.registry.pull")


@pytest.mark.parametrize("command", ["build", "container_run", "images"])
def test_others_do_not_import_the_client(command: str) -> None:
    modules = imported(f"import builder.commands.{command}")
    assert not {name for name in modules if name.startswith("runtime.image.registry")}
