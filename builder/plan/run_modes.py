"""`RUN --network` and `--security`."""

from __future__ import annotations

from typing import Literal

from builder.errors import PlanError
from grammar.errors import quoted
from grammar.nodes import Run


def network_mode(node: Run) -> Literal["default", "none", "host"]:
    """The network a RUN asks for; `PlanError` for one that there is not."""
    match node.network:
        case None | "default":
            return "default"
        case "none" | "host":
            return node.network
        case other:
            raise PlanError(f"invalid network mode {quoted(other)}", span=node.span)


def security_mode(node: Run) -> Literal["sandbox", "insecure"]:
    """The security mode a RUN asks for; `PlanError` for one that there is not."""
    match node.security:
        case None | "sandbox":
            return "sandbox"
        case "insecure":
            return "insecure"
        case other:
            raise PlanError(f"security {quoted(other)} is not valid", span=node.span)
