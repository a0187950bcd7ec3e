"""Caches that leave one store and come to another; nothing in them can spoil an image."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.cli import Lamina, Outcome
from support.steps import ten_steps

pytestmark = [pytest.mark.namespaces, pytest.mark.any_user]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return ten_steps(tmp_path / "context")


def export(lamina: Lamina, context: Path, cache: Path, more: str = "mode=max") -> str:
    """Build with a cache to be written; the image's ID."""
    lamina.build(context, "app", "--cache-to", f"type=local,dest={cache},{more}")
    identifier = lamina.inspect("app")["Id"]
    assert isinstance(identifier, str)
    return identifier


def build(lamina: Lamina, context: Path, cache: Path, *options: str) -> Outcome:
    return lamina.build(context, "app", "--cache-from", f"type=local,src={cache}", *options)


def ran(outcome: Outcome) -> list[str]:
    """The texts of the steps that ran to their end."""
    texts: dict[str, str] = {}
    for number, rest in re.findall(r"^#(\d+) (.*)$", outcome.text, re.MULTILINE):
        if match := re.fullmatch(r"\[.*\d+/\d+\] (.*)", rest):
            texts[number] = match[1]
    finished = re.findall(r"^#(\d+) DONE", outcome.text, re.MULTILINE)
    return [texts[number] for number in finished]


def layers_of(lamina: Lamina) -> set[str]:
    """The diff IDs of all layers in a store, as trees or as blobs."""
    return set(os.listdir(lamina.root / "trees")) | set(os.listdir(lamina.root / "blobs/sha256"))


def test_all_of_a_build_comes_back(
    private_lamina: Lamina, another_private_lamina: Lamina, context: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    identifier = export(private_lamina, context, cache)
    outcome = build(another_private_lamina, context, cache, "--expect-cached")
    assert ran(outcome) == []
    assert len(re.findall(r"^#\d+ CACHED$", outcome.text, re.MULTILINE)) == 10
    assert another_private_lamina.inspect("app")["Id"] == identifier
    told = another_private_lamina("run", "--rm", "app", "cat", "/srv/app/out", "/two").stdout
    assert told == "a\nb\nmain\nbuilt\none\n"
    explained = another_private_lamina("explain").stdout
    assert f"cached  RUN echo one > /one: from type=local,src={cache}" in explained


def test_layers_that_nobody_looks_into_stay_where_they_are(
    private_lamina: Lamina, another_private_lamina: Lamina, context: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    export(private_lamina, context, cache)
    (manifest,) = cache_manifests(cache)
    in_cache = {layer["annotations"]["lamina.diff-id"] for layer in manifest["layers"]}
    before = set(another_private_lamina.inspect("busybox")["RootFS"]["Layers"])
    build(another_private_lamina, context, cache)
    in_image = set(another_private_lamina.inspect("app")["RootFS"]["Layers"])
    assert in_image - before < in_cache
    blobs = {layer["digest"] for layer in manifest["layers"]
             if layer["annotations"]["lamina.diff-id"] not in in_image}  # fmt: skip
    assert blobs
    assert not {f"sha256:{name}" for name in layers_of(another_private_lamina)} & blobs


def test_what_changed_runs_and_finds_the_layers_it_needs(
    private_lamina: Lamina, another_private_lamina: Lamina, context: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    export(private_lamina, context, cache)
    (context / "main").write_text("changed\n")
    outcome = build(another_private_lamina, context, cache)
    assert ran(outcome) == [
        "COPY --link main .",
        "RUN cat /ab main > /out && echo built > /log",
        "COPY --from=build /out /srv/app/out",
        "RUN --mount=from=build,target=/b cat /b/log /one > /two",
    ]
    told = another_private_lamina("run", "--rm", "app", "cat", "/srv/app/out").stdout
    assert told == "a\nb\nchanged\n"
    private_lamina.build(context, "app")
    assert private_lamina.inspect("app")["Id"] == another_private_lamina.inspect("app")["Id"]


def test_min_has_the_layers_of_the_image_only(
    private_lamina: Lamina, another_private_lamina: Lamina, context: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    identifier = export(private_lamina, context, cache, "mode=min,compression=zstd")
    (manifest,) = cache_manifests(cache)
    image = private_lamina.inspect("app")["RootFS"]["Layers"]
    for layer in manifest["layers"]:
        assert layer["annotations"]["lamina.diff-id"] in image
        assert layer["mediaType"].endswith("+zstd")
    outcome = build(another_private_lamina, context, cache)
    assert ran(outcome) == []
    assert another_private_lamina.inspect("app")["Id"] == identifier


def test_min_and_a_change_do_the_stage_again(
    private_lamina: Lamina, another_private_lamina: Lamina, context: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    export(private_lamina, context, cache, "mode=min")
    (context / "main").write_text("changed\n")
    outcome = build(another_private_lamina, context, cache)
    assert "some steps are done again" in outcome.text
    assert "RUN cat lib/a lib/b > /ab" in ran(outcome)
    assert "RUN echo one > /one" not in ran(outcome)
    private_lamina.build(context, "app")
    assert private_lamina.inspect("app")["Id"] == another_private_lamina.inspect("app")["Id"]


def test_a_cache_goes_through_several_hands(
    private_lamina: Lamina, another_private_lamina: Lamina, context: Path, tmp_path: Path
) -> None:
    """What was never fetched is passed on where the target has it, and fetched where not."""
    first, second = tmp_path / "first", tmp_path / "second"
    identifier = export(private_lamina, context, first)
    again = f"type=local,dest={first},mode=max"
    build(another_private_lamina, context, first, "--cache-to", again)
    before = {path.name for path in (first / "blobs/sha256").iterdir()}
    build(
        another_private_lamina, context, first, "--cache-to", f"type=local,dest={second},mode=max"
    )
    assert {path.name for path in (first / "blobs/sha256").iterdir()} == before
    (one,), (other,) = cache_manifests(first), cache_manifests(second)
    assert [each["annotations"] for each in one["layers"]] == [
        each["annotations"] for each in other["layers"]
    ]
    shutil.rmtree(another_private_lamina.root)
    marker = another_private_lamina.root.with_name("store.busybox_rootfs.sh.imported")
    marker.unlink()
    from support.bases import BUSYBOX

    another_private_lamina.need(BUSYBOX)
    assert ran(build(another_private_lamina, context, second)) == []
    assert another_private_lamina.inspect("app")["Id"] == identifier


def test_tags_share_a_directory(private_lamina: Lamina, context: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    export(private_lamina, context, cache, "tag=main")
    (context / "main").write_text("other\n")
    export(private_lamina, context, cache, "tag=branch")
    export(private_lamina, context, cache, "tag=branch")
    index = json.loads((cache / "index.json").read_bytes())
    tags = [each["annotations"]["org.opencontainers.image.ref.name"] for each in index["manifests"]]
    assert sorted(tags) == ["branch", "main"]
    digest = index["manifests"][0]["digest"]
    for how in ("tag=main", f"digest={digest}"):
        source = f"type=local,src={cache},{how}"
        outcome = private_lamina.build(context, "x", "--cache-from", source)
        assert "is not used" not in outcome.text
    outcome = private_lamina.build(context, "x", "--cache-from", f"type=local,src={cache}")
    assert "WARNING: the cache type=local" in outcome.text
    assert "it has nothing of the name latest" in outcome.text


def test_arguments_are_not_in_a_cache(
    private_lamina: Lamina, context: Path, tmp_path: Path
) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nARG TOKEN\nRUN test -n $TOKEN\n")
    cache = tmp_path / "cache"
    private_lamina(
        "build", "--build-arg", "TOKEN=swordfish", "--cache-to",
        f"type=local,dest={cache},compression=uncompressed", context,
    )  # fmt: skip
    for path in cache.rglob("*"):
        if path.is_file():
            assert b"swordfish" not in path.read_bytes()


def test_what_is_not_as_in_the_cache_is_named(
    private_lamina: Lamina, another_private_lamina: Lamina, context: Path, tmp_path: Path
) -> None:
    """A store that has built nothing has only the cache to compare with: by digests."""
    (context / "Dockerfile").write_text(
        "FROM busybox\nCOPY lib /lib\nARG VERSION=1\nENV PLACE=here\nRUN echo $VERSION > /v\n"
    )
    cache = tmp_path / "cache"
    export(private_lamina, context, cache)
    (context / "lib" / "a").write_text("changed")
    outcome = build(another_private_lamina, context, cache, "--build-arg", "VERSION=2", "--explain")
    unlike = f"not as in the cache type=local,src={cache}"
    assert f"#2 ran     COPY lib /lib: {unlike}: its files\n" in outcome.stderr
    run = "#3 ran     RUN echo $VERSION > /v"
    assert f"{run}: {unlike}: ARG VERSION, the layers below\n" in outcome.stderr


# ---- damaged and hostile caches


def cache_manifests(cache: Path) -> list[dict[str, Any]]:
    index = json.loads((cache / "index.json").read_bytes())
    return [json.loads(blob(cache, each["digest"]).read_bytes()) for each in index["manifests"]]


def blob(cache: Path, digest: str) -> Path:
    return cache / "blobs" / "sha256" / digest.removeprefix("sha256:")


def replace_config(cache: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a cache's config, with all digests above it right again."""
    (manifest,) = cache_manifests(cache)
    config = json.loads(blob(cache, manifest["config"]["digest"]).read_bytes())
    change(config)
    manifest["config"] |= written(cache, json.dumps(config).encode())
    point_to(cache, manifest)


def point_to(cache: Path, manifest: dict[str, Any]) -> None:
    index = json.loads((cache / "index.json").read_bytes())
    index["manifests"][0] |= written(cache, json.dumps(manifest).encode())
    (cache / "index.json").write_text(json.dumps(index))


def written(cache: Path, data: bytes) -> dict[str, Any]:
    import hashlib

    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    blob(cache, digest).write_bytes(data)
    return {"digest": digest, "size": len(data)}


def layer_blobs(cache: Path) -> list[Path]:
    return [blob(cache, layer["digest"]) for layer in cache_manifests(cache)[0]["layers"]]


def truncate_index(cache: Path) -> None:
    (cache / "index.json").write_bytes((cache / "index.json").read_bytes()[:-20])


def drop_manifest(cache: Path) -> None:
    index = json.loads((cache / "index.json").read_bytes())
    blob(cache, index["manifests"][0]["digest"]).unlink()


def drop_config(cache: Path) -> None:
    blob(cache, cache_manifests(cache)[0]["config"]["digest"]).unlink()


def spoil_config(cache: Path) -> None:
    path = blob(cache, cache_manifests(cache)[0]["config"]["digest"])
    path.write_bytes(path.read_bytes().replace(b'"kind"', b'"kinf"'))


def spoil_layers(cache: Path) -> None:
    for path in layer_blobs(cache):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


def cut_layers(cache: Path) -> None:
    for path in layer_blobs(cache):
        path.write_bytes(path.read_bytes()[:-1])


def drop_layers(cache: Path) -> None:
    for path in layer_blobs(cache):
        path.unlink()


def make_layers_pipes(cache: Path) -> None:
    for path in layer_blobs(cache):
        path.unlink()
        os.mkfifo(path)


def swap_diff_ids(cache: Path) -> None:
    """Each layer says that it is another."""
    (manifest,) = cache_manifests(cache)
    layers = manifest["layers"]
    notes = [layer["annotations"] for layer in layers]
    for number, layer in enumerate(layers):
        layer["annotations"] = notes[number - 1]
    point_to(cache, manifest)


def invent_layers(cache: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        for number, record in enumerate(config["records"]):
            record["layer"] = f"sha256:{number:064x}"

    replace_config(cache, change)


def name_files(cache: Path) -> None:
    replace_config(cache, lambda config: config["records"][0].update(layer="sha256:../../x"))


def number_keys(cache: Path) -> None:
    replace_config(cache, lambda config: config["records"][0].update(key=7))


def from_the_future(cache: Path) -> None:
    replace_config(cache, lambda config: config.update(version=2))


def be_an_image(cache: Path) -> None:
    (manifest,) = cache_manifests(cache)
    manifest["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json"
    point_to(cache, manifest)


def be_huge(cache: Path) -> None:
    (manifest,) = cache_manifests(cache)
    manifest["config"]["size"] = 1 << 40
    point_to(cache, manifest)


def go(cache: Path) -> None:
    shutil.rmtree(cache)


@pytest.mark.parametrize(
    "damage",
    [
        truncate_index, drop_manifest, drop_config, spoil_config, spoil_layers, cut_layers,
        drop_layers, make_layers_pipes, swap_diff_ids, invent_layers, name_files, number_keys,
        from_the_future, be_an_image, be_huge, go,
    ],
)  # fmt: skip
def test_damage_is_said_and_the_build_is_a_normal_one(
    lamina: Lamina,
    another_private_lamina: Lamina,
    tmp_path: Path,
    damage: Callable[[Path], None],
) -> None:
    context, cache = tmp_path / "context", tmp_path / "cache"
    context.mkdir()
    (context / "Dockerfile").write_text(
        "FROM busybox\nWORKDIR /here\nRUN echo x > a\nRUN cat a > b\n"
    )
    name = f"damaged-{damage.__name__.replace('_', '-')}"
    lamina.build(context, name, "--cache-to", f"type=local,dest={cache},mode=max")
    damage(cache)
    outcome = build(another_private_lamina, context, cache)
    assert f"WARNING: the cache type=local,src={cache} " in outcome.text
    assert ran(outcome)[-1] == "RUN cat a > b"
    assert another_private_lamina.inspect("app")["Id"] == lamina.inspect(name)["Id"]
    assert another_private_lamina("run", "--rm", "app", "cat", "/here/b").stdout == "x\n"


# ---- options and failures


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--cache-to=type=gha", "type=gha is not supported"),
        ("--cache-to=type=s3", "type=s3 is not supported"),
        ("--cache-to=type=local", "needs dest=DIRECTORY"),
        ("--cache-from=type=local", "needs src=DIRECTORY"),
        ("--cache-to=type=local,dest=x,mode=most", "min or max"),
        ("--cache-to=type=local,dest=x,compression=estargz", "is not supported"),
        ("--cache-to=type=local,dest=x,compression-level=3", "has no option 'compression-level'"),
        ("--cache-to=type=local,dest=x,oci-mediatypes=false", "media types are always OCI's"),
        ("--cache-to=type=local,dest=x,ignore-error=perhaps", "true or false"),
        ("--cache-from=type=local,src=x,mode=max", "has no option 'mode'"),
        ("--cache-to=type=tape,dest=x", "unknown type 'tape'"),
    ],
)
def test_what_cannot_be_had_is_refused(
    lamina: Lamina, tmp_path: Path, option: str, message: str
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\n")
    assert message in lamina("build", option, tmp_path, status=2).stderr


def test_a_cache_that_cannot_be_written(lamina: Lamina, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo > /x\n")
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    (stranger / "letter").write_text("dear")
    target = f"type=local,dest={stranger}"
    outcome = lamina.build(tmp_path, "unwritten", "--cache-to", target, status=1)
    assert f"cannot write the cache to {stranger}" in outcome.text
    outcome = lamina.build(tmp_path, "unwritten", "--cache-to", target + ",ignore-error=true")
    assert "WARNING: the cache is not written" in outcome.text
    assert sorted(os.listdir(stranger)) == ["letter"]
