"""The recorded cases of the reference builder, where they are at hand."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path

import pytest

from grammar import DockerfileError, WordError, parse
from grammar.flags import split_flags
from grammar.nodes import (
    Add,
    Arg,
    Cmd,
    Command,
    Copy,
    Entrypoint,
    Env,
    Exec,
    Expose,
    From,
    Healthcheck,
    Heredoc,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Run,
    SetShell,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from grammar.printer import print_dockerfile
from grammar.words import expand

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "conformance"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the recorded cases are not here")


def names(folder: str) -> list[str]:
    return sorted(path.name for path in (FOLDER / folder).glob("*/"))


GO_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def go_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    for character, escape in GO_ESCAPES.items():
        escaped = escaped.replace(character, escape)
    return '"' + re.sub("[\x00-\x1f]", lambda match: f"\\x{ord(match[0]):02x}", escaped) + '"'


def expression(node: Instruction | From) -> str:
    """A node as the recorded trees have it."""
    if isinstance(node, Onbuild):
        return f"(onbuild {expression(node.trigger)})"
    keyword = "shell" if isinstance(node, SetShell) else type(node).__name__.lower()
    return " ".join((f"({keyword}", *map(go_quoted, arguments(node)))) + ")"


def arguments(node: Instruction | From) -> tuple[str, ...]:
    match node:
        case From(image=image, written_name=name):
            return (image,) if name is None else (image, "AS", name)
        case Run(command=command) | Cmd(command=command) | Entrypoint(command=command):
            return words(command)
        case Env(pairs=pairs, legacy=legacy) | Label(pairs=pairs, legacy=legacy):
            return tuple(word for pair in pairs for word in (*pair, "" if legacy else "="))
        case Arg(pairs=optional):
            return tuple(key if value is None else f"{key}={value}" for key, value in optional)
        case Copy() | Add():
            sources = (source for source in node.sources if not isinstance(source, Heredoc))
            return (*sources, node.destination)
        case SetShell(argv=found) | Expose(ports=found) | Volume(paths=found):
            return found
        case Workdir(path=text) | User(user=text) | StopSignal(signal=text) | Maintainer(name=text):
            return (text,)
        case Healthcheck(command=probe):
            return ("NONE",) if probe is None else ("CMD", *words(probe))
        case Onbuild():
            raise AssertionError("an ONBUILD is no argument")


def words(command: Command) -> tuple[str, ...]:
    match command:
        case Shell(text):
            return (text,)
        case Exec(argv):
            return argv


@pytest.mark.parametrize("name", names("parse"))
def test_a_tree(name: str) -> None:
    text = (FOLDER / "parse" / name / "Dockerfile").read_bytes().decode()
    trees = (FOLDER / "parse" / name / "result").read_text().splitlines()
    stageless = not any(tree.startswith("(from ") for tree in trees)
    if stageless:
        text, trees = f"FROM none\n{text}", ['(from "none")', *trees]
    # The recorded trees know of no flag that an instruction does not have.
    strange = [line for line in text.split("\n") if re.search(r" --(user|doit)", line)]
    for line in strange:
        flags, _ = split_flags(line.partition(" ")[2], "\\")
        expected = next(tree for tree in trees if "[" in tree)
        assert f" [{' '.join(map(go_quoted, flags))}]" in expected
        trees.remove(expected)
    stages = parse("\n".join(line for line in text.split("\n") if line not in strange)).stages
    nodes = [node for stage in stages for node in (stage.base, *stage.instructions)]
    assert [expression(node) for node in nodes] == trees


@pytest.mark.parametrize("name", names("cases"))
def test_a_dockerfile_parses_unless_it_was_refused(name: str) -> None:
    folder = FOLDER / "cases" / name
    dockerfile = json.loads((folder / "case.json").read_text())["dockerfile"]
    expected = json.loads((folder / "expected.json").read_text())
    with tarfile.open(folder / "context.tar") as archive:
        members = {member.name.removeprefix("./"): member for member in archive}
        file = archive.extractfile(members[dockerfile])
        assert file is not None
        text = file.read()
    try:
        node = parse(text)
    except DockerfileError as error:
        recorded = expected.get("error", "it was built")
        assert str(error) == recorded  # noqa: PT017
    else:
        assert parse(print_dockerfile(node)) == node


def test_words() -> None:
    document = json.loads((FOLDER / "words.json").read_text())
    found = []
    for word, _ in document["cases"]:
        try:
            found.append([word, expand(word, document["variables"]).text])
        except WordError:
            found.append([word, "error"])
    assert found == document["cases"]


def test_lint_cases_parse_and_have_the_parsers_own_warnings() -> None:
    document = json.loads((FOLDER / "lint.json").read_text())
    for case in document["cases"]:
        warned = [
            (warning["rule"], warning["line"])
            for warning in case["warnings"]
            if warning["rule"] == "NoEmptyContinuation"
        ]
        warnings = parse(case["dockerfile"]).warnings
        assert [(warning.rule, warning.span.first) for warning in warnings] == warned
