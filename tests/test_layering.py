"""The packages depend on each other in one direction only, and their files stay readable."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Set
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("builder", "grammar", "runtime")
# What images are described with: no file of a store or a layer is behind it.
FACTS = tuple(
    f"runtime.image.{name}"
    for name in (
        "attestations",
        "choice",
        "digest",
        "errors",
        "json_bytes",
        "manifest",
        "model",
        "new_file",
        "platform",
        "reference",
    )
)
BELOW_SOURCES = ("builder.cache", "builder.plan", "builder.errors", "builder.events", *OURS[1:])
ALLOWED = {
    "grammar": ("grammar",),
    "runtime.image.layer": ("runtime.image.layer", "runtime.owner_record", *FACTS),
    "runtime.image.store": ("runtime.image.store", "runtime.image.layer", *FACTS),
    "runtime.image.registry": (
        "runtime.image.registry",
        "runtime.image.store",
        "runtime.image.layer",
        *FACTS,
    ),
    "runtime.image": ("runtime.image", "runtime.owner_record"),
    "runtime.sandbox": (
        "runtime.sandbox",
        "runtime.errors",
        "runtime.owner_record",
        "runtime.user",
    ),
    "runtime.cgroups": ("runtime.cgroups", "runtime.sandbox", "runtime.errors"),
    "runtime.copying": (
        "runtime.copying",
        "runtime.sandbox",
        "runtime.errors",
        "runtime.owner_record",
    ),
    # Light enough to look after each container, but for what it imports at its end.
    "runtime.monitor": (
        "runtime.monitor",
        "runtime.cgroups",
        "runtime.sandbox",
        "runtime.containers.remove",
        "runtime.errors",
    ),
    # Monitors import it, by name.
    "runtime.network": (
        "runtime.network",
        "runtime.monitor",
        "runtime.sandbox",
        "runtime.errors",
    ),
    "runtime": ("runtime",),
    "builder.plan": ("builder.plan", "builder.errors", "builder.events", "grammar", "runtime"),
    "builder.cache": ("builder.cache", "builder.plan", "builder.errors", "runtime"),
    "builder.sources": ("builder.sources", *BELOW_SOURCES),
    "builder.execution": ("builder.execution", "builder.sources", *BELOW_SOURCES),
    "builder.exchange": ("builder.exchange", "builder.fetching", *BELOW_SOURCES),
    "builder.records": ("builder.records", *BELOW_SOURCES),
    "builder": OURS,
}
LINES_WORTH_A_LOOK = 400
LINES_TOO_MANY = 450


def is_in(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def imported(nodes: Iterator[ast.AST], known: Set[str]) -> Iterator[str]:
    """The modules that a file's import statements name; of ours, the exact one."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            assert node.module is not None
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in known else node.module


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for folder in OURS for path in sorted((ROOT / folder).rglob("*.py"))}


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_run_downward(package: str) -> None:
    for module, path in MODULES.items():
        if is_in(module, package):
            for name in imported(ast.walk(parsed(path)), MODULES.keys()):
                if name.split(".")[0] in OURS:
                    allowed = any(is_in(name, other) for other in ALLOWED[package])
                    assert allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    """An import inside a function, or for types only, closes a circle as well; it just hides it."""
    graph = {
        module: MODULES.keys() & set(imported(ast.walk(parsed(path)), MODULES.keys()))
        for module, path in MODULES.items()
    }
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]), pytrace=False)


@pytest.mark.parametrize("package", OURS)
def test_files_stay_readable(package: str) -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for module, path in MODULES.items()
        if is_in(module, package)
    }
    too_long = {path: lines for path, lines in lengths.items() if lines > LINES_TOO_MANY}
    assert not too_long, f"one idea a file, about {LINES_WORTH_A_LOOK} lines"
