"""What this runtime can do, in the form of the specification's features.md."""

from __future__ import annotations

from typing import Any

from runtime.oci.mount_options import known_options
from runtime.oci.plan import HOOKS, KINDS
from runtime.sandbox.capabilities import ALL_CAPABILITIES, capability_names


def features() -> dict[str, Any]:
    """The document that `features` prints."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.0",
        "hooks": list(HOOKS),
        "mountOptions": list(known_options()),
        "linux": {
            "namespaces": sorted(KINDS),
            "capabilities": list(capability_names(ALL_CAPABILITIES)),
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False},
            "seccomp": {
                "enabled": True,
                "supportedFlags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
            },
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": False}},
        },
    }
