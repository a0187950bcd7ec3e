"""Attestations of an image that has just been built, made and kept with it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from builder.attest.options import AttestOptions
from builder.attest.provenance import BuildFacts, Dependency, image_dependency, provenance
from builder.attest.scan import scan
from builder.attest.spdx import spdx_document
from builder.attest.witness import Witness
from builder.cache.dependencies import plan_values
from builder.events import Emit, Exported, Noticed
from builder.plan.named_contexts import NamedContext, NamedDirectory, NamedImage
from builder.plan.remote_names import RemoteFile, Repository
from builder.plan.steps import FromImage, ImageBase, Plan
from builder.request import BuildRequest
from builder.sources.inputs import Inputs
from builder.version import installed_version
from runtime.image.attestations import (
    PREDICATE_PROVENANCE,
    PREDICATE_SPDX,
    Attestation,
    image_url,
)
from runtime.image.digest import Digest, chain_id, encoded, sha256
from runtime.image.errors import InvalidReference
from runtime.image.platform import default_platform
from runtime.image.reference import Reference
from runtime.image.store.store import Store


def attest(
    store: Store,
    image_id: Digest,
    *,
    plan: Plan,
    request: BuildRequest,
    inputs: Inputs,
    witness: Witness,
    emit: Emit,
) -> tuple[Attestation, ...]:
    """Make what the request asks for, and keep it with the image."""
    made = []
    options = request.attest or AttestOptions()
    if options.sbom:
        began = time.monotonic()
        made.append(Attestation(PREDICATE_SPDX, _sbom(store, image_id, request, emit)))
        emit(Exported(what="listing packages", seconds=time.monotonic() - began))
    if options.provenance is not None:
        facts = _facts(store, plan, request, inputs, witness)
        made.append(Attestation(PREDICATE_PROVENANCE, provenance(facts, options.provenance)))
    store.statements.put(image_id, made)
    return tuple(made)


def _sbom(store: Store, image_id: Digest, request: BuildRequest, emit: Emit) -> bytes:
    config = store.image(image_id).config
    found = scan(store.view(config.diff_ids))
    for path, why in found.skipped:
        emit(Noticed(message=f"not in the list of packages: {path}: {why}"))
    return spdx_document(
        found,
        name=request.names[0].familiar() if request.names else image_id,
        image_id=image_id,
        created=config.created,
        tool=f"lamina-{installed_version()}",
    )


def _facts(
    store: Store, plan: Plan, request: BuildRequest, inputs: Inputs, witness: Witness
) -> BuildFacts:
    found = {(each.uri, each.name): each for each in _dependencies(store, plan, request, inputs)}
    return BuildFacts(
        dockerfile=_dockerfile(request),
        text=request.source.data,
        platform=str(plan.target.config.platform),
        builder_platform=str(default_platform()),
        version=installed_version(),
        epoch=plan.target.epoch,
        target=request.target,
        arguments=request.build_args,
        labels=dict(request.labels),
        contexts={name: _shown(value) for name, value in request.contexts.items()},
        secrets=request.execute.secrets,
        agents=tuple(request.execute.ssh),
        steps=tuple(witness.steps()),
        dependencies=tuple(found[key] for key in sorted(found)),
    )


def _dockerfile(request: BuildRequest) -> str:
    """Where the Dockerfile is in the context: where that is on this machine says nothing."""
    if request.layers is None and request.source.path != "-":
        relative = os.path.relpath(request.source.path, request.context)
        if not relative.startswith(".."):
            return relative
    return request.source.name


def _dependencies(
    store: Store, plan: Plan, request: BuildRequest, inputs: Inputs
) -> Iterator[Dependency]:
    if request.layers is not None:
        uri = "" if request.context == "-" else request.context
        digest = encoded(chain_id(request.layers))
        yield Dependency(uri=uri, digest={"sha256": digest}, name="context")
    for value in plan_values(plan):
        match value:
            case ImageBase() | FromImage():
                yield _image(store, value.reference, value.image_id)
            case RemoteFile():
                yield Dependency(uri=value.url, digest={"sha256": _file_digest(inputs, value)})
            case Repository():
                commit = {"gitCommit": inputs.commit(value)}
                name = value.url if value.url.startswith("git") else f"git+{value.url}"
                yield Dependency(uri=name + (f"@{value.ref}" if value.ref else ""), digest=commit)
            case _:
                continue


def _image(store: Store, reference: str, image_id: Digest) -> Dependency:
    image = store.image(image_id)
    try:
        name = Reference.parse(reference)
    except InvalidReference:
        return image_dependency(reference, image_id, None)
    known = (each for each in store.remotes.digests(image_id) if each.digest is not None)
    digests = [each.digest for each in known if each.repository == name.repository]
    uri = image_url(name, image.config.platform)
    return image_dependency(uri, image_id, digests[0] if len(digests) == 1 else None)


def _file_digest(inputs: Inputs, remote: RemoteFile) -> str:
    """The digest of what a server gave; it has been fetched by the step that wanted it."""
    if remote.checksum is not None:
        return remote.checksum.removeprefix("sha256:")
    tree, path = inputs.fetched(remote)
    entry = tree.lstat(path)
    assert entry is not None
    if isinstance(entry.content, bytes):
        return encoded(sha256(entry.content))
    return inputs.digest(entry)


def _shown(context: NamedContext) -> str:
    match context:
        case NamedImage(reference=reference):
            return f"docker-image://{reference}"
        case NamedDirectory():
            return "directory"
        case _:
            return context.shown()
