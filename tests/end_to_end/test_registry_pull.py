"""`lamina pull` from a real registry: what arrives, what does not travel, what is refused."""

from __future__ import annotations

import json

from support.archives import Layout, layer
from support.cli import Lamina
from support.registry import Registry
from support.registry_images import Hand


def test_an_image_arrives_whole_and_once(bare_lamina: Lamina, registry: Registry) -> None:
    lamina, name = bare_lamina, f"{registry.host}/pull/once:1"
    layout = Layout()
    top = layout.manifest(layer(a="first"), layer(b="second"))
    digest = Hand(registry).publish("pull/once", "1", layout, top)
    first = lamina("pull", name)
    assert first.stdout.splitlines() == [
        f"Digest: {digest}",
        f"Status: Downloaded newer image for {name}",
        name,
    ]
    assert first.stderr.count("Pull complete") == 2
    again = lamina("pull", name)
    assert f"Status: Image is up to date for {name}" in again.stdout
    assert "Pull" not in again.stderr
    manifest = json.loads(layout.members[f"blobs/sha256/{digest.removeprefix('sha256:')}"])
    assert lamina.inspect(name)["Id"] == manifest["config"]["digest"]


def test_layers_that_are_there_do_not_travel(bare_lamina: Lamina, registry: Registry) -> None:
    shared, hand = layer(a="shared"), Hand(registry)
    for tag, own in (("1", layer(b="one")), ("2", layer(b="two"))):
        layout = Layout()
        hand.publish("pull/shared", tag, layout, layout.manifest(shared, own))
    bare_lamina("pull", f"{registry.host}/pull/shared:1")
    second = bare_lamina("pull", f"{registry.host}/pull/shared:2")
    assert second.stderr.count("Already exists") == 1
    assert second.stderr.count("Pull complete") == 1
