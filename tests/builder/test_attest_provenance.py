"""What is attested of a build: the options, the document, what must never be in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from builder.attest.options import AttestOptions, ProvenanceOptions, parse_attest
from builder.attest.provenance import BuildFacts, Dependency, image_dependency, provenance
from builder.attest.witness import SeenStep, Witness
from builder.errors import OptionError
from builder.events import BaseUsed, Event, StepCached, StepFinished, StepKeyed, StepStarted
from runtime.image.attestations import (
    PREDICATE_PROVENANCE,
    PREDICATE_SPDX,
    Attestation,
    attach,
    image_url,
    read_statements,
    statement,
)
from runtime.image.digest import DiffID, Digest, sha256
from runtime.image.errors import ArchiveError
from runtime.image.manifest import MEDIA_TYPE_MANIFEST, Descriptor, Manifest
from runtime.image.platform import Platform
from runtime.image.reference import Reference

MIN, MAX = ProvenanceOptions(), ProvenanceOptions(mode="max")


def parsed(*attest: str, sbom: str | None = None, provenance: str | None = None) -> Any:
    return parse_attest(attest, sbom=sbom, provenance=provenance, form="referrers")


def test_options() -> None:
    assert parsed() is None
    assert parsed(sbom="false", provenance="false") is None
    assert parsed(sbom="true") == AttestOptions(sbom=True)
    assert parsed(provenance="true") == AttestOptions(provenance=MIN)
    assert parsed(provenance="mode=max") == AttestOptions(provenance=MAX)
    both = parsed("type=sbom", "type=provenance,mode=max,version=v1,builder-id=me,reproducible=1")
    assert both == AttestOptions(
        sbom=True,
        provenance=ProvenanceOptions(mode="max", builder_id="me", reproducible=True),
    )
    assert parsed("type=sbom", sbom="false") is None
    assert parsed("type=provenance,disabled=true") is None
    index = parse_attest((), sbom="1", provenance=None, form="index")
    assert index == AttestOptions(sbom=True, form="index")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sbom": "generator=x"}, "looked into by lamina itself"),
        ({"provenance": "mode=full"}, "unknown provenance mode"),
        ({"provenance": "version=v0.2"}, "in version v1"),
        ({"provenance": "maybe"}, "has no value"),
        ({"provenance": "x=y"}, "has no option 'x'"),
        ({"provenance": "inline-only=true"}, "every archive"),
        ({"provenance": "reproducible=perhaps"}, "true or false"),
    ],
)
def test_options_that_cannot_be(options: dict[str, str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parsed(**options)


def test_attestations_that_cannot_be() -> None:
    with pytest.raises(OptionError, match="unknown attestation type 'x'"):
        parsed("type=x")
    with pytest.raises(OptionError, match="unknown attestation type ''"):
        parsed("mode=max")


RUN = SeenStep(label="2/3", text="RUN make", kind="run", layer="sha256:1", network="default")
COPY = SeenStep(label="3/3", text="COPY . /", kind="entries", layer="sha256:2", reads_context=True)
FACTS = BuildFacts(
    dockerfile="Dockerfile",
    text=b"FROM base\nARG API_TOKEN\nRUN make\nCOPY . /\n",
    platform="linux/amd64",
    builder_platform="linux/amd64",
    version="1",
    epoch=1000,
    target="app",
    arguments={"A": "1", "API_TOKEN": "s3cret-token", "HTTP_PROXY": "http://u:p@proxy"},
    labels={"l": "with topsecret in it"},
    contexts={"c": "https://user:pass@test.com/c.git"},
    secrets={"id": b"topsecret\n", "short": b"1"},
    agents=("default",),
    steps=(RUN, COPY),
    dependencies=(
        Dependency(uri="https://user:pass@test.com/f", digest={"sha256": "ab"}),
        image_dependency("pkg:docker/base", sha256(b"i"), None),
    ),
)


def document(facts: BuildFacts, options: ProvenanceOptions) -> dict[str, Any]:
    found = json.loads(provenance(facts, options))
    assert isinstance(found, dict)
    return found


def test_all_of_it() -> None:
    told = document(FACTS, MAX)
    request = told["buildDefinition"]["externalParameters"]["request"]
    assert request == {
        "args": {"A": "1", "API_TOKEN": "xxxxx"},
        "contexts": {"c": "https://user:xxxxx@test.com/c.git"},
        "frontend": "dockerfile.v0",
        "labels": {"l": "with xxxxx in it"},
        "platform": "linux/amd64",
        "secrets": ["id", "short"],
        "ssh": ["default"],
        "target": "app",
    }
    internal = told["buildDefinition"]["internalParameters"]
    assert internal["dockerfile"] == FACTS.text.decode()
    assert internal["network"] == ["default"]
    assert internal["steps"][0] == {
        "name": "2/3", "instruction": "RUN make", "layer": "sha256:1", "network": "default",
    }  # fmt: skip
    file, image, context = told["buildDefinition"]["resolvedDependencies"]
    assert file == {"uri": "https://user:xxxxx@test.com/f", "digest": {"sha256": "ab"}}
    assert image["annotations"] == {"imageID": sha256(b"i")}
    assert context["name"] == "context"
    metadata = told["runDetails"]["metadata"]
    assert metadata["lamina_completeness"] == {"request": True, "resolvedDependencies": False}


def test_the_least() -> None:
    text = provenance(FACTS, MIN).decode()
    request = document(FACTS, MIN)["buildDefinition"]["externalParameters"]["request"]
    assert request["argNames"] == ["A", "API_TOKEN"]
    for hidden in ("secrets", "ssh", "labels", "args", "steps", "dockerfile:"):
        assert f'"{hidden}"' not in text


@pytest.mark.parametrize("options", [MIN, MAX])
def test_no_secret_is_told(options: ProvenanceOptions) -> None:
    facts = replace(
        FACTS,
        dockerfile="topsecret/Dockerfile",
        text=b"RUN echo topsecret s3cret-token",
        steps=(replace(RUN, text="COPY s3cret-token /"),),
    )
    text = provenance(facts, options).decode()
    for secret in ("topsecret", "s3cret-token", ":pass@", ":p@"):
        assert secret not in text


def test_equal_builds_have_equal_documents() -> None:
    assert provenance(FACTS, MAX) == provenance(replace(FACTS), MAX)
    assert provenance(FACTS, MAX) != provenance(replace(FACTS, epoch=1), MAX)


def test_no_network_is_hermetic() -> None:
    told = document(replace(FACTS, steps=(replace(RUN, network="none"),)), MIN)
    assert told["runDetails"]["metadata"]["lamina_hermetic"]
    assert document(replace(FACTS, steps=()), MIN)["runDetails"]["metadata"]["lamina_hermetic"]


def test_a_witness_passes_on_what_it_sees() -> None:
    seen: list[Event] = []
    witness = Witness(seen.append)
    layer = DiffID(sha256(b"layer"))
    keyed = StepKeyed(
        number=2, label="2/3", text="RUN a", key="k", kind="run",
        components={"network": "none"}, facts={}, looked_up=True,
    )  # fmt: skip
    copy = replace(
        keyed, number=3, kind="entries", facts={"input": '"FromContext"', "sources": '["x"]'}
    )
    events: list[Event] = [
        copy,
        BaseUsed(number=1, label="1/3", text="FROM a"),
        keyed,
        StepStarted(number=2, label="2/3", text="RUN a"),
        StepFinished(number=2, seconds=1.0, diff_id=layer),
        StepCached(number=3, label="3/3", text="COPY", diff_id=layer),
    ]
    for event in events:
        witness(event)
    assert seen == events
    base, run, copied = witness.steps()
    assert base == SeenStep(label="1/3", text="FROM a")
    assert (run.kind, run.network, run.layer, run.reads_context) == ("run", "none", layer, False)
    assert (copied.reads_context, copied.layer) == (True, layer)


IMAGE = Descriptor(media_type=MEDIA_TYPE_MANIFEST, digest=sha256(b"m"), size=1)
SAID = [Attestation(PREDICATE_SPDX, b'{"s":1}'), Attestation(PREDICATE_PROVENANCE, b'{"p":2}')]


def test_statements() -> None:
    told = json.loads(statement(SAID[0], ["pkg:docker/a"], IMAGE.digest))
    assert told == {
        "_type": "https://in-toto.io/Statement/v1",
        "predicate": {"s": 1},
        "predicateType": PREDICATE_SPDX,
        "subject": [
            {"digest": {"sha256": IMAGE.digest.removeprefix("sha256:")}, "name": "pkg:docker/a"}
        ],
    }


def blob_of(blobs: Mapping[Digest, bytes], descriptor: Descriptor) -> bytes:
    return blobs[descriptor.digest]


@pytest.mark.parametrize("form", ["referrers", "index"])
def test_attached_manifests_are_read_back(form: Any) -> None:
    attached = attach(SAID, IMAGE, [], form)
    assert len(attached) == (2 if form == "referrers" else 1)
    found: list[Attestation] = []
    for each in attached:
        blobs = {sha256(data): data for data in each.documents}
        manifest = Manifest.parse(blobs[each.descriptor.digest])
        assert manifest.subject is not None
        assert manifest.subject.digest == IMAGE.digest
        assert manifest.artifact_type == each.descriptor.artifact_type
        assert manifest.to_bytes() == blobs[each.descriptor.digest]
        assert blobs[manifest.config.digest] == b"{}"
        found += read_statements(manifest, partial(blob_of, blobs))
    assert found == SAID
    assert attach([], IMAGE, [], form) == ()


def test_statements_that_say_nothing() -> None:
    (attached,) = attach(SAID[:1], IMAGE, [], "index")
    manifest = Manifest.parse(attached.documents[0])
    for text in (b"[]", b"{}", b'{"predicateType":"x"}', b"no"):
        with pytest.raises(ArchiveError):
            read_statements(manifest, partial(blob_of, {manifest.layers[0].digest: text}))


def test_names_of_images() -> None:
    name = Reference.parse("test.com:5000/a/b:v1")
    url = image_url(name, Platform("linux", "arm64"))
    assert url == "pkg:docker/test.com:5000/a/b@v1?platform=linux%2Farm64"
    plain = image_url(Reference.parse("app"), Platform("linux", "arm", "v7"))
    assert plain == "pkg:docker/app@latest?platform=linux%2Farm%2Fv7"
