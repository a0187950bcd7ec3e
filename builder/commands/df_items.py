"""Every single thing in a store, for `lamina df -v`: as tables, and as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from builder.commands.df_rows import Found, amount_of
from builder.commands.tables import ago, size_text, table
from grammar.errors import printable
from runtime.image.digest import DiffID, encoded
from runtime.image.reference import Reference
from runtime.image.store.measure import Amount
from runtime.image.store.usage import ImageUsage, LayerUsage, RecordUsage

_SHORT = 12


def details(found: Found) -> list[str]:
    now = time.time()
    survey = found.survey
    layers = {layer.diff_id: layer for layer in survey.layers}
    parts = [
        (
            "Images",
            [
                "REPOSITORY:TAG", "IMAGE ID", "USED", "SIZE", "SHARED SIZE", "UNIQUE SIZE",
                "CONTAINERS",
            ],
            [_image_cells(image, layers, found, now) for image in survey.images],
        ),
        (
            "Layers",
            ["LAYER", "SIZE", "INODES", "FORMS", "IMAGES", "STEPS", "CONTAINERS"],
            [_layer_cells(layer) for layer in survey.layers],
        ),
        (
            "Containers",
            ["CONTAINER ID", "IMAGE", "SIZE", "CREATED", "STATUS"],
            [
                [
                    container.id[:_SHORT], container.spec.image, size_text(amount.bytes),
                    ago(now - container.description.created_ns / 1e9), container.state.status,
                ]
                for container, amount in found.containers
            ],
        ),
        (
            "Local volumes",
            ["VOLUME NAME", "LINKS", "SIZE"],
            [
                [volume.name, str(len(found.users.get(volume.name, ()))), size_text(amount.bytes)]
                for volume, amount in found.volumes
            ],
        ),
        (
            "Build cache",
            ["STEP", "KIND", "LAYER", "SIZE", "TOOK", "CREATED", "LAST USED", "NEEDED"],
            [
                _record_cells(layer, record, now)
                for layer in survey.layers
                for record in layer.records
            ],
        ),
        (
            "Cache mounts",
            ["NAME", "ID", "SIZE", "INODES", "LAST USED"],
            [
                [
                    cache.name[:_SHORT], printable(cache.id), size_text(cache.amount.bytes),
                    str(cache.amount.inodes), ago(now - cache.last_used),
                ]
                for cache in survey.caches
            ],
        ),
        (
            "Unreferenced files",
            ["PATH", "SIZE"],
            [
                [item.path, size_text(item.amount.bytes)]
                for item in survey.unreferenced
            ],
        ),
    ]  # fmt: skip
    total = found.amount
    texts = [f"{title}:\n\n{table(heads, rows)}" for title, heads, rows in parts if rows]
    database = size_text(survey.database.bytes)
    return [
        *texts,
        f"In all {size_text(total.bytes)} in {total.inodes} inodes, {database} of it the database",
    ]


def _image_cells(
    image: ImageUsage, layers: dict[DiffID, LayerUsage], found: Found, now: float
) -> list[str]:
    shared, unique = _shares(image, layers)
    return [
        ", ".join(_familiar(image.names)) or "<none>",
        encoded(image.id)[:_SHORT],
        ago(now - image.last_used),
        size_text(shared.bytes + unique.bytes),
        size_text(shared.bytes),
        size_text(unique.bytes),
        str(found.container_count(image)),
    ]


def _shares(image: ImageUsage, layers: dict[DiffID, LayerUsage]) -> tuple[Amount, Amount]:
    """What an image has together with others, and what is its own."""
    own = [layers[diff_id] for diff_id in dict.fromkeys(image.layers) if diff_id in layers]
    return (
        amount_of(layer for layer in own if len(layer.images) > 1),
        amount_of(layer for layer in own if len(layer.images) == 1),
    )


def _familiar(names: Iterable[str]) -> list[str]:
    return [Reference.parse(name).familiar() for name in names]


def _layer_cells(layer: LayerUsage) -> list[str]:
    return [
        encoded(layer.diff_id)[:_SHORT], size_text(layer.amount.bytes), str(layer.amount.inodes),
        ", ".join(_forms(layer)) or "missing", str(len(layer.images)), str(len(layer.records)),
        str(len(layer.leases)),
    ]  # fmt: skip


def _forms(layer: LayerUsage) -> list[str]:
    forms = [] if layer.tree is None else [f"tree {size_text(layer.tree.amount.bytes)}"]
    for blob in layer.blobs:
        kind = blob.media_type.rpartition("+")[2] if "+" in blob.media_type else "tar"
        forms.append(f"{kind} {size_text(blob.bytes)}")
    return forms


def _record_cells(layer: LayerUsage, record: RecordUsage, now: float) -> list[str]:
    return [
        record.key[:_SHORT], record.kind, encoded(layer.diff_id)[:_SHORT],
        size_text(layer.amount.bytes), f"{record.seconds:.1f}s" if record.seconds else "",
        ago(now - record.created), ago(now - record.last_used),
        "image" if layer.images else "container" if layer.leases else "",
    ]  # fmt: skip


def items_document(found: Found) -> dict[str, Any]:
    survey = found.survey
    layers = {layer.diff_id: layer for layer in survey.layers}
    return {
        "images": [_image_item(image, layers, found) for image in survey.images],
        "layers": [_layer_item(layer) for layer in survey.layers],
        "containers": [
            {
                "id": container.id,
                "image": container.description.image_id,
                "status": container.state.status,
            }
            | plain(amount)
            for container, amount in found.containers
        ],
        "cache_mounts": [
            {"name": cache.name, "id": cache.id, "last_used": cache.last_used} | plain(cache.amount)
            for cache in survey.caches
        ],
        "unreferenced": [{"path": item.path} | plain(item.amount) for item in survey.unreferenced],
    }


def _image_item(
    image: ImageUsage, layers: dict[DiffID, LayerUsage], found: Found
) -> dict[str, Any]:
    shared, unique = _shares(image, layers)
    return {
        "id": image.id,
        "names": _familiar(image.names),
        "layers": list(image.layers),
        "last_used": image.last_used,
        "shared": plain(shared),
        "unique": plain(unique),
        "containers": found.container_count(image),
    }


def _layer_item(layer: LayerUsage) -> dict[str, Any]:
    return {
        "diff_id": layer.diff_id,
        "size": layer.size,
        **plain(layer.amount),
        "tree": None if layer.tree is None else plain(layer.tree.amount),
        "blobs": [
            {"digest": blob.digest, "media_type": blob.media_type, "size": blob.size}
            for blob in layer.blobs
        ],
        "images": list(layer.images),
        "containers": list(layer.leases),
        "steps": [
            {
                "key": record.key,
                "kind": record.kind,
                "created": record.created,
                "last_used": record.last_used,
                "seconds": round(record.seconds, 3),
            }
            for record in layer.records
        ],
    }


def plain(amount: Amount) -> dict[str, int]:
    return {"bytes": amount.bytes, "inodes": amount.inodes}
