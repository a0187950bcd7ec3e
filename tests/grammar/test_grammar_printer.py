"""Nodes printed as text, and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from grammar import parse
from grammar.printer import print_dockerfile, print_instruction
from grammar.to_json import to_json


def test_a_dockerfile_is_printed() -> None:
    text = (
        "#syntax=a/b\n# check=skip=all\n\n#about the argument\narg V=1 W\n"
        "from   --platform=linux/arm64  a as B\n"
        "  run --network=none --mount='type=cache, x' a \\\n   b\n"
        "copy --link=true --from=B <<-'E F' x /d\n\tx\n\tE F\n"
        "FROM b\nHEALTHCHECK --interval=5400s --timeout=1.5s --retries=0 CMD x\nENV a  b\n"
    )
    assert print_dockerfile(parse(text)) == (
        "# syntax=a/b\n# check=skip=all\n\n# about the argument\nARG V=1 W\n\n"
        "FROM --platform=linux/arm64 a AS B\n"
        "RUN --mount=type=cache,\\ x --network=none a    b\n"
        "COPY --from=B --link <<-'E F' x /d\n\tx\nE F\n\n"
        "FROM b\nHEALTHCHECK --interval=90m --timeout=1500ms --retries=0 CMD x\nENV a b\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "FROM -- --x AS a\n",
        "FROM x\nRUN -- --y\n",
        'FROM x\nCOPY ["a b", "c"]\n',
        'FROM x\nCOPY ["<<E", "/d"]\n',
        'FROM x\nADD --keep-git-dir=false --unpack=true --exclude="a\\"b" c d\n',
        "FROM x\nCOPY 3<<E\\'F <<\"a'b\" /d\nE'F\na'b\n",
        'FROM x\nVOLUME ["a b", "[c"]\n',
        "FROM x\nVOLUME [a\n",
        'FROM x\nRUN ["\\u2028", "\\t\\"é"]\n',
        "FROM x\nENV a=b\\\f\nRUN a\\\xa0\n",
        "FROM x\nLABEL \\\f [a=b\n",
        "FROM x\nENV a='b  c\n",
        '# escape=`\nFROM x\nENV a=b` c\nRUN --mount=a`,`"b x\\\nCOPY <<E\\ F /d\nE F\n',
        "FROM x\nONBUILD -- copy <<E /d\n`\\\nE\n",
        "FROM x\nHEALTHCHECK --start-period=1ns0s --interval=0s NONE\n",
        "FROM x\nHEALTHCHECK --start-interval=1h1m1.001002003s CMD []x\n",
        'FROM x\nSHELL ["a"]\nUSER a b\nSTOPSIGNAL 9\nEXPOSE 1 2\nMAINTAINER é\nWORKDIR /a\n',
        'FROM x\nENTRYPOINT []\nCMD ["a"]\nARG a= b c="d\n',
        "\n# escape=`\n# syntax=x\nFROM x\n",
        "FROM x\n#\n# a\n#\nRUN b\n",
    ],
)
def test_what_is_printed_parses_to_the_same(text: str) -> None:
    dockerfile = parse(text)
    printed = print_dockerfile(dockerfile)
    again = parse(printed)
    assert again == dockerfile
    assert again.stages[0].base.comments == dockerfile.stages[0].base.comments
    assert print_dockerfile(again) == printed


def test_an_escape_without_its_directive_gets_one() -> None:
    dockerfile = replace(parse("FROM x\nENV a=b\n"), escape="`")
    assert print_dockerfile(dockerfile) == "# escape=`\n\nFROM x\nENV a=b\n"


def test_one_instruction_is_printed() -> None:
    (node,) = parse("FROM x\n# why\nRUN <<E\n1\nE\n").stages[0].instructions
    assert print_instruction(node) == "# why\nRUN <<E\n1\nE\n"


def test_json() -> None:
    dockerfile = parse("ARG a b=\nFROM x AS Y\n# c\nCOPY --from=z a <<E /d\n1\nE\nCMD []\n")
    assert json.loads(json.dumps(to_json(dockerfile))) == {
        "type": "dockerfile",
        "escape": "\\",
        "arguments": [
            {
                "type": "arg",
                "source": "ARG a b=",
                "span": {"first": 1, "last": 1, "column": 1},
                "pairs": [["a", None], ["b", ""]],
            }
        ],
        "stages": [
            {
                "type": "stage",
                "index": 0,
                "base": {
                    "type": "from",
                    "source": "FROM x AS Y",
                    "span": {"first": 2, "last": 2, "column": 1},
                    "image": "x",
                    "name": "y",
                    "written_name": "Y",
                },
                "instructions": [
                    {
                        "type": "copy",
                        "source": "COPY --from=z a <<E /d",
                        "span": {"first": 4, "last": 6, "column": 1},
                        "comments": ["c"],
                        "sources": [
                            "a",
                            {
                                "type": "heredoc",
                                "name": "E",
                                "content": "1\n",
                                "expand": True,
                                "chomp": False,
                                "fd": 0,
                            },
                        ],
                        "destination": "/d",
                        "from": "z",
                        "link": False,
                        "parents": False,
                    },
                    {
                        "type": "cmd",
                        "source": "CMD []",
                        "span": {"first": 7, "last": 7, "column": 1},
                        "command": {"type": "exec", "argv": []},
                    },
                ],
            }
        ],
    }
