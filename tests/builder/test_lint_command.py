"""`lamina lint`, `lamina build --check`, and what an ordinary build says of its Dockerfile."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from builder.cli import lamina as lamina_group
from builder.commands.failures import report
from builder.commands.finding_formats import LintedFile, Problem, in_format
from grammar.lint import RULES
from support import leaks
from support.cli import Lamina, Outcome, check

CASED = "FROM scratch as x\nMAINTAINER me\n"
CASED_WARNINGS = [
    "WARN: FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)",
    "WARN: MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label"
    " (line 2)",
]
CLEAN = 'FROM scratch\nCMD ["x"]\n'


@pytest.fixture
def empty_lamina(run_folder: Path) -> Iterator[Lamina]:
    """The command on a store that is not there yet."""
    folder = Path(tempfile.mkdtemp(prefix="lint-", dir=run_folder))
    yield Lamina(root=folder / "store", temporary=run_folder / "tmp")
    leaks.remove(folder)


@dataclass(frozen=True, slots=True)
class Linter:
    """`lamina lint` in this process: without a store it needs nothing of its own."""

    root: Path
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str | Path, status: int = 0) -> Outcome:
        """Check the files; another exit status than `status` fails the test."""
        command = ["--root", str(self.root), "lint", *map(str, arguments)]
        try:
            got = lamina_group.main(command, standalone_mode=False)
        except click.ClickException as error:
            got = error.exit_code
        except Exception as error:
            got = report(error)
        said = self.capture.readouterr()
        outcome = Outcome(
            command=" ".join(command), status=got or 0, stdout=said.out, stderr=said.err
        )
        return check(outcome, status)


@pytest.fixture
def linter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Linter:
    """`lamina lint`, with a store that is not there."""
    return Linter(tmp_path / "no-store", capsys)


def dockerfile(folder: Path, text: str, name: str = "Dockerfile") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def warnings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("WARN")]


# ---- lamina lint


def test_findings_are_shown_with_their_lines(linter: Linter, tmp_path: Path) -> None:
    path = dockerfile(tmp_path, "FROM scratch\nCMD sh\n")
    assert linter(path).stdout.splitlines() == [
        "Check complete, 1 warning has been found!",
        "",
        "WARNING: JSONArgsRecommended",
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to"
        " OS signals",
        "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
        f"{path}:2",
        "--------------------",
        "   1 |     FROM scratch",
        "   2 | >>> CMD sh",
        "   3 |",
        "--------------------",
    ]
    assert not linter.root.exists()


@pytest.mark.parametrize(
    ("text", "options", "status"),
    [
        (CLEAN, [], 0),
        (CLEAN, ["--error"], 0),
        (CASED, [], 0),
        (CASED, ["--error"], 1),
        ("# check=error=true\n" + CASED, [], 1),
        ("# check=error=true;skip=all\n" + CASED, ["--error"], 0),
        ("# check=error=true\n" + CASED, ["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=X"], 0),
        ("FORM scratch\n", [], 1),
        ("# check=no\nFROM scratch\n", [], 1),
        (CLEAN, ["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=no"], 2),
        (CLEAN, ["--format", "xml"], 2),
    ],
)
def test_exit_status(
    linter: Linter, tmp_path: Path, text: str, options: list[str], status: int
) -> None:
    linter(*options, dockerfile(tmp_path, text), status=status)


def test_no_file_is_a_mistake_of_use(linter: Linter, tmp_path: Path) -> None:
    linter(status=2)
    assert "nothere" in linter(tmp_path / "nothere", status=1).stderr


def test_a_text_that_is_no_dockerfile_is_shown_and_the_others_are_checked(
    linter: Linter, tmp_path: Path
) -> None:
    bad = dockerfile(tmp_path, "FROM scratch\nFOO\n", "bad")
    told = linter(bad, dockerfile(tmp_path, CASED, "cased"), status=1)
    assert "WARNING: FromAsCasing" in told.stdout
    assert "dockerfile parse error on line 2: unknown instruction: FOO" in told.stderr
    assert f"{bad}:2" in told.stderr
    assert linter(bad, status=1).stdout == ""


def test_standard_input_and_several_files(empty_lamina: Lamina, tmp_path: Path) -> None:
    clean = dockerfile(tmp_path, CLEAN)
    told = empty_lamina("lint", "--format=json", clean, "-", stdin=CASED)
    document = json.loads(told.stdout)
    assert [source["filename"] for source in document["sources"]] == [str(clean), "Dockerfile"]
    assert {warning["location"]["sourceIndex"] for warning in document["warnings"]} == {1}


def test_the_ignore_file_beside_or_in_the_context_is_read(linter: Linter, tmp_path: Path) -> None:
    path = dockerfile(tmp_path, "FROM scratch\nCOPY secret /\n")
    context = tmp_path / "context"
    context.mkdir()
    (context / ".dockerignore").write_text("secret\n")
    assert "no warnings" in linter(path).stdout
    assert "CopyIgnoredFile" in linter("--context", context, path).stdout
    (tmp_path / "Dockerfile.dockerignore").write_text("secret\n")
    assert "CopyIgnoredFile" in linter(path).stdout


def test_json(linter: Linter, tmp_path: Path) -> None:
    path = dockerfile(tmp_path, CASED)
    document = json.loads(linter("--format", "json", path).stdout)
    assert document["warnings"][0] == {
        "ruleName": "FromAsCasing",
        "description": "The 'as' keyword should match the case of the 'from' keyword",
        "detail": "'as' and 'FROM' keywords' casing do not match",
        "location": {
            "sourceIndex": 0,
            "ranges": [{"start": {"line": 1}, "end": {"line": 1}}],
        },
        "path": "/go/dockerfile/rule/from-as-casing/",
    }
    assert "buildError" not in document
    bad = dockerfile(tmp_path, "FOO\n", "bad")
    document = json.loads(linter("--format", "json", bad, bad, status=1).stdout)
    assert document["buildError"]["message"].startswith("dockerfile parse error on line 1")
    assert [error["location"]["sourceIndex"] for error in document["buildErrors"]] == [0, 1]


# ---- SARIF


def sarif(*files: LintedFile) -> dict[str, Any]:
    document = json.loads(in_format("sarif", files, "1.2.3"))
    assert isinstance(document, dict)
    return document


def test_sarif_of_a_file(linter: Linter, tmp_path: Path) -> None:
    folder = tmp_path / "a b#c"
    folder.mkdir()
    path = dockerfile(folder, CASED)
    document = json.loads(linter("--format=sarif", path, "--error", status=1).stdout)
    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "lamina"
    assert [rule["id"] for rule in driver["rules"]] == [rule.name for rule in RULES]
    assert all(rule["shortDescription"]["text"] for rule in driver["rules"])
    assert run["invocations"] == [{"executionSuccessful": True, "toolExecutionNotifications": []}]
    first, second = run["results"]
    for result in (first, second):
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] == "warning"
    assert second["message"]["text"].startswith("Maintainer instruction is deprecated")
    (location,) = second["locations"]
    uri = location["physicalLocation"]["artifactLocation"]["uri"]
    assert uri.endswith("/a%20b%23c/Dockerfile")
    assert location["physicalLocation"]["region"] == {"startLine": 2, "endLine": 2}
    assert run["artifacts"] == [{"location": {"uri": uri}}]


def test_sarif_of_a_problem() -> None:
    (run,) = sarif(LintedFile(path="x:y", text="", problem=Problem(message="bad")))["runs"]
    (invocation,) = run["invocations"]
    assert not invocation["executionSuccessful"]
    assert invocation["toolExecutionNotifications"] == [
        {"level": "error", "message": {"text": "bad"}}
    ]
    assert run["artifacts"][0]["location"]["uri"] == "x%3Ay"
    assert run["results"] == []


# ---- lamina build


def test_warnings_close_a_build(empty_lamina: Lamina, tmp_path: Path) -> None:
    unused = "FROM scratch AS unused\nWORKDIR a\n"
    dockerfile(tmp_path, CASED + unused + "FROM x\nWORKDIR b\n")
    told = empty_lamina("build", "--progress", "plain", tmp_path).stderr
    assert warnings(told) == [
        *CASED_WARNINGS,
        'WARN: WorkdirRelativePath: Relative workdir "b" can have unexpected results if the base'
        " image changes (line 6)",
    ]
    assert told.splitlines()[-3:] == warnings(told)
    assert empty_lamina("build", "-q", tmp_path).stderr == ""


def test_warnings_are_events(empty_lamina: Lamina, tmp_path: Path) -> None:
    dockerfile(tmp_path, CASED)
    told = empty_lamina("build", "--progress", "json", tmp_path).stderr
    last = json.loads(told.splitlines()[-1])
    assert (last["event"], last["rule"]) == ("Warned", "MaintainerDeprecated")
    assert last["span"]["first"] == 2


def test_a_failed_build_shows_warnings_too(empty_lamina: Lamina, tmp_path: Path) -> None:
    dockerfile(tmp_path, CASED + "COPY missing /\n")
    assert warnings(empty_lamina("build", tmp_path, status=1).stderr) == CASED_WARNINGS
    dockerfile(tmp_path, CASED + "WORKDIR rel\nFROM $nothing\n")
    told = empty_lamina("build", tmp_path, status=1).stderr
    assert warnings(told)[-1] == (
        "WARN: UndefinedArgInFrom: FROM argument 'nothing' is not declared (line 4)"
    )
    assert "base name ($nothing) should not be blank" in told


def test_error_true_fails_before_anything_runs(empty_lamina: Lamina, tmp_path: Path) -> None:
    dockerfile(tmp_path, "# check=error=true\n" + CASED + "COPY Dockerfile /\n")
    iidfile = tmp_path / "iid"
    told = empty_lamina("build", "--iidfile", iidfile, tmp_path, status=1).stderr
    assert "lint violation found for rules: FromAsCasing, MaintainerDeprecated" in told
    assert "COPY Dockerfile" not in [line.partition("] ")[2] for line in told.splitlines()]
    assert not iidfile.exists()
    empty_lamina("build", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all", tmp_path)
    told = empty_lamina(
        "build", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=bad", tmp_path, status=2
    ).stderr
    assert 'invalid check option "bad"' in told


# ---- lamina build --check


def test_check_looks_at_every_stage_and_builds_nothing(
    empty_lamina: Lamina, tmp_path: Path
) -> None:
    dockerfile(tmp_path, "FROM scratch AS a\nCOPY $foo .\n\nFROM scratch AS b\nCOPY $bar .\n")
    told = empty_lamina("build", "--check", tmp_path, status=1).stdout
    assert "Check complete, 2 warnings have been found!" in told
    assert "Usage of undefined variable '$foo'" in told
    told = empty_lamina("build", "--check", "--target", "b", tmp_path, status=1).stdout
    assert "Check complete, 1 warning has been found!" in told
    assert "Usage of undefined variable '$bar'" in told
    assert len(empty_lamina("images").stdout.splitlines()) <= 1


def test_check_of_a_clean_dockerfile(empty_lamina: Lamina, tmp_path: Path) -> None:
    dockerfile(tmp_path, CLEAN)
    told = empty_lamina("build", "--check", tmp_path).stdout
    assert told == "Check complete, no warnings found.\n"
    assert empty_lamina("build", "--call", "check", tmp_path).stdout == told
    empty_lamina("build", "--check", "--call", "targets", tmp_path, status=2)


def test_check_tells_why_it_could_not_be_built(empty_lamina: Lamina, tmp_path: Path) -> None:
    dockerfile(tmp_path, "FROM scratch\nEXPOSE nothing\nFROM scratch AS X\n")
    told = empty_lamina("build", "--check", tmp_path, status=1)
    assert "StageNameCasing" in told.stdout
    assert "invalid containerPort: nothing" in told.stderr
    document = json.loads(
        empty_lamina("build", "--call", "check,format=json", tmp_path, status=1).stdout
    )
    assert "invalid containerPort: nothing" in document["buildError"]["message"]
    assert [warning["ruleName"] for warning in document["warnings"]] == ["StageNameCasing"]


def test_the_base_image_is_known(lamina: Lamina, tmp_path: Path) -> None:
    dockerfile(tmp_path, "FROM busybox\nCOPY $UNSET_ANYWHERE /\nCOPY $PATH /\n")
    told = lamina("build", "--check", tmp_path, status=1).stdout
    assert "Usage of undefined variable '$UNSET_ANYWHERE'" in told
    assert "Check complete, 1 warning has been found!" in told
    assert "$UNSET_ANYWHERE" in lamina("lint", tmp_path / "Dockerfile").stdout


def test_a_base_image_for_another_platform(lamina: Lamina, tmp_path: Path) -> None:
    dockerfile(tmp_path, "FROM busybox\n")
    told = lamina("build", "--check", "--platform", "linux/s390x", tmp_path, status=1)
    assert "Base image busybox was pulled with platform" in told.stdout
    assert 'expected "linux/s390x" for current build' in told.stdout
