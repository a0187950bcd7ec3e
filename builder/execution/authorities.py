"""`--ca`: certificate authorities that every RUN trusts, and no layer holds.

The bundle is the image's own and the given one after it, mounted at a path that no image has,
and named by the variables that programs look for. It is no part of a step's key, as the proxies
are none: what comes over the network is the same whoever vouches for it.
"""

from __future__ import annotations

import os

from builder.errors import OptionError
from builder.plan.variables import Pairs
from runtime.image.errors import LayerError
from runtime.image.layer.view import View
from runtime.sandbox.spec import BindMount

BUNDLE = "/run/lamina/ca-certificates.crt"
VARIABLES = (
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
)
_IMAGES_OWN = (
    b"etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    b"etc/pki/tls/certs/ca-bundle.crt",  # Fedora and its kin
    b"etc/ssl/ca-bundle.pem",  # SUSE
    b"etc/ssl/cert.pem",
)
_MOST = 16 << 20
_BEGIN = b"-----BEGIN CERTIFICATE-----"


def read_authorities(path: str) -> bytes:
    """The certificates in a PEM file; `OptionError` if there are none."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST + 1)
    except OSError as error:
        raise OptionError(f"--ca {path}: {error.strerror}") from error
    if len(data) > _MOST:
        raise OptionError(f"--ca {path}: it is longer than {_MOST} bytes")
    if _BEGIN not in data:
        raise OptionError(
            f"--ca {path}: there is no certificate in it", hint="a PEM file: -----BEGIN CERTIFICATE"
        )
    return data


def trusted(view: View, env: Pairs, authorities: bytes, workspace: str) -> tuple[BindMount, Pairs]:
    """The mount of a bundle for a step on `view`, and the variables that name it."""
    path = os.path.join(workspace, "authorities")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "wb") as file:
        os.fchmod(fd, 0o644)
        file.write(_joined(_own(view, env), authorities))
    mount = BindMount(source=path, target=BUNDLE, read_only=True)
    return mount, tuple((name, BUNDLE) for name in VARIABLES)


def _own(view: View, env: Pairs) -> bytes:
    """The bundle the image itself would use: the one its environment names, or the usual ones."""
    named = dict(env).get("SSL_CERT_FILE", "").encode("utf-8", "surrogateescape").lstrip(b"/")
    for path in (named, *_IMAGES_OWN) if named else _IMAGES_OWN:
        try:
            found = view.read(path, _MOST)
        except LayerError:
            continue
        if found is not None:
            return found
    return b""


def _joined(first: bytes, second: bytes) -> bytes:
    return first + (b"" if not first or first.endswith(b"\n") else b"\n") + second
