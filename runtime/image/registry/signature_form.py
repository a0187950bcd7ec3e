"""Signatures of images in the form that cosign gives them: "simple signing".

What is signed is a small JSON document that names a repository and a manifest's digest; a
signature is ECDSA over P-256 with SHA-256, or whatever else the key is for, in base64. Keys are
PEM: SubjectPublicKeyInfo, and PKCS #8, encrypted or not. The package `cryptography` does the sums,
and is imported only where something is to be signed or verified.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from runtime.image import json_bytes
from runtime.image.digest import Digest
from runtime.image.errors import ArchiveError
from runtime.image.registry.errors import SigningError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

PAYLOAD_TYPE: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE: Final = "dev.cosignproject.cosign/signature"
_TYPE: Final = "cosign container image signature"
_ENCRYPTED: Final = b"ENCRYPTED"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a payload says: that the manifest with this digest is the repository's."""

    repository: str
    digest: str


def payload(repository: str, digest: Digest) -> bytes:
    """The document to be signed."""
    return json_bytes.canonical(
        {
            "critical": {
                "identity": {"docker-reference": repository},
                "image": {"docker-manifest-digest": digest},
                "type": _TYPE,
            },
            "optional": None,
        }
    )


def claim(data: bytes) -> Claim | None:
    """What a payload says; `None` if it is none."""
    document = "signature payload"
    try:
        members = json_bytes.as_object(json_bytes.parse(data, document), document)
        critical = json_bytes.as_object(members.get("critical"), document)
        identity = json_bytes.as_object(critical.get("identity"), document)
        image = json_bytes.as_object(critical.get("image"), document)
        if json_bytes.string(critical, "type", document) != _TYPE:
            return None
        return Claim(
            json_bytes.string(identity, "docker-reference", document),
            json_bytes.string(image, "docker-manifest-digest", document),
        )
    except ArchiveError:
        return None


class PrivateKey:
    """A key to sign with."""

    def __init__(self, pem: bytes, password: bytes | None, name: str) -> None:
        """Read a PEM file; `SigningError` if it holds no private key that can be had."""
        serialization = _serialization()
        if b"COSIGN PRIVATE KEY" in pem or b"SIGSTORE PRIVATE KEY" in pem:
            raise SigningError(
                f"{name} is encrypted in cosign's own way",
                hint="give a key in PKCS #8, as openssl makes them",
            )
        try:
            self._key: PrivateKeyTypes = serialization.load_pem_private_key(
                pem, password if _ENCRYPTED in pem else None
            )
        except (TypeError, ValueError) as error:
            raise SigningError(
                f"{name} cannot be read as a private key: {error}",
                hint="the password is in $LAMINA_SIGN_PASSWORD" if _ENCRYPTED in pem else None,
            ) from error
        if not hasattr(self._key, "sign"):
            raise SigningError(f"{name} is no key to sign with")

    def sign(self, data: bytes) -> str:
        """A signature, in base64."""
        key: Any = self._key
        return base64.b64encode(key.sign(data, *_parameters(key))).decode()

    def has_signed(self, data: bytes, signature: str) -> bool:
        """Whether this key has made a signature."""
        return _is_signed(self._key.public_key(), data, signature)


class PublicKey:
    """A key to verify signatures with."""

    def __init__(self, pem: bytes, name: str) -> None:
        """Read a PEM file; `SigningError` if it holds no public key."""
        serialization = _serialization()
        try:
            self._key: PublicKeyTypes = serialization.load_pem_public_key(pem)
        except ValueError as error:
            raise SigningError(f"{name} cannot be read as a public key: {error}") from error
        if not hasattr(self._key, "verify"):
            raise SigningError(f"{name} is no key to verify signatures with")

    def has_signed(self, data: bytes, signature: str) -> bool:
        """Whether its private key has made a signature."""
        return _is_signed(self._key, data, signature)


def _is_signed(key: Any, data: bytes, signature: str) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(base64.b64decode(signature, validate=True), data, *_parameters(key))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def _parameters(key: Any) -> tuple[Any, ...]:
    """What a kind of key wants to know besides the data (as cosign has it)."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return (ec.ECDSA(hashes.SHA256()),)
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        return (padding.PKCS1v15(), hashes.SHA256())
    return ()


def _serialization() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise SigningError(
            "signatures need the Python package cryptography, which is not installed",
            hint="pip install 'lamina[sign]'",
        ) from error
    return serialization
