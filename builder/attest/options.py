"""`--sbom`, `--provenance` and `--attest`: what is to be said of a build's result.

As buildx has them: the first two are short for `--attest type=sbom` and `type=provenance`.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from builder.errors import OptionError
from builder.plan.units import parse_switch
from runtime.image.attestations import AttestationForm

Mode = Literal["min", "max"]

_KEYS = {
    "sbom": frozenset({"disabled"}),
    "provenance": frozenset({"disabled", "mode", "version", "builder-id", "reproducible"}),
}
_REFUSED = {
    "generator": "the image is looked into by lamina itself, not by another image",
    "inline-only": "what is asked for goes into every archive",
    "filename": "attestations are never written as files of their own",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenanceOptions:
    """How much is told of a build: `min` has no values of arguments, and no names of secrets."""

    mode: Mode = "min"
    builder_id: str = ""
    reproducible: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestOptions:
    """What to attest, and how archives hold it."""

    sbom: bool = False
    provenance: ProvenanceOptions | None = None
    form: AttestationForm = "referrers"


def parse_attest(
    attest: Sequence[str], *, sbom: str | None, provenance: str | None, form: str
) -> AttestOptions | None:
    """Read the options, the last one of each type; `None` if nothing is asked for.

    `OptionError` for what cannot be had.
    """
    texts = [*attest]
    for kind, value in (("sbom", sbom), ("provenance", provenance)):
        if value is not None:
            texts.append(f"type={kind},{_shorthand(value)}")
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        kind, options = _read(text)
        found[kind] = options
    wanted = {kind: options for kind, options in found.items() if not _is_disabled(options)}
    if not wanted:
        return None
    return AttestOptions(
        sbom="sbom" in wanted,
        provenance=_provenance(wanted["provenance"]) if "provenance" in wanted else None,
        form="index" if form == "index" else "referrers",
    )


def _shorthand(value: str) -> str:
    try:
        return f"disabled={str(not parse_switch(value)).lower()}"
    except ValueError:
        return value


def _read(text: str) -> tuple[str, dict[str, str]]:
    options: dict[str, str] = {}
    for field in next(csv.reader([text]), []):
        key, equals, value = field.partition("=")
        if not equals:
            raise OptionError(
                f"invalid --attest {text!r}: {field!r} has no value",
                hint="type=sbom or type=provenance,mode=max",
            )
        options[key.strip().lower()] = value
    kind = options.pop("type", "")
    if kind not in _KEYS:
        raise OptionError(f"unknown attestation type {kind!r}", hint=", ".join(sorted(_KEYS)))
    for key in options:
        if key in _REFUSED:
            raise OptionError(f"--attest type={kind},{key}: {_REFUSED[key]}")
        if key not in _KEYS[kind]:
            raise OptionError(f"--attest type={kind} has no option {key!r}")
    return kind, options


def _is_disabled(options: dict[str, str]) -> bool:
    return _switch("disabled", options.get("disabled", "false"))


def _provenance(options: dict[str, str]) -> ProvenanceOptions:
    mode = options.get("mode", "min")
    if mode not in get_args(Mode):
        raise OptionError(f"unknown provenance mode {mode!r}", hint="min or max")
    version = options.get("version", "v1")
    if version != "v1":
        raise OptionError(f"provenance is written in version v1 of SLSA, not in {version!r}")
    return ProvenanceOptions(
        mode="max" if mode == "max" else "min",
        builder_id=options.get("builder-id", ""),
        reproducible=_switch("reproducible", options.get("reproducible", "false")),
    )


def _switch(key: str, value: str) -> bool:
    try:
        return parse_switch(value)
    except ValueError as error:
        raise OptionError(f"--attest {key}={value}: true or false") from error
