"""`lamina prune`: asks, says what it removes and what it keeps, and leaves what is in use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.cli import Lamina

pytestmark = pytest.mark.namespaces

DOCKERFILE = """\
FROM busybox AS made
RUN --mount=type=cache,target=/cache,id=kept head -c 3000000 /dev/zero | tee /cache/c > /made
FROM busybox
COPY --from=made /made /copied
RUN wc -c < /copied > /counted
"""


@pytest.fixture
def built(private_lamina: Lamina, tmp_path: Path) -> Lamina:
    """A store with `app`, its build cache, and an image that lost its name."""
    (tmp_path / "Dockerfile").write_text(DOCKERFILE + "RUN echo first > /version\n")
    private_lamina.build(tmp_path, "app")
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    private_lamina.build(tmp_path, "app")
    return private_lamina


def kinds(lamina: Lamina) -> dict[str, Any]:
    found = json.loads(lamina("df", "--json").stdout)["kinds"]
    assert isinstance(found, dict)
    return found


def test_it_asks_first(built: Lamina) -> None:
    before = kinds(built)
    for answer in ("", "n\n", "no\n"):
        asked = built("prune", stdin=answer, status=1)
        assert "WARNING! This will remove:" in asked.stderr
        assert "Are you sure you want to continue? [y/N]" in asked.stderr
    assert kinds(built) == before
    assert "Total reclaimed space: " in built("prune", stdin="y\n").stdout
    assert kinds(built)["build_cache"]["bytes"] == 0


def test_what_goes_and_what_stays(built: Lamina, tmp_path: Path) -> None:
    assert kinds(built)["images"]["total"] == 3
    said = built("prune", "--force").stdout
    assert ": it has no name, " in said
    assert "(run): only the build cache had it, 3" in said
    assert "kept 2 images, " in said
    assert "kept 1 cache mount, " in said
    assert kinds(built)["images"]["total"] == 2
    # What the images have of the cache is still known.
    again = built.build(tmp_path, "again").text
    assert again.count("CACHED") >= 1
    assert built("run", "--rm", "again", "cat", "/counted").stdout == "3000000\n"
    built("fsck")


def test_everything_but_what_a_container_has(built: Lamina) -> None:
    built("run", "busybox", "true")
    said = built("prune", "--all", "-f").stdout
    assert "kept 1 image, " in said
    assert ": a container has it\n" in said
    found = kinds(built)
    assert (found["images"]["total"], found["images"]["active"]) == (1, 1)
    assert found["cache_mounts"]["total"] == found["build_cache"]["total"] == 0
    assert built("run", "--rm", "busybox", "echo", "works").stdout == "works\n"
    built("fsck")


def test_while_a_build_and_a_container_run(built: Lamina, tmp_path: Path) -> None:
    """What they use stays, all else goes."""
    script = (
        "echo begun; i=0; while [ $i -lt 300 ] && [ ! -e /end ]; do i=$((i+1)); sleep 0.1; done"
    )
    (tmp_path / "Dockerfile").write_text(
        f"FROM busybox\nRUN echo base > /base\nRUN {script}\nRUN cat /base > /result\n"
    )
    command = ("sh", "-c", f"{script}; cat /counted")
    running = ("run", "--rm", "--network", "none", "app", *command)  # It ends when it is killed.
    building = ("build", "--progress", "plain", "-t", "slow", tmp_path)
    with (
        built.start(*running, merged=True) as container,
        built.start(*building, merged=True) as build,
    ):
        for process in (container, build):
            assert process.stdout is not None
            for line in process.stdout:
                if line.rstrip().endswith("begun") and "RUN" not in line:
                    break
        said = built("prune", "--all", "--force").stdout
        assert "removed image" in said
        assert "in use by another process" in said
        container.kill()
        built("prune", "--force")
        found = kinds(built)
        assert found["build_cache"]["total"] >= 1
        build.kill()
    built("fsck")


def test_the_least_valuable_goes_first(built: Lamina) -> None:
    used = json.loads(built("df", "--json").stdout)["total"]["bytes"]
    said = built("prune", "--force", "--keep-storage", str(used - 100_000)).stdout
    # The copied layer is there as a tar and as a tree: that costs nearly nothing to have again.
    assert "it can be made again from another form" in said
    assert "only the build cache had it" not in said
    assert "there is room enough" in said
    assert json.loads(built("df", "--json").stdout)["total"]["bytes"] <= used - 100_000
    said = built("prune", "--force", "--max-inodes", "1").text
    assert "what is left is in use or has to be asked for" in said
    built("fsck")


def test_what_was_used_since_stays(built: Lamina) -> None:
    before = kinds(built)
    for until in ("24h", "1h30m", "2020-01-01", "2020-01-01T00:00:00+00:00", "1577836800"):
        said = built("prune", "--force", "--filter", f"until={until}").stdout
        assert "Total reclaimed space: 0B" in said
        assert ": used since\n" in said
    assert kinds(built) == before


@pytest.mark.parametrize(
    "options",
    [
        ("--filter", "label=x"), ("--filter", "until"), ("--filter", "until=soon"),
        ("--keep-storage", "much"), ("--max-inodes", "-1"),
    ],
)  # fmt: skip
def test_options_that_cannot_be(tmp_path: Path, options: tuple[str, ...]) -> None:
    lamina = Lamina(root=tmp_path / "store", temporary=tmp_path)
    lamina("prune", "--force", *options, status=2)
