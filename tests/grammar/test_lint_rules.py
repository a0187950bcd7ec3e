"""Each rule of the linter by its name: what it finds, with BuildKit's words, and what it does not.

The recorded outcomes of the reference builder are held against the linter too, where they are.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import grammar
from grammar.dockerignore import parse_patterns
from grammar.lint import (
    AUTOMATIC,
    RULES,
    BaseImage,
    Surroundings,
    check_options,
    lint,
    rules_broken,
)

RECORDED = Path(__file__).parents[3] / "shared" / "conformance" / "lint.json"
DOCUMENT = Path(__file__).parents[2] / "docs" / "dockerfile.md"
Found = list[tuple[str, str, int]]


def found(text: str, **surroundings: Any) -> Found:
    dockerfile = grammar.parse(text)
    options = check_options(dockerfile, text, surroundings.get("build_args"))
    findings = lint(dockerfile, options, Surroundings(**surroundings))
    return [(f.rule.name, f.message, f.span.first) for f in findings]


@dataclass(frozen=True)
class Example:
    """A Dockerfile, and the messages of one rule with their lines."""

    rule: str
    text: str
    expected: tuple[tuple[str, int], ...] = ()
    surroundings: Any = None


ORDERED = "should match the case of the command majority"
JSON = "to prevent unintended behavior related to OS signals"
ONLY_LAST = "should not be used in the same stage because only the last one will be used"
REDUNDANT = "in FROM is redundant as this is the default behavior"
EXPOSED = "EXPOSE instruction should not define an IP address or host-port mapping, found"
SENSITIVE = "Do not use ARG or ENV instructions for sensitive data"


def images(**named: BaseImage) -> dict[str, Any]:
    return {"find_base": named.get}


def ignoring(text: str) -> dict[str, Any]:
    return {"ignored": parse_patterns(text)}


EXAMPLES = [
    Example(
        "StageNameCasing",
        "FROM scratch AS Base\nFROM scratch AS other\n",
        (("Stage name 'Base' should be lowercase", 1),),
    ),
    Example(
        "FromAsCasing",
        "FROM scratch as a\nFROM scratch AS b\nFrom scratch as c\n",
        (("'as' and 'FROM' keywords' casing do not match", 1),),
    ),
    Example(
        "FromAsCasing",
        "from scratch AS a\nfrom --platform=$BUILDPLATFORM scratch as b\n",
        (("'AS' and 'from' keywords' casing do not match", 1),),
    ),
    Example(
        "NoEmptyContinuation",
        "FROM scratch\nCOPY a \\\n\n  b\nCOPY a \\\n# said\n  b\n",
        (("Empty continuation line", 4),),
    ),
    Example(
        "ConsistentInstructionCasing",
        "arg GLOBAL\nFROM scratch\ncopy a b\nUser me\nLABEL a=b\n",
        (
            (f"Command 'copy' {ORDERED} (uppercase)", 3),
            (f"Command 'User' {ORDERED} (uppercase)", 4),
        ),
    ),
    Example(
        "ConsistentInstructionCasing",
        "from scratch\ncopy a b\nLABEL a=b\n",
        ((f"Command 'LABEL' {ORDERED} (lowercase)", 3),),
    ),
    Example(
        "ConsistentInstructionCasing",
        "from scratch\nCOPY a b\n",
        ((f"Command 'from' {ORDERED} (uppercase)", 1),),
    ),
    Example(
        "DuplicateStageName",
        "FROM scratch AS a\nFROM scratch AS b\nFROM scratch AS A\n",
        (('Duplicate stage name "a", stage names should be unique', 3),),
    ),
    Example(
        "ReservedStageName",
        "FROM scratch AS context\nFROM context AS Scratch\nFROM scratch\n",
        (
            ('Stage name should not use the same name as reserved stage "context"', 1),
            ('Stage name should not use the same name as reserved stage "scratch"', 2),
        ),
    ),
    Example(
        "JSONArgsRecommended",
        'FROM scratch\nCMD run\nENTRYPOINT run\nRUN run\nHEALTHCHECK CMD run\nCMD ["run"]\n',
        (
            (f"JSON arguments recommended for CMD {JSON}", 2),
            (f"JSON arguments recommended for ENTRYPOINT {JSON}", 3),
        ),
    ),
    Example(
        "JSONArgsRecommended",
        'FROM scratch AS a\nSHELL ["/bin/sh"]\nFROM a\nCMD run\nFROM shelly\nCMD run\n',
        surroundings=images(shelly=BaseImage(shell=("/bin/bash", "-c"))),
    ),
    Example(
        "MaintainerDeprecated",
        "FROM scratch\nMAINTAINER me\nLABEL maintainer=me\n",
        (("Maintainer instruction is deprecated in favor of using label", 2),),
    ),
    Example(
        "UndefinedArgInFrom",
        "ARG TAG\nFROM a:${TAG:-1}$VERSION AS a\nFROM --platform=$BULIDPLATFORM scratch\n",
        (
            ("FROM argument 'VERSION' is not declared", 2),
            ("FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?)", 3),
        ),
    ),
    Example(
        "UndefinedArgInFrom", "ARG A=$B\nFROM --platform=$TARGETOS/$TARGETARCH a$TARGETSTAGE$A\n"
    ),
    Example(
        "WorkdirRelativePath",
        "FROM scratch\nWORKDIR a/b\nWORKDIR c\nFROM scratch AS b\nWORKDIR /a\nFROM b\nWORKDIR c\n",
        (('Relative workdir "a/b" can have unexpected results if the base image changes', 2),),
    ),
    Example("WorkdirRelativePath", "FROM scratch\nARG R=/r\nWORKDIR $R/a\n"),
    Example(
        "UndefinedVar",
        "FROM scratch\nENV PATH=$PAHT:/bin\nCOPY $foo .\nARG foo\nCOPY $foo $HOST .\n",
        (
            ("Usage of undefined variable '$PAHT' (did you mean $PATH?)", 2),
            ("Usage of undefined variable '$foo'", 3),
            ("Usage of undefined variable '$HOST'", 5),
        ),
    ),
    Example(
        "UndefinedVar",
        "FROM scratch\nENV A=1 B=$A\nLABEL $C=1\nARG D=$E\nUSER $F\nVOLUME $G\nSTOPSIGNAL $H\n"
        "WORKDIR /$I\nCOPY --chown=$J --chmod=$K x $L/\nADD --checksum=$M x y\n"
        "RUN --mount=type=cache,target=/$N,from=$O true\nCOPY <<EOF /x\n$P\nEOF\n",
        tuple(
            (f"Usage of undefined variable '${name}'{hint}", line)
            for name, hint, line in [
                ("A", "", 2),
                ("C", " (did you mean $A?)", 3),
                ("E", " (did you mean $A?)", 4),
                ("F", " (did you mean $A?)", 5),
                ("G", " (did you mean $A?)", 6),
                ("H", " (did you mean $A?)", 7),
                ("I", " (did you mean $A?)", 8),
                ("J", " (did you mean $A?)", 9),
                ("K", " (did you mean $A?)", 9),
                ("L", " (did you mean $A?)", 9),
                ("M", " (did you mean $A?)", 10),
                ("N", " (did you mean $A?)", 11),
                ("P", " (did you mean $A?)", 12),
            ]
        ),
    ),
    Example(
        "UndefinedVar",
        "FROM scratch\nRUN echo $A\nCMD echo $A\nENTRYPOINT $A\nHEALTHCHECK CMD $A\n"
        'SHELL ["$A"]\nEXPOSE $A\nONBUILD COPY $A .\nCOPY --from=$A --exclude=$A x y\n'
        "COPY <<'EOF' /x\n$A\nEOF\nCOPY '$A' \\$A /\n",
    ),
    Example(
        "UndefinedVar",
        "ARG GLOBAL=1\nFROM py AS a\nENV X=$PYTHON_VERSION Y=$TARGETARCH\nARG Z=$GLOBAL\n"
        "ARG GLOBAL\nCOPY $GLOBAL /\nFROM a\nCOPY $X $GLOBAL $PYTHON_VERSION /\n",
        (
            ("Usage of undefined variable '$TARGETARCH'", 3),
            ("Usage of undefined variable '$GLOBAL'", 4),
        ),
        images(py=BaseImage(env=(("PYTHON_VERSION", "3"),))),
    ),
    Example(
        "UndefinedVar",
        "FROM unknown\nCOPY $FROM_ITS_ENV $PAHT $later /\nARG later=1\n",
        (
            ("Usage of undefined variable '$PAHT' (did you mean $PATH?)", 2),
            ("Usage of undefined variable '$later'", 2),
        ),
    ),
    Example(
        "UndefinedVar",
        "FROM base\nENV fine=1\nFROM scratch AS own\nONBUILD COPY $fnie /\nFROM own\n",
        (("Usage of undefined variable '$fnie'", 1), ("Usage of undefined variable '$fnie'", 5)),
        images(base=BaseImage(on_build=("COPY $fnie /", "no instruction"))),
    ),
    Example(
        "MultipleInstructionsDisallowed",
        'FROM scratch AS a\nCMD ["1"]\nENTRYPOINT ["1"]\nHEALTHCHECK NONE\nCMD ["2"]\nCMD ["3"]\n'
        'ENTRYPOINT ["2"]\nHEALTHCHECK CMD ["2"]\nFROM a\nCMD ["4"]\n',
        (
            (f"Multiple CMD instructions {ONLY_LAST}", 2),
            (f"Multiple ENTRYPOINT instructions {ONLY_LAST}", 3),
            (f"Multiple HEALTHCHECK instructions {ONLY_LAST}", 4),
            (f"Multiple CMD instructions {ONLY_LAST}", 5),
        ),
    ),
    Example(
        "LegacyKeyValueFormat",
        "FROM scratch\nENV key value\nLABEL key value\nENV key=value\nLABEL key=value\n",
        (
            ('"ENV key=value" should be used instead of legacy "ENV key value" format', 2),
            ('"LABEL key=value" should be used instead of legacy "LABEL key value" format', 3),
        ),
    ),
    Example(
        "InvalidBaseImagePlatform",
        "FROM arm\nFROM --platform=linux/arm64 arm AS arm64\nFROM amd\nFROM arm64\n"
        "COPY --from=arm / /a\nCOPY --from=amd / /b\nCOPY --from=arm64 / /c\nCOPY --from=0 / /d\n"
        "RUN --mount=from=arm,target=/e --mount=type=cache,target=/f true\n",
        tuple(
            (
                'Base image arm was pulled with platform "linux/arm64", expected "linux/amd64"'
                " for current build",
                line,
            )
            for line in (1, 5, 9)
        ),
        images(arm=BaseImage(platform="linux/arm64/v8"), amd=BaseImage(platform="linux/amd64")),
    ),
    Example(
        "RedundantTargetPlatform",
        "FROM --platform=$TARGETPLATFORM scratch\nFROM --platform=${TARGETPLATFORM} scratch\n"
        "FROM --platform=$BUILDPLATFORM scratch\nFROM --platform=$TARGETPLATFORM/v2 scratch\n",
        (
            (f"Setting platform to predefined $TARGETPLATFORM {REDUNDANT}", 1),
            (f"Setting platform to predefined ${{TARGETPLATFORM}} {REDUNDANT}", 2),
        ),
    ),
    Example(
        "SecretsUsedInArgOrEnv",
        "ARG GLOBAL_TOKEN\nFROM scratch\nARG API_KEY OTHER Auth=1\nENV db_password=1 keys=1\n"
        "ENV PUBLIC_KEY=1 TOKEN_FILE=1 SECRET_VERSION=1 monkey=1\n",
        (
            (f'{SENSITIVE} (ARG "API_KEY")', 3),
            (f'{SENSITIVE} (ARG "Auth")', 3),
            (f'{SENSITIVE} (ENV "db_password")', 4),
        ),
    ),
    Example(
        "InvalidDefaultArgInFrom",
        'ARG TAG\nARG IMAGE\nARG SUFFIX="box:"\nFROM a:$TAG\nFROM $IMAGE\nFROM busy${SUFFIX}\n',
        (
            ("Default value for ARG a:$TAG results in empty or invalid base image name", 4),
            ("Default value for ARG $IMAGE results in empty or invalid base image name", 5),
            ("Default value for ARG busy${SUFFIX} results in empty or invalid base image name", 6),
        ),
        {"build_args": {"TAG": "1", "IMAGE": "a", "SUFFIX": "box"}},
    ),
    Example(
        "InvalidDefaultArgInFrom",
        "ARG V=1\nARG S\nFROM a:$V\nFROM a${S}\nFROM b:${X:-1}\nFROM example.org:5000/A/b@x AS c\n"
        f"FROM localhost/a@sha256:{'0' * 64}\nFROM a\n",
        (
            (
                "Default value for ARG example.org:5000/A/b@x results in empty or invalid base"
                " image name",
                6,
            ),
        ),
    ),
    Example(
        "FromPlatformFlagConstDisallowed",
        "FROM --platform=linux/amd64 scratch\nFROM --platform=arm64 scratch AS for-arm64\n"
        "FROM --platform=linux/arm64 scratch AS linux\nFROM --platform=$BUILDPLATFORM scratch\n"
        "FROM --platform=linux/x86_64 scratch AS amd64-tools\nFROM --platform=/ scratch\n",
        (('FROM --platform flag should not use constant value "linux/amd64"', 1),),
    ),
    Example(
        "CopyIgnoredFile",
        "FROM scratch AS a\nARG d=docs\nCOPY ./secret.txt $d/x open /\nADD b/../secret.txt /\n"
        "COPY --from=a secret.txt /\nADD https://x/docs /\nCOPY <<docs /\nx\ndocs\n",
        (
            ('Attempting to Copy file "secret.txt" that is excluded by .dockerignore', 3),
            ('Attempting to Copy file "docs/x" that is excluded by .dockerignore', 3),
            ('Attempting to Add file "secret.txt" that is excluded by .dockerignore', 4),
        ),
        ignoring("secret.txt\ndocs\n**/https:*\n"),
    ),
    Example(
        "CopyIgnoredFile",
        "FROM scratch\nCOPY . .\n",
        (('Attempting to Copy file "." that is excluded by .dockerignore', 2),),
        ignoring("*\n"),
    ),
    Example("CopyIgnoredFile", "FROM scratch\nCOPY x /\n", surroundings=ignoring("x\n!y\n")),
    Example("CopyIgnoredFile", "FROM scratch\nCOPY x /\n"),
    Example(
        "InvalidDefinitionDescription",
        "# check=experimental=all\n# about nothing\nARG a=1\n# stage of nothing\n"
        "FROM scratch AS b\n# said of both\nARG c d\n# d is told of\nARG c d\n# apart\n\nARG e\n"
        "# apart\n#\nARG f\n# B is this\nFROM scratch AS B\n# no name\nFROM scratch\n"
        "# text\nRUN x\n",
        (
            ("Comment for ARG should follow the format: `# a <description>`", 3),
            ("Comment for FROM should follow the format: `# b <description>`", 5),
            ("Comment for ARG should follow the format: `# <arg_key> <description>`", 7),
        ),
    ),
    Example("InvalidDefinitionDescription", "# about nothing\nFROM scratch AS b\n"),
    Example(
        "ExposeProtoCasing",
        "FROM scratch\nARG p=UDP\nEXPOSE 80/TcP 81/tcp 82 83/$p 84/XYZ\n",
        (
            ("Defined protocol '80/TcP' in EXPOSE instruction should be lowercase", 3),
            ("Defined protocol '83/UDP' in EXPOSE instruction should be lowercase", 3),
        ),
    ),
    Example(
        "ExposeInvalidFormat",
        "FROM scratch\nEXPOSE 127.0.0.1:80:80 [::1]:8080:8080 5000:5000 8000 9000-9010/udp\n",
        (
            (f"{EXPOSED} '127.0.0.1:80:80'", 2),
            (f"{EXPOSED} '5000:5000'", 2),
            (f"{EXPOSED} '[::1]:8080:8080'", 2),
        ),
    ),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.rule)
def test_rule(example: Example) -> None:
    of_it = [
        (message, line)
        for rule, message, line in found(example.text, **(example.surroundings or {}))
        if rule == example.rule
    ]
    assert sorted(of_it) == sorted(example.expected)


def test_every_rule_has_an_example_of_what_it_finds_and_is_documented() -> None:
    names = {rule.name for rule in RULES}
    assert len(RULES) == len(names) == 22
    assert names == {example.rule for example in EXAMPLES if example.expected}
    section = DOCUMENT.read_text().partition("\n## Checks\n")[2]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == names


def test_where_rules_are_explained() -> None:
    paths = {rule.name: rule.path for rule in RULES}
    assert paths["StageNameCasing"] == "/go/dockerfile/rule/stage-name-casing/"
    assert paths["JSONArgsRecommended"] == "/go/dockerfile/rule/json-args-recommended/"
    assert paths["UndefinedArgInFrom"] == "/go/dockerfile/rule/undefined-arg-in-from/"
    assert [name for name, path in paths.items() if path is None] == ["InvalidBaseImagePlatform"]


def test_a_clean_dockerfile() -> None:
    text = (
        "# syntax=docker/dockerfile:1\nARG V=3\nFROM --platform=$BUILDPLATFORM py:$V AS build\n"
        "WORKDIR /src\nARG TARGETARCH\nENV LANG=C A=$TARGETARCH\nCOPY . .\nRUN make\n\n"
        'FROM scratch\nCOPY --from=build /x /x\nEXPOSE 80\nENTRYPOINT ["/x"]\nCMD ["-h"]\n'
    )
    assert found(text) == []


def test_one_finding_a_rule_message_and_line_in_the_order_of_lines() -> None:
    text = "FROM scratch\nENV a=$x b=$x\ncopy $x .\n"
    assert [(rule, line) for rule, _, line in found(text)] == [
        ("UndefinedVar", 2),
        ("ConsistentInstructionCasing", 3),
        ("UndefinedVar", 3),
    ]


def test_only_the_stages_that_are_asked_for_are_followed() -> None:
    text = "FROM scratch AS A\nWORKDIR a\nFROM scratch\nWORKDIR b\nFROM $x\n"
    dockerfile = grammar.parse(text)
    told = [str(finding) for finding in lint(dockerfile, stages={1})]
    assert told == [
        "StageNameCasing: Stage name 'A' should be lowercase (line 1)",
        'WorkdirRelativePath: Relative workdir "b" can have unexpected results if the base image'
        " changes (line 4)",
        "InvalidDefaultArgInFrom: Default value for ARG $x results in empty or invalid base image"
        " name (line 5)",
        "UndefinedArgInFrom: FROM argument 'x' is not declared (line 5)",
    ]


def test_build_arguments_and_the_given_platform_are_seen() -> None:
    automatic = {**AUTOMATIC, "TARGETPLATFORM": "linux/arm64"}
    text = "ARG P\nFROM --platform=$P arm\nARG U=$undefined\nWORKDIR $W\nARG W\n"
    image = images(arm=BaseImage(platform="linux/arm64"))
    args = {"P": "linux/arm64", "U": "given", "W": "/w"}
    assert [rule for rule, *_ in found(text, automatic=automatic, build_args=args, **image)] == [
        "UndefinedVar",
        "WorkdirRelativePath",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "FROM ${\n",
        "ARG A=${\nFROM $A\n",
        "FROM --platform=${ scratch\n",
        "FROM scratch\nCOPY ${ $'x /\nENV A=${ B=\"\nEXPOSE ${ :/: /\nARG A=${\nWORKDIR ${\n",
        "FROM scratch\nRUN --mount=type='\"x' true\nCOPY <<E /\n${\nE\n",
        "FROM scratch\nCOPY a b\\\n\n\n",
    ],
)
def test_what_a_build_would_refuse_is_not_the_linters_business(text: str) -> None:
    found(text)


# Two outcomes whose record has lost a part: the first names an ignored file and has no ignore
# file; the second has no findings where the rule's very case stands three times.
INCOMPLETE = {
    "\nFROM scratch\nCOPY . .\n": "CopyIgnoredFile",
    'ENTRYPOINT ["/myapp"]\nENTRYPOINT [': "MultipleInstructionsDisallowed",
}


def test_recorded_outcomes() -> None:
    if not RECORDED.exists():
        pytest.skip("the recorded outcomes are not here")
    for case in json.loads(RECORDED.read_text())["cases"]:
        text, ignore = case["dockerfile"], case["dockerignore"]
        expected = {(w["rule"], w["detail"], w["line"]) for w in case["warnings"]}
        ignored = None if ignore is None else parse_patterns(ignore)
        got = set(found(text, ignored=ignored))
        lost = {rule for part, rule in INCOMPLETE.items() if part in text and ignore is None}
        assert {f for f in got if f[0] not in lost} == {f for f in expected if f[0] not in lost}, (
            text
        )


def test_the_sentence_of_error_true() -> None:
    text = "FROM scratch as Base\nWORKDIR a\nFROM scratch as b\n"
    assert rules_broken(lint(grammar.parse(text))) == (
        "lint violation found for rules: FromAsCasing, StageNameCasing, WorkdirRelativePath"
    )
