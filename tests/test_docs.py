"""The tables in docs/ say what the code does: nothing is missing, nothing is made up."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import click
import pytest

from builder.commands.build import build_command
from builder.commands.build_options import REFUSED
from builder.errors import OptionError
from builder.output.outputs import parse_output
from builder.plan import mounts
from grammar import nodes
from grammar.flags import FLAGS
from grammar.lint import rules

DOCS = Path(__file__).parents[1] / "docs"
STATUSES = {"works", "differs", "refused"}
KEYWORDS = {"SetShell": "SHELL"}

# The options of `docker buildx build` (0.26), by their long names.
BUILDX = (
    "add-host", "allow", "annotation", "attest", "build-arg", "build-context", "builder",
    "cache-from", "cache-to", "call", "cgroup-parent", "check", "debug", "file", "iidfile",
    "label", "load", "metadata-file", "network", "no-cache", "no-cache-filter", "output",
    "platform", "policy", "progress", "provenance", "pull", "push", "quiet", "resource",
    "sbom", "secret", "shm-size", "ssh", "tag", "target", "ulimit",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: the feature, its status, what is said of it."""

    feature: str
    status: str
    note: str


def rows(document: str) -> list[Row]:
    """Every row of every table in a document."""
    found = []
    for line in (DOCS / document).read_text().splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            cells = re.split(r" \|(?= |$)", line.removeprefix("| "))
            if len(cells) != 4 or cells[1].strip() == "status":
                assert cells[1].strip() == "status", line
                continue
            found.append(Row(cells[0].strip(), cells[1].strip(), cells[2].strip()))
    return found


def options() -> dict[str, click.Option]:
    """The options of `lamina build`, by their longest names."""
    found = {}
    for parameter in build_command.params:
        if isinstance(parameter, click.Option) and "--help" not in parameter.opts:
            found[max(parameter.opts, key=len)] = parameter
    return found


@pytest.mark.parametrize("document", ["build.md", "dockerfile.md"])
def test_every_row_has_a_status_and_differences_are_named(document: str) -> None:
    found = rows(document)
    assert len({row.feature for row in found}) == len(found)
    for row in found:
        assert row.status in STATUSES, row
        assert row.note or row.status != "differs", row


def test_every_option_of_the_build_is_there() -> None:
    told = {row.feature.strip("`") for row in rows("build.md") if row.feature.startswith("`--")}
    assert options().keys() <= told
    assert {f"--{name}" for name in BUILDX} <= told


def test_options_are_refused_where_it_is_said() -> None:
    refused = {names.names[-1] for names in REFUSED}
    for row in rows("build.md"):
        if row.feature.startswith("`--"):
            assert (row.feature.strip("`") in refused) == (row.status == "refused"), row


def test_what_is_said_to_work_is_an_option() -> None:
    known = options().keys()
    for row in rows("build.md"):
        if row.feature.startswith("`--"):
            assert row.feature.strip("`") in known, row


def test_output_types() -> None:
    for row in rows("build.md"):
        if not row.feature.startswith("`--"):
            text = f"type={row.feature.strip('`')},dest=x"
            if row.feature in ("`image`", "`registry`", "`cacheonly`"):
                text = text.removesuffix(",dest=x")
            if row.status == "refused":
                with pytest.raises(OptionError):
                    parse_output(text)
            else:
                parse_output(text)


def test_every_instruction_is_there() -> None:
    features = " ".join(row.feature for row in rows("dockerfile.md"))
    for node in get_args(nodes.Instruction):
        keyword = KEYWORDS.get(node.__name__, node.__name__.upper())
        assert f"`{keyword}`" in features, keyword


def test_every_flag_is_there_and_no_other() -> None:
    told = {
        row.feature.strip("`")
        for row in rows("dockerfile.md")
        if re.fullmatch(r"`[A-Z]+ --[a-z-]+`", row.feature)
    }
    known = {f"{keyword} --{flag}" for keyword, flags in FLAGS.items() for flag in flags}
    assert told == known


def test_every_mount_and_its_options_are_there() -> None:
    told = {row.feature: row.note for row in rows("dockerfile.md")}
    for kind, keys in mounts.OPTIONS.items():
        named = set(re.findall(r"`([a-z]+)`", told[f"`type={kind}`"]))
        assert keys <= named, kind


def test_every_rule_is_there_and_no_other() -> None:
    known = {rule.name for rule in vars(rules).values() if isinstance(rule, rules.Rule)}
    told = {
        row.feature.strip("`")
        for row in rows("dockerfile.md")
        if re.fullmatch(r"`[A-Z][A-Za-z]+`", row.feature) and not row.feature.isupper()
    }
    assert told == known
