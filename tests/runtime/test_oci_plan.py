"""A foreign config.json as a plan: what it may say, and what is wrong with it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from runtime.oci.mount_options import PROPAGATIONS, parse_options
from runtime.oci.plan import plan_container
from runtime.oci.section import InvalidConfig
from runtime.sandbox.syscalls import (
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_RDONLY,
)

GOOD: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "root": {"path": "rootfs"},
    "hostname": "box",
    "process": {"args": ["true"], "cwd": "/", "env": ["A=b=c"]},
    "linux": {"namespaces": [{"type": "mount"}, {"type": "uts"}, {"type": "network"}]},
}


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    (tmp_path / "rootfs").mkdir()
    return str(tmp_path)


def changed(path: str, value: Any) -> dict[str, Any]:
    """A good config with one member, named by the path to it, set."""
    config = copy.deepcopy(GOOD)
    *above, last = path.split(".")
    here = config
    for name in above:
        here = here[name]
    here[last] = value
    return config


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("ociVersion", None, "ociVersion: it is missing"),
        ("ociVersion", "3.0", "3.0 is no version 1"),
        ("process", None, "process: it is missing"),
        ("process.args", [], "process.args: there is no command"),
        ("process.args", "true", "process.args: it is no array"),
        ("process.cwd", "usr", "'usr' is no absolute path"),
        ("process.env", ["A"], "process.env: 'A' is no NAME=VALUE"),
        ("process.user", {"uid": -1}, "process.user.uid: -1 is no ID"),
        ("process.user", {"uid": "root"}, "process.user.uid: it is no whole number"),
        ("process.rlimits", [{"type": "RLIMIT_X", "soft": 1, "hard": 1}], "rlimits[0].type"),
        ("process.rlimits", [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}], "larger than"),
        ("root.path", "nowhere", "is no directory"),
        ("linux.namespaces", [{"type": "pid"}], "there is no mount namespace"),
        ("linux.namespaces", [{"type": "mount"}] * 2, "namespaces[1].type: the mount namespace"),
        ("linux.namespaces", [{"type": "mount"}, {"type": "time"}], "time namespaces are not"),
        ("linux.namespaces", [{"type": "mount"}], "hostname: it would be the host's"),
        ("linux.sysctl", {"kernel.panic": "1"}, "linux.sysctl.kernel.panic: it would be"),
        ("linux.sysctl", {"net.x/../../kernel.panic": "1"}, "it is no kernel parameter"),
        ("linux.devices", [{"path": "/dev/x", "type": "z"}], "there is no type 'z' of devices"),
        ("mounts", [{"destination": "/x", "type": "bind"}], "mounts[0].source: it is missing"),
        ("mounts", [{"destination": "/x", "type": "bind", "source": "/etc",
                     "options": ["idmap"]}], "mounts[0].options"),
        ("hooks", {"prestart": [{"path": "true"}]}, "hooks.prestart[0].path"),
        ("linux.rootfsPropagation", "odd", "there is no propagation 'odd'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_config(bundle: str, path: str, value: Any, told: str) -> None:
    with pytest.raises(InvalidConfig) as raised:
        plan_container(changed(path, value), bundle)
    assert told in raised.value.message


def test_what_a_small_config_comes_to(bundle: str) -> None:
    plan = plan_container(GOOD, bundle)
    assert plan.warnings == ()
    assert plan.order["root"] == f"{bundle}/rootfs".encode()
    assert plan.order["env"] == ((b"A", b"b=c"),)
    assert plan.order["umask"] == 0o022
    assert plan.order["loopback"]
    assert [device[0] for device in plan.order["devices"]][:2] == [b"/dev/null", b"/dev/zero"]
    assert plan.joined == ()


def test_what_is_only_warned_of(bundle: str) -> None:
    config = changed("process.selinuxLabel", "x")
    config["process"]["capabilities"] = {"bounding": ["CAP_CHOWN", "CAP_NO_SUCH"]}
    config["mounts"] = [
        {"destination": "relative", "type": "tmpfs", "options": ["tmpcopyup", "size=1m"]}
    ]
    plan = plan_container(config, bundle)
    told = "\n".join(plan.warnings)
    for word in ("selinuxLabel", "CAP_NO_SUCH", "tmpcopyup", "/relative"):
        assert word in told
    assert plan.order["capability_sets"]["bounding"] == 1
    assert plan.order["mounts"][0][2:4] == (b"/relative", ("size=1m",))


def test_mount_options() -> None:
    parsed = parse_options(("rbind", "ro", "rslave", "noexec", "exec", "noatime", "rnodev", "x=1"))
    assert parsed.bind
    assert parsed.recursive
    assert parsed.set == MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOATIME
    assert parsed.clear == MOUNT_ATTR_NOEXEC | 0x70
    assert parsed.set_below == MOUNT_ATTR_NODEV
    assert parsed.propagation == [(PROPAGATIONS["slave"], True)]
    assert parsed.data == ["x=1"]
    # The later one of two that contradict each other counts.
    assert parse_options(("ro", "rw")).set == 0
    assert parse_options(("rw", "ro")).clear == 0
    assert parse_options(("noatime", "relatime")).set == 0
    assert parse_options(("defaults", "async")).data == []
    assert parse_options(("ridmap=x",)).refused == ["ridmap=x"]
