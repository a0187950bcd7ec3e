"""`# check=`: at the top of a Dockerfile, above an instruction, and as a build argument."""

from __future__ import annotations

import pytest

import grammar
from grammar.errors import DockerfileError
from grammar.lint import (
    RULES,
    CheckOptions,
    InvalidCheck,
    Surroundings,
    check_options,
    lint,
    parse_check,
)


def rules(text: str, **build_args: str) -> list[str]:
    dockerfile = grammar.parse(text)
    options = check_options(dockerfile, text, build_args)
    findings = lint(dockerfile, options, Surroundings(build_args=build_args))
    return [finding.rule.name for finding in findings]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", CheckOptions()),
        (" ", CheckOptions()),
        ("skip=all", CheckOptions(skip=frozenset({"all"}))),
        ("skip=A,B", CheckOptions(skip=frozenset({"A", "B"}))),
        (" skip = A , B ; error = true ", CheckOptions(skip=frozenset({"A", "B"}), error=True)),
        ("error=1", CheckOptions(error=True)),
        ("error=False", CheckOptions()),
        ("experimental=all", CheckOptions(experimental=frozenset({"all"}))),
        (
            "experimental=A;error=T;skip=B",
            CheckOptions(skip=frozenset({"B"}), experimental=frozenset({"A"}), error=True),
        ),
    ],
)
def test_options(text: str, expected: CheckOptions) -> None:
    assert parse_check(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("skip", 'invalid check option "skip"'),
        ("skip=A;", 'invalid check option ""'),
        ("Skip=A", 'invalid check option "Skip"'),
        ("warn=A", 'invalid check option "warn"'),
        ("error=yes", 'failed to parse check option "error=yes": "yes" is not a boolean'),
        (
            "skip=A;experimental=B;error=true;skip=C",
            'failed to parse check option "error=true;skip=C": "true;skip=C" is not a boolean',
        ),
    ],
)
def test_invalid_options(text: str, message: str) -> None:
    with pytest.raises(InvalidCheck) as raised:
        parse_check(text)
    assert str(raised.value) == message


@pytest.mark.parametrize(("first", "line"), [("", 2), ("#!/usr/bin/env x\n", 3)])
def test_an_invalid_directive_is_shown_with_its_line(first: str, line: int) -> None:
    text = f"{first}# escape=`\n# check=nothing=1\nFROM scratch\n"
    with pytest.raises(DockerfileError) as raised:
        rules(text)
    assert raised.value.span.first == line
    assert raised.value.message == 'failed to parse check options: invalid check option "nothing"'


def test_the_directive_skips_rules() -> None:
    body = "FROM scratch as base\ncopy Dockerfile .\n"
    assert rules(body) == ["FromAsCasing", "ConsistentInstructionCasing"]
    assert rules("#check=skip=FromAsCasing\n" + body) == ["ConsistentInstructionCasing"]
    assert rules("# check=skip=FromAsCasing,ConsistentInstructionCasing\n" + body) == []
    assert rules("# check = skip=all;error=true\n" + body) == []
    # As in BuildKit, what follows a blank is a remark.
    assert rules("# check=skip=FromAsCasing, all of it\n" + body) == ["ConsistentInstructionCasing"]


def test_only_a_directive_at_the_top_is_for_the_whole() -> None:
    text = "# first\n# check=skip=all\nFROM scratch as base\ncopy Dockerfile .\n"
    assert rules(text) == ["ConsistentInstructionCasing"]


def test_the_build_argument_replaces_the_directive() -> None:
    text = "# check=skip=all;error=true\nFROM scratch as base\ncopy Dockerfile .\n"
    argument = {"BUILDKIT_DOCKERFILE_CHECK": "skip=FromAsCasing"}
    assert rules(text, **argument) == ["ConsistentInstructionCasing"]
    dockerfile = grammar.parse(text)
    assert check_options(dockerfile, text).error
    assert not check_options(dockerfile, text, argument).error
    with pytest.raises(InvalidCheck):
        check_options(dockerfile, text, {"BUILDKIT_DOCKERFILE_CHECK": "skip"})


def test_experimental_rules_have_to_be_asked_for() -> None:
    name = "InvalidDefinitionDescription"
    assert [rule.name for rule in RULES if rule.experimental] == [name]
    body = "\n# nothing\nARG a\nFROM scratch\n"
    assert rules(body) == []
    assert rules(f"# check=experimental={name}\n{body}") == [name]
    assert rules(f"# check=skip=all;experimental=all\n{body}") == [name]
    assert rules(f"# check=skip={name};experimental=all\n{body}") == []


@pytest.mark.parametrize(
    ("instruction", "rule"),
    [
        ("WORKDIR app", "WorkdirRelativePath"),
        ("CMD run", "JSONArgsRecommended"),
        ("ENV key value", "LegacyKeyValueFormat"),
        ("MAINTAINER me", "MaintainerDeprecated"),
        ("COPY $x .", "UndefinedVar"),
        ("ARG api_key", "SecretsUsedInArgOrEnv"),
        ("EXPOSE 1:1", "ExposeInvalidFormat"),
        ("EXPOSE 1/TCP", "ExposeProtoCasing"),
        ("user me", "ConsistentInstructionCasing"),
        ("COPY a \\\n\n b", "NoEmptyContinuation"),
        ("FROM scratch as b", "FromAsCasing"),
        ("FROM scratch AS B", "StageNameCasing"),
        ("FROM scratch AS context", "ReservedStageName"),
        ("FROM a:$B", "UndefinedArgInFrom"),
        ("FROM --platform=amd64 scratch", "FromPlatformFlagConstDisallowed"),
        ("FROM --platform=$TARGETPLATFORM scratch", "RedundantTargetPlatform"),
    ],
)
def test_a_comment_skips_a_rule_for_the_instruction_below(instruction: str, rule: str) -> None:
    assert rule in rules(f"FROM scratch\n{instruction}\n")
    skip = f"# why not\n# check=skip={rule}"
    assert rule not in rules(f"FROM scratch\n{skip}\n{instruction}\n")
    assert rule not in rules(f"FROM scratch\n# check=skip=all\n{instruction}\n")
    assert rule in rules(f"FROM scratch\n# check=skip=Other\n{instruction}\n")
    assert rule in rules(f"FROM scratch\n{skip}\n\n{instruction}\n")
    assert rule in rules(f"FROM scratch\n{skip}\nUSER me\n{instruction}\n")
    # One that cannot be read is an ordinary comment.
    assert rule in rules(f"FROM scratch\n# check=skip\n{instruction}\n")


def test_several_of_one_instruction_are_skipped_above_either() -> None:
    skip = "# check=skip=MultipleInstructionsDisallowed\n"
    assert rules(f'FROM scratch\n{skip}CMD ["a"]\nCMD ["b"]\n') == []
    assert rules(f'FROM scratch\nCMD ["a"]\n{skip}CMD ["b"]\n') == []


def test_a_comment_can_ask_for_an_experimental_rule() -> None:
    text = "FROM scratch\n# nothing\n# check=experimental=all\nARG a\n# nothing\nARG b\n"
    assert rules(text) == ["InvalidDefinitionDescription"]
