"""What the store does to make a blob of a tree and a tree of a blob, in a process of its own.

    python -m benchmarks.layer_jobs pack TREE BLOB         prints the diff ID
    python -m benchmarks.layer_jobs unpack LAYOUT FOLDER   makes FOLDER/tree

Both digests are computed on the way, as by the tools beside which this is measured.
"""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import closing
from pathlib import Path


def pack(tree: str, blob: str) -> None:
    """A tree to a gzip blob, its digest and its diff ID."""
    from runtime.image.layer.compression import compressing
    from runtime.image.layer.pack import scan_tree
    from runtime.image.layer.recipe import GZIP
    from runtime.image.layer.writer import write_layer_to

    fd = os.open(blob, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with compressing(fd, GZIP) as made:
        layer = write_layer_to(scan_tree(tree), made.feed)
    os.close(fd)
    assert made.digest
    print(layer.diff_id)


def unpack(layout: str, folder: str) -> None:
    """A gzip blob to a tree, its digest and its diff ID."""
    from benchmarks.layouts import blob_path
    from runtime.image.layer.decompression import open_decompressed
    from runtime.image.layer.extract import extract_layer

    tree = os.path.join(folder, "tree")
    os.mkdir(tree)
    path = blob_path(Path(layout))
    digest = hashlib.sha256()

    def read(size: int) -> bytes:
        data = file.read(size)
        digest.update(data)
        return data

    with path.open("rb", buffering=0) as file, closing(open_decompressed(read)) as chunks:
        extract_layer(chunks, tree, skip_devices_if_forbidden=False)
    assert path.name == digest.hexdigest()


if __name__ == "__main__":
    {"pack": pack, "unpack": unpack}[sys.argv[1]](*sys.argv[2:])
