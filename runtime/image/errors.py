"""What can go wrong with images.

    ImageError
      InvalidDigest            a string that should be a digest is none
      InvalidReference         an image name that cannot be one
      InvalidPlatform          a string that should be a platform is none
      ImageNotFound            no image of that name or ID in the store
      StoreError               the store itself
        ImageReferenced        not removed: it has more names than the one that was meant
        BlobMissing            named, but not there
        BlobCorrupt            there, but not what its digest says
      LayerError               a layer's tar cannot be read or must not be applied
      CompressorUnfit          layers cannot be compressed here as they are to be
      ArchiveError             an image archive or a config that cannot be read
      PlatformMissing          there is such an image, but not for that platform

Each class takes the facts and makes its own sentence; `hint` is one remedy, where there is one.
`OSError` passes through untouched: it carries its errno and path.
"""

from __future__ import annotations

from collections.abc import Sequence


class ImageError(Exception):
    """The root: `message` says what and why, `hint` what to do."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InvalidDigest(ImageError):
    """A string that should be a digest is none."""

    def __init__(self, text: str) -> None:
        super().__init__(f"invalid digest {text!r}: expected sha256: and 64 hexadecimal digits")


class InvalidReference(ImageError):
    """An image name that cannot be one."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(f"invalid reference format: {text!r}: {why}")


class InvalidPlatform(ImageError):
    """A string that should be a platform is none."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f"invalid platform {text!r}: expected os/architecture or os/architecture/variant"
        )


class ImageNotFound(ImageError):
    """No image of that name or ID in the store."""

    def __init__(self, name: str, *, hint: str | None = None) -> None:
        super().__init__(f"no such image: {name}", hint=hint)


class StoreError(ImageError):
    """The store cannot do what was asked."""


class ImageReferenced(StoreError):
    """An image was to be removed by its ID, but has several names."""

    def __init__(self, image_id: str, names: Sequence[str]) -> None:
        super().__init__(
            f"image {image_id} has several names: {', '.join(names)}",
            hint="remove the names one by one, or force it",
        )


class BlobMissing(StoreError):
    """A blob is referred to, but not in the store."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"blob {digest} is not in the store")


class BlobCorrupt(StoreError):
    """A blob's bytes are not what its name says."""

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"blob {expected} is corrupt: its content has {actual}")


class LayerError(ImageError):
    """A layer's tar cannot be read, or must not be applied."""

    def __init__(self, member: str, why: str) -> None:
        super().__init__(f"layer entry {member!r}: {why}" if member else f"layer: {why}")


class CompressorUnfit(ImageError):
    """Layers cannot be compressed here in the way that is asked for."""


class ArchiveError(ImageError):
    """An image archive, or a document in it, cannot be read."""


class PlatformMissing(ImageError):
    """There are images of that name, but for other platforms."""

    def __init__(self, what: str, wanted: str, present: Sequence[str]) -> None:
        super().__init__(
            f"{what} has no image for {wanted}: it has {', '.join(present) or 'none'}",
            hint="choose one of them with --platform" if present else None,
        )
        self.present = tuple(present)
