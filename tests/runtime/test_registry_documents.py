"""What registries may send: forms that are taken, and what is refused with a reason."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from runtime.image.digest import DiffID, sha256
from runtime.image.errors import ImageError
from runtime.image.platform import Platform
from runtime.image.reference import Reference
from runtime.image.registry.configuration import Registries
from runtime.image.registry.errors import (
    InvalidAnswer,
    NoSuchPlatform,
    NotFound,
    UnsupportedImage,
)
from runtime.image.registry.pull import Pulled, pull
from runtime.image.registry.retries import RetryPolicy
from runtime.image.registry.session import Session
from runtime.image.store.store import Store, open_store
from support.archives import Layout, config, descriptor, layer
from support.remote import Site, serving

pytestmark = pytest.mark.any_user

WANTED = Platform("linux", "amd64")
OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"
TAR = layer(a="a")
Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "store")) as opened:
        yield opened


def publish(site: Site, layout: Layout, top: bytes) -> None:
    """Let the site be a registry with one repository, whose tag is `top`."""
    for name, data in layout.members.items():
        if name.startswith("blobs/"):
            for kind in ("blobs", "manifests"):
                site.files[f"/v2/x/y/{kind}/{sha256(data)}"] = data
    site.files["/v2/x/y/manifests/1"] = top


def fetch(store: Store, site: Site, wanted: Platform = WANTED) -> Pulled:
    name = Reference.parse(f"{site.url.removeprefix('http://')}/x/y:1")
    with Session(Registries(), policy=RetryPolicy(attempts=1)) as session:
        return pull(store, session, name, wanted)


def blob(layout: Layout, data: bytes, media_type: str) -> dict[str, Any]:
    layout.put(data, "")
    return descriptor(data, media_type)


def image(
    site: Site, *, layer_type: str, data: bytes, edit: Edit | None = None, **members: Any
) -> None:
    """An image of one layer, which comes as `data`; `edit` changes its manifest."""
    layout = Layout()
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "config": blob(layout, config(TAR, **members), f"{OCI}.config.v1+json"),
        "layers": [blob(layout, data, layer_type)],
    }
    if edit is not None:
        edit(document)
    publish(site, layout, json.dumps(document).encode())


GZIP = gzip.compress(TAR, mtime=0)
ZSTD = zstandard.ZstdCompressor().compress(TAR)


@pytest.mark.parametrize(
    ("layer_type", "data", "kept"),
    [
        (f"{OCI}.layer.v1.tar+gzip", GZIP, "+gzip"),
        (f"{OCI}.layer.v1.tar+zstd", ZSTD, "+zstd"),
        (f"{OCI}.layer.v1.tar", TAR, ""),
        (f"{DOCKER}.image.rootfs.diff.tar.gzip", GZIP, "+gzip"),
        (f"{DOCKER}.image.rootfs.diff.tar.zstd", ZSTD, "+zstd"),
        (f"{DOCKER}.image.rootfs.diff.tar", TAR, ""),
        (f"{OCI}.layer.v1.tar+gzip", ZSTD, "+zstd"),
        (f"{DOCKER}.image.rootfs.foreign.diff.tar.gzip", GZIP, "+gzip"),
    ],
)
def test_layers_of_every_kind(
    store: Store, site: Site, layer_type: str, data: bytes, kept: str
) -> None:
    image(site, layer_type=layer_type, data=data)
    pulled = fetch(store, site)
    (diff_id,) = store.image(pulled.image_id).config.diff_ids
    assert diff_id == DiffID(sha256(TAR))
    assert [(b.media_type, b.digest) for b in store.layer_blobs(diff_id)] == [
        (f"{OCI}.layer.v1.tar{kept}", sha256(data))
    ]
    assert (Path(store.tree(diff_id)) / "a").read_text() == "a"


def refused(
    store: Store, site: Site, kind: type[ImageError], why: str, wanted: Platform = WANTED
) -> None:
    with pytest.raises(kind) as caught:
        fetch(store, site, wanted)
    assert why in caught.value.message
    assert not store.images()


def as_schema_1(document: dict[str, Any]) -> None:
    document["schemaVersion"] = 1


def as_both(document: dict[str, Any]) -> None:
    document["manifests"] = []


def as_artifact(document: dict[str, Any]) -> None:
    document["config"]["mediaType"] = "application/vnd.example.config+json"


def with_strange_layer(document: dict[str, Any]) -> None:
    document["layers"][0]["mediaType"] = "text/plain"


def with_two_layers(document: dict[str, Any]) -> None:
    document["layers"] *= 2


def with_other_kind(document: dict[str, Any]) -> None:
    document["mediaType"] = "application/vnd.example.thing+json"


def with_large_config(document: dict[str, Any]) -> None:
    document["config"]["size"] = 1 << 40


@pytest.mark.parametrize(
    ("edit", "kind", "why"),
    [
        (as_schema_1, UnsupportedImage, "schema 1"),
        (as_both, InvalidAnswer, "could be an index as well"),
        (as_artifact, UnsupportedImage, "an artifact (application/vnd.example.config+json)"),
        (with_strange_layer, UnsupportedImage, "a layer of the unknown type text/plain"),
        (with_two_layers, InvalidAnswer, "the manifest has 2 layers, the config 1"),
        (with_other_kind, UnsupportedImage, "no image, but application/vnd.example.thing+json"),
        (with_large_config, InvalidAnswer, "longer than"),
    ],
)
def test_manifests_that_are_refused(
    store: Store, site: Site, edit: Edit, kind: type[ImageError], why: str
) -> None:
    image(site, layer_type=f"{OCI}.layer.v1.tar+gzip", data=GZIP, edit=edit)
    refused(store, site, kind, why)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"schemaVersion":2}'])
def test_manifests_that_are_none(store: Store, site: Site, data: bytes) -> None:
    site.files["/v2/x/y/manifests/1"] = data
    with pytest.raises(ImageError):
        fetch(store, site)


def test_a_layer_that_is_not_what_the_config_says(store: Store, site: Site, tmp_path: Path) -> None:
    other = gzip.compress(layer(b="b"), mtime=0)
    image(site, layer_type=f"{OCI}.layer.v1.tar+gzip", data=other)
    refused(store, site, InvalidAnswer, "is corrupt")
    assert not store.has_layer(DiffID(sha256(TAR)))
    assert not list((tmp_path / "store" / "partial").iterdir())


def test_a_layer_that_is_no_layer(store: Store, site: Site) -> None:
    image(site, layer_type=f"{OCI}.layer.v1.tar+gzip", data=b"\x1f\x8bgarbage")
    refused(store, site, InvalidAnswer, "gzip")


def test_a_foreign_layer_that_the_registry_does_not_keep(store: Store, site: Site) -> None:
    image(site, layer_type=f"{DOCKER}.image.rootfs.foreign.diff.tar.gzip", data=GZIP)
    del site.files[f"/v2/x/y/blobs/{sha256(GZIP)}"]
    refused(store, site, UnsupportedImage, "a foreign one")


def test_nothing_is_there(store: Store, site: Site) -> None:
    refused(store, site, NotFound, "not found")


def test_an_image_of_another_system_says_so(store: Store, site: Site) -> None:
    image(site, layer_type=f"{OCI}.layer.v1.tar+gzip", data=GZIP, os="windows")
    refused(store, site, NoSuchPlatform, "no image for linux/amd64; there is windows/amd64")
    assert fetch(store, site, Platform("windows", "amd64")).changed


def test_indexes_lead_to_the_platform(store: Store, site: Site) -> None:
    layout = Layout()
    tars = {name: layer(a=name) for name in ("amd64", "arm64")}
    inner = layout.index(
        *(
            layout.manifest(tar, architecture=name)
            | {"platform": {"os": "linux", "architecture": name}}
            for name, tar in tars.items()
        )
    )
    document = {"schemaVersion": 2, "manifests": [inner]}
    publish(site, layout, json.dumps(document).encode())
    for name, tar in tars.items():
        pulled = fetch(store, site, Platform("linux", name))
        assert list(store.image(pulled.image_id).config.diff_ids) == [DiffID(sha256(tar))]
        assert pulled.digest == sha256(json.dumps(document).encode())
    refused_platform = Platform("linux", "s390x")
    with pytest.raises(NoSuchPlatform, match=r"there is linux/amd64, linux/arm64"):
        fetch(store, site, refused_platform)
