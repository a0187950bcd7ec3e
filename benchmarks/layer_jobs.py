"""A tree to a gzip blob and back, as the store does it, in a process of its own.

python -m benchmarks.layer_jobs pack TREE BLOB
python -m benchmarks.layer_jobs unpack BLOB TREE DIGEST
"""

from __future__ import annotations

import os
import sys
from contextlib import closing

from runtime.image.layer.compression import Compression, compressing
from runtime.image.layer.pack import scan_tree
from runtime.image.layer.writer import write_layer_to


def pack(tree: str, blob: str) -> None:
    """Print the diff ID and the digest."""
    fd = os.open(blob, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with compressing(fd, Compression.GZIP) as made:
        layer = write_layer_to(scan_tree(tree), made.feed)
    os.close(fd)
    print(layer.diff_id, made.digest)


def unpack(blob: str, tree: str) -> None:
    """Print the diff ID."""
    from runtime.image.layer.decompression import open_decompressed
    from runtime.image.layer.extract import extract_layer

    with closing(open_decompressed(blob)) as chunks:
        extracted = extract_layer(chunks, tree, skip_devices_if_forbidden=False)
    print(extracted.diff_id)


if __name__ == "__main__":
    {"pack": pack, "unpack": unpack}[sys.argv[1]](*sys.argv[2:])
