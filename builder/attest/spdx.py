"""Packages as an SPDX 2.3 document: the same packages, the same bytes."""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import Any, Final

from builder.attest.licenses import license_expression
from builder.attest.package import Package, package_url
from builder.attest.scan import Scanned
from runtime.image.digest import Digest, encoded
from runtime.image.json_bytes import canonical

_NAMESPACE: Final = uuid.UUID("6f1f4e0c-5d1a-5c0e-9b43-6c616d696e61")
_DOCUMENT: Final = "SPDXRef-DOCUMENT"
_IMAGE: Final = "SPDXRef-Image"
_SYSTEM: Final = "SPDXRef-OperatingSystem"
_UNKNOWN: Final = "NOASSERTION"
_NOT_IN_IDS: Final = re.compile(r"[^A-Za-z0-9.-]+")
_URL: Final = re.compile(r"(?:https?|ftp)://[^\s/]+\S*", re.ASCII)
_PERSONS: Final = ("apk", "deb", "npm", "pypi")


def spdx_document(
    scanned: Scanned, *, name: str, image_id: Digest, created: str, tool: str
) -> bytes:
    """The document, in canonical form. `created` is RFC 3339; `tool` what made it."""
    packages: list[dict[str, Any]] = [_image(name, image_id)]
    relations = [_relation(_DOCUMENT, "DESCRIBES", _IMAGE)]
    system = scanned.distribution
    if system is not None:
        packages.append(
            _filled(
                SPDXID=_SYSTEM,
                name=system.id,
                versionInfo=system.version,
                description=system.name,
                primaryPackagePurpose="OPERATING-SYSTEM",
                downloadLocation=_UNKNOWN,
                filesAnalyzed=False,
            )
        )
        relations.append(_relation(_IMAGE, "CONTAINS", _SYSTEM))
    for package in scanned.packages:
        purl = package_url(package, system)
        packages.append(_package(package, purl))
        relations.append(_relation(_IMAGE, "CONTAINS", packages[-1]["SPDXID"]))
    document: dict[str, Any] = {
        "SPDXID": _DOCUMENT,
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "name": name,
        "creationInfo": {"created": _moment(created), "creators": [f"Tool: {tool}"]},
        "documentDescribes": [_IMAGE],
        "packages": packages,
        "relationships": relations,
    }
    if scanned.skipped:
        lines = (f"{path}: {why}" for path, why in scanned.skipped)
        document["comment"] = "not looked into: " + "; ".join(lines)
    content = hashlib.sha256(canonical(document)).hexdigest()
    document["documentNamespace"] = f"urn:uuid:{uuid.uuid5(_NAMESPACE, content)}"
    return canonical(document)


def _image(name: str, image_id: Digest) -> dict[str, Any]:
    return {
        "SPDXID": _IMAGE,
        "name": name,
        "versionInfo": image_id,
        "checksums": [{"algorithm": "SHA256", "checksumValue": encoded(image_id)}],
        "primaryPackagePurpose": "CONTAINER",
        "downloadLocation": _UNKNOWN,
        "filesAnalyzed": False,
        "comment": "its checksum is that of its configuration, which names its layers",
    }


def _package(package: Package, purl: str) -> dict[str, Any]:
    declared = license_expression(package.license) if package.license else None
    quoted = package.license if package.license and declared is None else ""
    reference = {
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": purl,
    }
    digest = hashlib.sha256(f"{purl} {package.place}".encode()).hexdigest()[:16]
    label = _NOT_IN_IDS.sub("-", package.name)[:80]
    return _filled(
        SPDXID=f"SPDXRef-Package-{package.kind}-{label}-{digest}",
        name=package.name,
        versionInfo=package.version,
        supplier=_supplier(package),
        homepage=package.homepage if _URL.fullmatch(package.homepage) else "",
        downloadLocation=_UNKNOWN,
        filesAnalyzed=False,
        licenseConcluded=_UNKNOWN,
        licenseDeclared=declared or _UNKNOWN,
        licenseComments=f"declared as: {quoted}" if quoted else "",
        copyrightText=_UNKNOWN,
        sourceInfo=f"found in {package.place}"
        + (f", built from source package {package.source}" if package.source else ""),
        externalRefs=[reference],
    )


def _supplier(package: Package) -> str:
    """`Person: NAME (ADDRESS)`: SPDX has parentheses where packages have angle brackets."""
    text = " ".join(package.supplier.replace("(", " ").replace(")", " ").split())
    if not text:
        return _UNKNOWN
    name, bracket, rest = text.partition("<")
    address = rest.partition(">")[0].strip()
    kind = "Person" if package.kind in _PERSONS else "Organization"
    if not bracket or "@" not in address:
        return f"{kind}: {text.replace('<', '').replace('>', '')}"
    name = name.strip().strip('"') or address
    return f"{kind}: {name} ({address})"


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def _moment(created: str) -> str:
    """Seconds, as SPDX has them; 1970 for an image that does not say."""
    from runtime.image.model import rfc3339, unix_seconds

    return rfc3339(unix_seconds(created) if created else 0)


def _filled(**members: Any) -> dict[str, Any]:
    """The members that are not empty."""
    return {name: value for name, value in members.items() if value not in ("", [], None)}
