"""How an image came about, as SLSA v1 provenance: equal builds, equal documents.

There are no times and no names of machines in it. What a build was given is `externalParameters`,
what it took from elsewhere `resolvedDependencies`, with digests. The values of secrets are never
in it: they are known, so they are struck out wherever they might have got to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from builder.attest.options import ProvenanceOptions
from builder.attest.witness import SeenStep
from builder.plan.remote_names import without_password
from grammar.lint.secrets import is_secret_name
from runtime.image.digest import Digest, encoded
from runtime.image.json_bytes import canonical

_BUILD_TYPE: Final = "urn:lamina:dockerfile:v1"
_BUILDER: Final = "urn:lamina:builder"
_STRUCK_OUT: Final = "xxxxx"
_SHORTEST_SECRET: Final = 4
_PROXIES: Final = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """What a build took from elsewhere. `image_id` where it is an image."""

    uri: str
    digest: Mapping[str, str]
    name: str = ""
    image_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFacts:
    """What is known of a build. `epoch` is seconds since 1970, `contexts` are named ones."""

    dockerfile: str
    text: bytes
    platform: str
    builder_platform: str
    version: str
    epoch: int
    target: str | None
    arguments: Mapping[str, str]
    labels: Mapping[str, str]
    contexts: Mapping[str, str]
    secrets: Mapping[str, bytes]
    agents: Iterable[str]
    steps: tuple[SeenStep, ...]
    dependencies: tuple[Dependency, ...]


def provenance(facts: BuildFacts, options: ProvenanceOptions) -> bytes:
    """The predicate, in canonical form."""
    all_of_it = options.mode == "max"
    arguments = {
        name: value for name, value in facts.arguments.items() if name.lower() not in _PROXIES
    }
    request: dict[str, Any] = {
        "frontend": "dockerfile.v0",
        "platform": facts.platform,
        "target": facts.target,
        "contexts": {name: without_password(value) for name, value in facts.contexts.items()},
    }
    internal: dict[str, Any] = {
        "builderPlatform": facts.builder_platform,
        "epoch": facts.epoch,
        "network": sorted({step.network for step in facts.steps if step.kind == "run"}),
    }
    if all_of_it:
        request |= {
            "args": arguments,
            "labels": dict(facts.labels),
            "secrets": sorted(facts.secrets),
            "ssh": sorted(facts.agents),
        }
        internal["dockerfile"] = facts.text.decode("utf-8", "replace")
        internal["steps"] = [_step(step) for step in facts.steps]
    else:
        request["argNames"] = sorted(arguments)
    hermetic = set(internal["network"]) <= {"none"}
    document = {
        "buildDefinition": {
            "buildType": _BUILD_TYPE,
            "externalParameters": {
                "configSource": {
                    "path": facts.dockerfile,
                    "digest": {"sha256": hashlib.sha256(facts.text).hexdigest()},
                },
                "request": _filled(request),
            },
            "internalParameters": _filled(internal),
            "resolvedDependencies": [*map(_dependency, facts.dependencies), *_context(facts.steps)],
        },
        "runDetails": {
            "builder": {
                "id": options.builder_id or _BUILDER,
                "version": {"lamina": facts.version},
            },
            "metadata": {
                "lamina_completeness": {"request": all_of_it, "resolvedDependencies": hermetic},
                "lamina_hermetic": hermetic,
                "lamina_reproducible": options.reproducible,
            },
        },
    }
    return canonical(_without(document, [*_secret_texts(facts, arguments)]))


def image_dependency(uri: str, image_id: Digest, digest: Digest | None) -> Dependency:
    """An image: by the digest that registries know it by, or else by its ID."""
    return Dependency(
        uri=uri, digest={"sha256": encoded(digest or image_id)}, image_id=str(image_id)
    )


def _dependency(dependency: Dependency) -> dict[str, Any]:
    about = {"imageID": dependency.image_id} if dependency.image_id else {}
    return _filled(
        {
            "uri": without_password(dependency.uri),
            "name": dependency.name,
            "digest": dict(dependency.digest),
            "annotations": about,
        }
    )


def _context(steps: tuple[SeenStep, ...]) -> Iterator[dict[str, Any]]:
    """The files that steps copied from the context: a digest for all of them."""
    read = [[step.text, step.layer] for step in steps if step.reads_context]
    if read:
        digest = hashlib.sha256(canonical(read)).hexdigest()
        yield {
            "name": "context",
            "digest": {"sha256": digest},
            "annotations": {"of": "the layers that COPY and ADD made of it"},
        }


def _step(step: SeenStep) -> dict[str, Any]:
    return _filled(
        {
            "name": step.label,
            "instruction": step.text,
            "layer": step.layer,
            "network": step.network,
        }
    )


def _secret_texts(facts: BuildFacts, arguments: Mapping[str, str]) -> Iterator[str]:
    """What must not be told: longest first, so that none is left of another's rest."""
    texts = [value.decode("utf-8", "replace") for value in facts.secrets.values()]
    texts += [value for name, value in arguments.items() if is_secret_name(name)]
    parts = {part.strip() for text in texts for part in (text, *text.splitlines())}
    found = (part for part in parts if len(part) >= _SHORTEST_SECRET)
    return iter(sorted(found, key=lambda part: (-len(part), part)))


def _without(value: Any, secrets: list[str]) -> Any:
    """A document in which no string has a secret in it."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, _STRUCK_OUT)
        return value
    if isinstance(value, dict):
        return {key: _without(each, secrets) for key, each in value.items()}
    if isinstance(value, list):
        return [_without(each, secrets) for each in value]
    return value


def _filled(members: dict[str, Any]) -> dict[str, Any]:
    """The members that say something."""
    return {name: value for name, value in members.items() if value not in (None, "", [], {})}
