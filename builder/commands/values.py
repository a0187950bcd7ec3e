"""Values of options that several commands have, from how people write them."""

from __future__ import annotations

import os

from builder.errors import OptionError
from builder.plan.units import parse_size

_ENTITLEMENTS = ("network.host", "security.insecure")
_HOST = "127.0.0.1"
"""The machine, as it is seen where containers share its network."""


def host_address(text: str, gateway: str = _HOST) -> tuple[str, str]:
    """`--add-host`: `name:ip` or `name=ip`; an IPv6 address may stand in brackets.

    `host-gateway` is the machine itself, `gateway`.
    """
    separator = "=" if "=" in text else ":"
    name, found, address = text.partition(separator)
    if not found or not name or not address:
        raise OptionError(f"invalid --add-host {text!r}", hint="HOST:IP or HOST=IP")
    if address == "host-gateway":
        return name, gateway
    from ipaddress import ip_address

    address = address.removeprefix("[").removesuffix("]")
    try:
        ip_address(address)
    except ValueError as error:
        raise OptionError(
            f"invalid IP address in --add-host: {address!r}", hint="HOST:IP or HOST=IP"
        ) from error
    return name, address


def size_in_bytes(text: str | None, option: str) -> int | None:
    """A size, where one was given."""
    if text is None:
        return None
    try:
        return parse_size(text)
    except ValueError as error:
        raise OptionError(f"{option}: {error}") from error


def key_value(text: str, option: str) -> tuple[str, str]:
    """`KEY=VALUE`; without a value it is empty."""
    name, _, value = text.partition("=")
    if not name:
        raise OptionError(f"invalid {option} {text!r}", hint="KEY=VALUE")
    return name, value


def nanoseconds(text: str | None, option: str) -> int:
    """A duration like `1m30s`, 0 if there is none; `OptionError`, also for one under 1 ms."""
    if text is None:
        return 0
    from grammar.durations import InvalidDuration, parse_duration

    try:
        found = parse_duration(text)
    except InvalidDuration as error:
        raise OptionError(f"{option}: {error}", hint="a number and a unit, like 30s") from error
    if found < 0 or 0 < found < 1_000_000:
        raise OptionError(f"{option} cannot be less than 1ms")
    return found


def labels_of(given: tuple[str, ...], files: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """`--label` and `--label-file`: the last one counts."""
    lines: list[str] = []
    for path in files:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            stripped = [line.strip() for line in file]
        lines += [line for line in stripped if line and not line.startswith("#")]
    return tuple(dict(key_value(text, "--label") for text in (*lines, *given)).items())


def variables(given: tuple[str, ...], files: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """`--env` and `--env-file`: a name alone takes our own value, and is left out if unset."""
    lines: list[str] = []
    for path in files:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            stripped = [line.strip("\r\n").lstrip() for line in file]
        lines += [line for line in stripped if line and not line.startswith("#")]
    found: dict[str, str] = {}
    for text in (*lines, *given):
        name, equals, value = text.partition("=")
        if not name:
            raise OptionError(f"invalid variable {text!r}", hint="NAME=VALUE or NAME")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    return tuple(found.items())


def ulimits_of(values: tuple[str, ...]) -> tuple[tuple[int, int, int], ...]:
    """`--ulimit`: (resource, soft, hard) each."""
    if not values:
        return ()
    from runtime.sandbox.rlimits import InvalidUlimit, parse_ulimit

    try:
        return tuple(parse_ulimit(text) for text in values)
    except InvalidUlimit as error:
        raise OptionError(str(error), hint=error.hint) from error


def entitlements(values: tuple[str, ...]) -> frozenset[str]:
    """`--allow`: what steps may ask for; `OptionError` for what there is not."""
    for text in values:
        if text not in _ENTITLEMENTS:
            raise OptionError(
                f"--allow {text}: there is no such entitlement", hint=", ".join(_ENTITLEMENTS)
            )
    return frozenset(values)
