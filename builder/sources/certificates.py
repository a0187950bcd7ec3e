"""Whom to trust where lamina itself fetches: the machine's authorities, and those of `--ca`."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from builder.errors import RemoteError

if TYPE_CHECKING:
    from ssl import SSLContext

_CERTIFICATE: Final = re.compile(
    rb"-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----[\0-\x7f]+?-----END \1?CERTIFICATE-----"
)
_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora and its kin
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",
)


def trusting(authorities: bytes | None) -> SSLContext:
    """A TLS context that trusts the machine's authorities and those given. `RemoteError`."""
    import ssl

    context = ssl.create_default_context()
    if authorities is not None:
        try:
            context.load_verify_locations(cadata=_certificates(authorities).decode("ascii"))
        except ssl.SSLError as error:
            raise RemoteError(f"the certificates of --ca cannot be used: {error.reason}") from error
    return context


def bundle(authorities: bytes) -> bytes:
    """The same as one PEM file, for programs that take no more than one."""
    import ssl

    own = ssl.get_default_verify_paths().cafile
    for path in (own, *_BUNDLES) if own else _BUNDLES:
        with suppress(FileNotFoundError), open(path, "rb") as file:
            return file.read() + b"\n" + _certificates(authorities)
    return _certificates(authorities)


def _certificates(data: bytes) -> bytes:
    """The certificates in a PEM file, without the words around them, which are in any encoding."""
    return b"".join(match[0] + b"\n" for match in _CERTIFICATE.finditer(data))
