"""`lamina parse`: a Dockerfile's tree, for editors and scripts."""

from __future__ import annotations

import json
import os
import sys

import click

import grammar
from builder.commands.failures import explain
from grammar.errors import DockerfileError
from grammar.to_json import to_json


@click.command("parse", short_help="Print a Dockerfile's tree as JSON.")
@click.argument("file", type=click.Path(), default="Dockerfile")
def parse_command(file: str) -> int:
    """Print the tree that FILE parses to, as JSON with spans; - is standard input.

    Nothing is expanded or looked up: the tree is the text's. An error is shown with its place
    in FILE, and the exit status is 1.
    """
    if file == "-":
        data, name = sys.stdin.buffer.read(), "Dockerfile"
    else:
        with open(file, "rb") as opened:
            data = opened.read()
        name = os.path.basename(file)
    try:
        tree = to_json(grammar.parse(data, name))
    except DockerfileError as error:
        explain(str(error), text=data.decode("utf-8", "replace"), span=error.span, hint=error.hint)
        return 1
    click.echo(json.dumps(tree, indent=2, ensure_ascii=True))
    return 0
