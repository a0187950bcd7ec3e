"""`lamina doctor` tells what works here, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from runtime.cgroups.layout import find_layout, owns_hierarchies
from runtime.doctor.program import smallest_program
from support import probes
from support.cli import LAMINA, Lamina


@pytest.mark.namespaces
def test_it_starts_a_container(private_lamina: Lamina, tmp_path: Path) -> None:
    text = private_lamina("doctor").stdout
    assert "containers  started one as " in text
    (containers,) = [
        finding
        for finding in json.loads(private_lamina("doctor", "--json").stdout)
        if finding["name"] == "containers"
    ]
    assert containers["state"] == ("limited" if "single id" in text else "works")
    assert containers["needed"]
    # The store was not there, and still is not.
    assert not private_lamina.root.exists() or "lamina-doctor" not in str(
        list(private_lamina.root.rglob("*"))
    )
    absent = tmp_path / "not" / "there"
    lamina = Lamina(root=absent, temporary=private_lamina.temporary)
    assert f"{absent}: " in lamina("doctor").stdout
    assert list(tmp_path.iterdir()) == []


def test_what_can_be_limited(private_lamina: Lamina) -> None:
    rows = json.loads(private_lamina("doctor", "--json", status=None).stdout)
    (limits,) = [finding for finding in rows if finding["name"] == "limits"]
    layout = find_layout()
    if layout.kind == "none":
        assert limits["state"] == "limited"
        assert limits["detail"].startswith("no cgroups, none for this user: ")
        return
    assert limits["detail"].startswith(f"cgroup {layout.kind}, ")
    if layout.v1 and not owns_hierarchies():
        assert limits["state"] == "limited"
        assert limits["remedy"] == "boot with systemd.unified_cgroup_hierarchy=1"
    elif layout.kind == "hybrid":
        assert limits["detail"].startswith("cgroup hybrid, in /lamina: memory, cpu, ")
    assert not limits["needed"]


@pytest.mark.root
def test_whether_networks_can_be_had(private_lamina: Lamina) -> None:
    def told(*before: str) -> dict[str, str]:
        done = subprocess.run(
            [*before, *private_lamina.command("doctor", "--json")],
            capture_output=True,
            env=private_lamina.environment(None),
        )
        (found,) = [each for each in json.loads(done.stdout) if each["name"] == "networks"]
        assert isinstance(found, dict)
        return found

    assert told()["state"] == "works"
    without = told("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    assert without["state"] == "limited"
    assert "a bridge: operation not permitted" in without["detail"]
    assert "--cap-add NET_ADMIN" in without["remedy"]


@pytest.mark.namespaces
@pytest.mark.plain
def test_whether_a_plain_user_has_networks(private_lamina: Lamina) -> None:
    probes.need_tool("pasta")
    probes.need_tun()
    rows = json.loads(private_lamina("doctor", "--json").stdout)
    (network,) = [finding for finding in rows if finding["name"] == "networks"]
    assert network["state"] == "works", network
    assert re.fullmatch(r"private ones, by (pasta|slirp4netns), in \d+ ms", network["detail"])
    assert not network["needed"]


def test_a_place_that_cannot_be_written_to(private_lamina: Lamina) -> None:
    lamina = Lamina(root=Path("/proc/lamina"), temporary=private_lamina.temporary)
    told = lamina("doctor", status=1).stdout
    assert "MISSING  store       /proc cannot be written to" in told
    assert "-> choose another place with --root or LAMINA_ROOT" in told


@pytest.mark.namespaces
def test_what_is_missing_is_said_with_its_remedy(tmp_path: Path) -> None:
    """A root that maps to a single user, as some containers have it, gets what can be had."""
    told = subprocess.run(
        ["unshare", "--user", "--map-root-user", LAMINA, "--root", tmp_path, "doctor"],
        capture_output=True,
        encoding="utf-8",
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "limited  containers  started one as a user with a single id (owners" in told.stdout
    assert "-> for more ids: run as the plain user itself, outside of this" in told.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_smallest_program_runs(tmp_path: Path) -> None:
    program = smallest_program(os.uname().machine)
    assert program is not None
    path = tmp_path / "true"
    path.write_bytes(program)
    path.chmod(0o755)
    assert subprocess.run([path]).returncode == 0
    assert smallest_program("pdp11") is None
