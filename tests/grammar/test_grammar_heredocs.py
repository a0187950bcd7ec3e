"""Heredocs: where they are, what ends them, what is in them."""

from __future__ import annotations

import pytest

from grammar import UnterminatedHeredoc, heredoc_text, parse, parse_instruction
from grammar.nodes import Add, Copy, Exec, Heredoc, Onbuild, Run, Shell


def run_heredocs(text: str) -> tuple[Heredoc, ...]:
    (node,) = parse(f"FROM x\nRUN {text}\n").stages[0].instructions
    assert isinstance(node, Run)
    return node.heredocs


@pytest.mark.parametrize(
    ("text", "heredocs"),
    [
        ("<<EOF\nEOF", [Heredoc("EOF", "")]),
        ("<<EOF\na\n b\nEOF", [Heredoc("EOF", "a\n b\n")]),
        ("cat <<a.b >x\n1\na.b", [Heredoc("a.b", "1\n")]),
        ("3<<E\nE", [Heredoc("E", "", fd=3)]),
        ("<<-E\n\ta\n\tE", [Heredoc("E", "\ta\n", chomp=True)]),
        ("<<E\n\tE\nE", [Heredoc("E", "\tE\n")]),
        ("<<'E'\n$a\nE", [Heredoc("E", "$a\n", expand=False)]),
        ('<<"E"\nE', [Heredoc("E", "", expand=False)]),
        ("<<e'o'f\neof", [Heredoc("eof", "", expand=False)]),
        ("<<e\\'f\ne'f", [Heredoc("e'f", "")]),
        ("<<'e'o\\'f\neo'f", [Heredoc("eo'f", "", expand=False)]),
        ('<<"a\\"b\\c"\na"b\\c', [Heredoc('a"b\\c', "", expand=False)]),
        ("<<'a b'\na b", [Heredoc("a b", "", expand=False)]),
        ("<<a\\ b\na b", [Heredoc("a b", "")]),
        ("<<$E\n$E", [Heredoc("$E", "")]),
        ("<< E\nE", [Heredoc("E", "")]),
        ("<<-  E >x\nE", [Heredoc("E", "", chomp=True)]),
        ("<< -E\n-E", [Heredoc("-E", "")]),
        ("<<A <<B\nB\nA\nA\nB", [Heredoc("A", "B\n"), Heredoc("B", "A\n")]),
        ("<<A; x <<A\n1\nA;\n2\nA", [Heredoc("A;", "1\n"), Heredoc("A", "2\n")]),
        ("x \\\n  <<E\na \\\nE", [Heredoc("E", "a \\\n")]),
        ("<<E\n# kept\n\nE", [Heredoc("E", "# kept\n\n")]),
        ("<<E\r\na\r\nE\r", [Heredoc("E", "a\r\n")]),
        ("'<<E'", []),
        ('"<<E"', []),
        ("x<<E", []),
        ("<<<E", []),
        ("<<", []),
        ("a <<", []),
        ("<<E<F", []),
        ("<<''", []),
        ("it's <<E", []),
        ("echo $((1 << 4))", []),
        ("echo $(( 1 <<4 ))", []),
        ('["<<E"]', []),
    ],
)
def test_heredocs_of_run(text: str, heredocs: list[Heredoc]) -> None:
    assert run_heredocs(text) == tuple(heredocs)


def test_the_command_keeps_its_heredoc_words() -> None:
    (node,) = parse("FROM x\nRUN cat <<E && x\na\nE\n").stages[0].instructions
    assert isinstance(node, Run)
    assert node.command == Shell("cat <<E && x")


def test_an_array_has_no_heredocs() -> None:
    (node,) = parse('FROM x\nRUN --network=none ["cat", "<<E"]\n').stages[0].instructions
    assert isinstance(node, Run)
    assert node.command == Exec(("cat", "<<E"))
    assert node.heredocs == ()


@pytest.mark.parametrize("keyword", ["COPY", "ADD"])
def test_heredocs_are_sources(keyword: str) -> None:
    text = f'FROM x\n{keyword} --chown=1 a <<B c <<-"D E" << F /d\n1\nB\n\t2\nD E\n3\nF\n'
    (node,) = parse(text).stages[0].instructions
    assert isinstance(node, Copy | Add)
    assert node.sources == (
        "a",
        Heredoc("B", "1\n"),
        "c",
        Heredoc("D E", "\t2\n", expand=False, chomp=True),
        Heredoc("F", "3\n"),
    )
    assert node.destination == "/d"


def test_two_heredocs_of_one_name_are_two() -> None:
    (node,) = parse("FROM x\nCOPY <<A <<A /d\n1\nA\n2\nA\n").stages[0].instructions
    assert isinstance(node, Copy)
    assert node.sources == (Heredoc("A", "1\n"), Heredoc("A", "2\n"))


def test_where_quotes_do_not_balance_nothing_is_a_heredoc() -> None:
    (node,) = parse("FROM x\nCOPY it's <<E /d\n").stages[0].instructions
    assert isinstance(node, Copy)
    assert node.sources == ("it's", "<<E")


@pytest.mark.parametrize(
    "instruction", ["USER <<E", "ENV a=<<E", "CMD cat <<E", "HEALTHCHECK CMD <<E"]
)
def test_other_instructions_have_no_heredocs(instruction: str) -> None:
    assert len(parse(f"FROM x\n{instruction}\nRUN E\n").stages[0].instructions) == 2


def test_onbuild_keeps_its_heredocs_as_text() -> None:
    text = "ONBUILD COPY <<-E <<'F' /d\n\ta\n\tE\nb\nF"
    (node,) = parse(f"FROM x\n{text}\nRUN x\n").stages[0].instructions[:1]
    assert isinstance(node, Onbuild)
    assert node.text == "COPY <<-E <<'F' /d\n\ta\nE\nb\nF"
    assert parse_instruction(node.text, "ONBUILD") == node.trigger


def test_a_heredoc_under_onbuild_with_flags_ended() -> None:
    (node,) = parse("FROM x\nonbuild -- run <<E\na\nE\n").stages[0].instructions
    assert isinstance(node, Onbuild)
    assert isinstance(node.trigger, Run)
    assert node.trigger.heredocs == (Heredoc("E", "a\n"),)


@pytest.mark.parametrize(
    "text", ["RUN <<E", "RUN <<E\nE ", "RUN <<E\nx\n E", "COPY <<A <<B /\nB\nA"]
)
def test_a_heredoc_must_end(text: str) -> None:
    with pytest.raises(UnterminatedHeredoc) as caught:
        parse(f"FROM x\n{text}\n")
    assert caught.value.message == "unterminated heredoc"
    assert caught.value.span.first == 2


def test_heredoc_text_drops_leading_tabs_only_after_a_dash() -> None:
    content = "\t\ta\n b\n\tc\td\n\t\n"
    assert heredoc_text(Heredoc("E", content)) == content
    assert heredoc_text(Heredoc("E", content, chomp=True)) == "a\n b\nc\td\n\n"
