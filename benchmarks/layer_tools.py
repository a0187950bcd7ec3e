"""Tools that only make layers of trees, and trees of layers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.layouts import blob_path
from benchmarks.tools import Tool, call

# Both digests of what flows by, as everybody computes them who has no program for it.
PACK = """\
set -euo pipefail
mkfifo "$2/plain" "$2/packed"
openssl dgst -sha256 "$2/plain" & openssl dgst -sha256 "$2/packed" &
tar -c -C "$1" . | tee "$2/plain" | igzip -1 | tee "$2/packed" > "$2/blob"
wait
"""
UNPACK = """\
set -euo pipefail
mkdir "$2/tree"
mkfifo "$2/plain" "$2/packed"
openssl dgst -sha256 "$2/plain" & openssl dgst -sha256 "$2/packed" &
tee "$2/packed" < "$1" | igzip -d | tee "$2/plain" | tar -x -C "$2/tree"
wait
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TarPipeline(Tool):
    """GNU tar behind or before igzip, with two `openssl dgst -sha256` at the pipe."""

    name: str = "tar"
    programs: tuple[str, ...] = ("tar", "igzip", "openssl", "bash")
    verbs: frozenset[str] = frozenset({"pack", "unpack"})

    def version(self) -> str:
        compressor = call("igzip", "--version").split()[-1]
        return f"{call('tar', '--version').splitlines()[0]}, igzip {compressor}, openssl dgst"

    def base(self, rootfs: Path) -> None:
        """Nothing to be made."""

    def pack(self, tree: Path, folder: Path) -> None:
        call("bash", "-c", PACK, "pack", tree, folder)

    def unpack(self, layout: Path, folder: Path) -> None:
        call("bash", "-c", UNPACK, "unpack", blob_path(layout), folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Umoci(Tool):
    """`umoci insert` into a new image, `umoci raw unpack` out of one."""

    name: str = "umoci"
    programs: tuple[str, ...] = ("umoci",)
    verbs: frozenset[str] = frozenset({"pack", "unpack"})

    def version(self) -> str:
        return call("umoci", "--version").strip()

    def base(self, rootfs: Path) -> None:
        """Nothing to be made."""

    def pack(self, tree: Path, folder: Path) -> None:
        layout = folder / "layout"
        call("umoci", "init", "--layout", layout)
        call("umoci", "new", "--image", f"{layout}:layer")
        call("umoci", "insert", "--image", f"{layout}:layer", tree, "/")

    def unpack(self, layout: Path, folder: Path) -> None:
        call("umoci", "raw", "unpack", "--image", f"{layout}:layer", folder / "tree")
