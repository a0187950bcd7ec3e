"""Caches in a registry, and in the manifests of images there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.cli import Lamina
from support.registry import Registry
from support.registry_images import Hand
from support.steps import TEN_STEPS, cached_steps, ten_steps

pytestmark = [pytest.mark.namespaces, pytest.mark.any_user]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return ten_steps(tmp_path / "context")


def test_an_empty_store_runs_no_step_of_a_cache(
    private_lamina: Lamina, another_private_lamina: Lamina, context: Path, registry: Registry
) -> None:
    place = f"type=registry,ref={registry.host}/cache/ten:max"
    private_lamina.build(context, "app", "--cache-to", f"{place},mode=max")
    built = another_private_lamina.build(context, "app", "--cache-from", place)
    assert all(cached_steps(built).values()), built.text
    assert len(cached_steps(built)) == 10
    assert another_private_lamina.inspect("app")["Id"] == private_lamina.inspect("app")["Id"]
    # Of the first stage's layers none was needed.
    known = set(private_lamina.inspect("app")["RootFS"]["Layers"])
    names = {f"sha256:{path.name}" for path in (another_private_lamina.root / "trees").iterdir()}
    base = set(private_lamina.inspect("busybox")["RootFS"]["Layers"])
    assert names - base <= known


def test_only_what_is_missing_is_sent(
    private_lamina: Lamina, context: Path, registry: Registry
) -> None:
    place = f"type=registry,ref={registry.host}/cache/again,mode=max"
    first = private_lamina.build(context, "app", "--cache-to", place)
    assert first.stderr.count("Pushed") >= 8, first.text
    again = private_lamina.build(context, "app", "--cache-to", place)
    # What is known of the steps, at the most: no layer.
    assert again.stderr.count("Pushed") <= 1, again.text
    (context / "lib" / "a").write_text("other\n")
    changed = private_lamina.build(context, "app", "--cache-to", place)
    assert 0 < changed.stderr.count("Pushed") <= first.stderr.count("Pushed")


def test_an_image_brings_its_own_cache(
    private_lamina: Lamina, another_private_lamina: Lamina, context: Path, registry: Registry
) -> None:
    name = f"{registry.host}/cache/inline:1"
    private_lamina.build(context, name, "--push", "--cache-to", "type=inline")
    plain = private_lamina.inspect(name)["Id"]
    (context / "Dockerfile").write_text(TEN_STEPS + "RUN echo more > /more\n")
    built = another_private_lamina.build(context, "app", "--cache-from", name)
    steps = cached_steps(built)
    assert [text for text, cached in steps.items() if not cached] == ["RUN echo more > /more"]
    (context / "Dockerfile").write_text(TEN_STEPS)
    another_private_lamina.build(context, "app", "--cache-from", name)
    assert another_private_lamina.inspect("app")["Id"] == plain


def test_what_cannot_be_used_is_said_and_the_build_goes_on(
    private_lamina: Lamina, context: Path, registry: Registry
) -> None:
    ordinary = f"{registry.host}/cache/ordinary"
    private_lamina.build(context, ordinary, "--push")
    for name, why in (
        (f"{registry.host}/cache/none", "is not used"),
        (ordinary, "it is no cache of lamina's"),
        ("127.0.0.1:1/cache", "is not used"),
    ):
        built = private_lamina.build(context, "app", "--no-cache", "--cache-from", name)
        assert why in built.text, built.text
        assert f"WARNING: the cache type=registry,ref={name}" in built.text


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda text: "!" + text, id="no base 64"),
        pytest.param(lambda text: text[: len(text) // 8 * 4], id="cut off"),
        pytest.param(lambda _text: "eJwDAAAAAAE=", id="nothing"),
    ],
)
def test_a_spoilt_inline_cache(
    private_lamina: Lamina, context: Path, registry: Registry, spoil: Callable[[str], str]
) -> None:
    name = f"{registry.host}/cache/spoilt"
    private_lamina.build(context, f"{name}:1", "--push", "--cache-to", "type=inline")
    hand = Hand(registry)
    asked = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    manifest = hand.ask("GET", "/v2/cache/spoilt/manifests/1", headers=asked).json()
    manifest["annotations"]["lamina.cache"] = spoil(manifest["annotations"]["lamina.cache"])
    hand.put_manifest("cache/spoilt", "2", json.dumps(manifest).encode(), manifest["mediaType"])
    built = private_lamina.build(context, "app", "--cache-from", f"{name}:2")
    assert f"the cache type=registry,ref={name}:2 is not used: " in built.text


def test_a_cache_that_cannot_be_sent(private_lamina: Lamina, context: Path) -> None:
    place = "type=registry,ref=127.0.0.1:1/cache"
    failed = private_lamina.build(context, "app", "--cache-to", place, status=1)
    assert "cannot write the cache to 127.0.0.1:1/cache:latest" in failed.text
    assert "the image is built" in failed.text
    ignored = private_lamina.build(context, "app", "--cache-to", f"{place},ignore-error=true")
    assert "WARNING: the cache is not written to 127.0.0.1:1/cache:latest" in ignored.text


REFUSED = {
    "type=registry": "needs ref=NAME",
    "type=registry,ref=UPPER": "invalid reference",
    "type=registry,ref=a,dest=b": "type=registry has no option 'dest'",
    "type=inline": "goes with the image's manifest, and none is written",
    "type=inline,mode=max": "type=inline has the layers of the image",
    "type=s3,bucket=b": "type=s3 is not supported",
    "type=none": "unknown type 'none'",
}


@pytest.mark.parametrize("option", REFUSED)
def test_options_that_make_no_sense(lamina: Lamina, context: Path, option: str) -> None:
    refused = lamina.build(context, "app", "--cache-to", option, status=2)
    assert REFUSED[option] in refused.text
