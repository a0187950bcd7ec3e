"""Secrets that stay in the image's history: SecretsUsedInArgOrEnv."""

from __future__ import annotations

import re

from grammar.lint.findings import Report
from grammar.lint.rules import SECRETS_USED_IN_ARG_OR_ENV
from grammar.nodes import Arg, Env

_SECRET = re.compile(
    r"(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)


def is_secret_name(key: str) -> bool:
    """Whether a variable of that name is likely to hold a secret."""
    return _SECRET.search(key) is not None and _HARMLESS.search(key) is None


def check_secret(key: str, node: Arg | Env, report: Report) -> None:
    """Whether the name of an ARG or ENV is that of a secret."""
    if is_secret_name(key):
        keyword = "ARG" if isinstance(node, Arg) else "ENV"
        message = f'Do not use ARG or ENV instructions for sensitive data ({keyword} "{key}")'
        report.add(SECRETS_USED_IN_ARG_OR_ENV, message, node)
