"""Configs and manifests: what goes in comes out, and nothing that is not understood is lost."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.image import json_bytes
from runtime.image.digest import DiffID, sha256
from runtime.image.errors import ArchiveError, InvalidPlatform
from runtime.image.json_bytes import Json
from runtime.image.model import (
    Descriptor,
    Healthcheck,
    History,
    ImageConfig,
    Index,
    Manifest,
    RuntimeConfig,
    rfc3339,
    unix_seconds,
)
from runtime.image.platform import Platform, default_platform

pytestmark = pytest.mark.any_user

LAYER = DiffID(sha256(b"layer"))
OTHER_LAYER = DiffID(sha256(b"other layer"))

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="="), max_size=8)
WORDS = st.lists(TEXT, max_size=3).map(tuple)
SOME_WORDS = st.one_of(st.none(), st.lists(TEXT, min_size=1, max_size=3).map(tuple))
COUNTS = st.integers(0, 2**62)
UNKNOWN = st.dictionaries(
    st.sampled_from(["os.version", "docker_version", "zusätzlich"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | TEXT,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
        max_leaves=4,
    ),
).map(lambda members: tuple((k, json_bytes.canonical(v)) for k, v in sorted(members.items())))

HEALTHCHECKS = st.builds(
    Healthcheck,
    test=st.lists(TEXT, min_size=1, max_size=3).map(tuple),
    interval_ns=COUNTS,
    timeout_ns=COUNTS,
    start_period_ns=COUNTS,
    start_interval_ns=COUNTS,
    retries=COUNTS,
    unknown=UNKNOWN,
)
SORTED_NAMES = st.sets(TEXT, max_size=3).map(lambda names: tuple(sorted(names)))
RUNTIME_CONFIGS = st.builds(
    RuntimeConfig,
    user=TEXT,
    env=st.lists(st.tuples(NAMES, TEXT), max_size=3).map(tuple),
    entrypoint=SOME_WORDS,
    cmd=SOME_WORDS,
    working_dir=TEXT,
    labels=st.dictionaries(TEXT, TEXT, max_size=3).map(lambda d: tuple(sorted(d.items()))),
    exposed_ports=SORTED_NAMES,
    volumes=SORTED_NAMES,
    stop_signal=TEXT,
    healthcheck=st.one_of(st.none(), HEALTHCHECKS),
    shell=SOME_WORDS,
    on_build=WORDS,
    args_escaped=st.booleans(),
    unknown=UNKNOWN,
)
HISTORIES = st.builds(
    History,
    created=TEXT,
    created_by=TEXT,
    author=TEXT,
    comment=TEXT,
    empty_layer=st.booleans(),
    unknown=UNKNOWN,
)
CONFIGS = st.builds(
    ImageConfig,
    architecture=TEXT,
    os=TEXT,
    variant=TEXT,
    created=TEXT,
    author=TEXT,
    config=RUNTIME_CONFIGS,
    diff_ids=st.lists(st.sampled_from([LAYER, OTHER_LAYER]), max_size=3).map(tuple),
    history=st.lists(HISTORIES, max_size=3).map(tuple),
    unknown=UNKNOWN,
)


@settings(deadline=None)
@given(CONFIGS)
def test_a_config_survives_being_written_and_read(config: ImageConfig) -> None:
    data = config.to_bytes()
    assert ImageConfig.parse(data) == config
    assert json_bytes.canonical(json.loads(data)) == data


def test_unknown_members_are_kept_when_an_image_is_derived() -> None:
    document: dict[str, Json] = {
        "architecture": "amd64",
        "os": "linux",
        "os.version": "10",
        "moby.buildkit.cache.v0": {"b": [1, None], "a": 1.5},
        "config": {"Hostname": "x", "Healthcheck": {"Test": ["NONE"], "New": 1}, "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [LAYER]},
        "history": [{"created_by": "a", "note": True}],
    }
    base = ImageConfig.parse(json_bytes.canonical(document))
    child = replace(base, config=replace(base.config, cmd=("bash",)))
    written = json.loads(child.to_bytes())
    config = document["config"]
    assert isinstance(config, dict)
    assert written == {**document, "config": {**config, "Cmd": ["bash"]}}


def test_what_is_empty_is_left_out_but_for_what_tools_rely_on() -> None:
    assert ImageConfig(architecture="amd64").to_bytes() == (
        b'{"architecture":"amd64","config":{},"os":"linux",'
        b'"rootfs":{"diff_ids":[],"type":"layers"}}'
    )


def test_the_order_of_the_environment_is_kept_and_labels_are_sorted() -> None:
    data = b'{"config":{"Env":["Z=1","A=b=c","E"],"Labels":{"b":"2","a":"1"}}}'
    config = ImageConfig.parse(data).config
    assert config.env == (("Z", "1"), ("A", "b=c"), ("E", ""))
    assert config.labels == (("a", "1"), ("b", "2"))


def test_null_is_as_good_as_nothing() -> None:
    data = (
        b'{"architecture":null,"config":{"Cmd":null,"Entrypoint":[],"Labels":null,'
        b'"Healthcheck":null},"rootfs":null,"history":null}'
    )
    assert ImageConfig.parse(data) == ImageConfig(architecture="", os="")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"config":[]}',
        b'{"config":{"Env":"A=b"}}',
        b'{"config":{"Env":[1]}}',
        b'{"config":{"Labels":{"a":1}}}',
        b'{"config":{"ExposedPorts":["80"]}}',
        b'{"config":{"Healthcheck":{"Interval":1.5}}}',
        b'{"config":{"Healthcheck":{"Retries":true}}}',
        b'{"history":[{"empty_layer":1}]}',
        b'{"history":{}}',
        b'{"rootfs":{"type":"windows"}}',
        b'{"rootfs":{"diff_ids":["sha256:abc"]}}',
        b'{"x":NaN}',
        b'{"x":1e999}',
        b'{"x":"\\ud800"}',
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_a_config_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(ArchiveError):
        ImageConfig.parse(data)


def test_history_and_layers_stay_in_step() -> None:
    base = ImageConfig(architecture="amd64", diff_ids=(LAYER, LAYER))
    child = base.with_layer(OTHER_LAYER, History(created_by="RUN x"))
    assert [entry.empty_layer for entry in child.history] == [False, False, False]
    assert child.history[-1].created_by == "RUN x"
    talkative = ImageConfig(architecture="amd64", history=(History(), History()))
    child = talkative.with_empty_layer(History(created_by="ENV a=b"))
    assert [entry.empty_layer for entry in child.history] == [True, True, True]
    assert child.diff_ids == ()


@settings(deadline=None)
@given(st.integers(-(2**70), 2**70))
def test_times_are_written_within_what_can_be_written(seconds: int) -> None:
    text = rfc3339(seconds)
    assert unix_seconds(text) == min(max(seconds, -62135596800), 253402300799)


def test_times_of_other_tools_are_read() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00Z"
    assert unix_seconds("2024-01-02T03:04:05.123456789Z") == unix_seconds("2024-01-02T03:04:05Z")
    assert unix_seconds("1970-01-01T01:00:00+01:00") == 0
    assert unix_seconds("0001-01-01T00:00:00Z") < 0
    for text in ("yesterday", "", "2024-01-02T03:04:05"):
        with pytest.raises(ArchiveError):
            unix_seconds(text)


def test_manifests_and_indexes_survive_being_written_and_read() -> None:
    layer = Descriptor(
        media_type="a/b", digest=sha256(b""), size=3, annotations=(("k", "v"), ("n", ""))
    )
    platform = Platform("linux", "arm", "v7")
    manifest = Manifest(config=layer, layers=(layer, layer), annotations=(("x", "y"),))
    assert Manifest.parse(manifest.to_bytes()) == manifest
    index = Index(manifests=(replace(layer, platform=platform), layer))
    assert Index.parse(index.to_bytes()) == index


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'{"schemaVersion":1}',
        b'{"schemaVersion":2,"config":{"digest":"sha256:x"}}',
        b'{"schemaVersion":2,"config":{"digest":"sha256:%b","size":-1}}' % (b"a" * 64),
    ],
)
def test_a_manifest_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(ArchiveError):
        Manifest.parse(data)


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", "linux/amd64"),
        ("amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("Linux/ARM64/v8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
    ],
)
def test_platforms_are_read_with_their_aliases(text: str, platform: str) -> None:
    assert str(Platform.parse(text)) == platform


@pytest.mark.parametrize("text", ["", "linux/", "a/b/c/d", "/amd64"])
def test_a_platform_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidPlatform):
        Platform.parse(text)


def test_this_machine_has_a_platform() -> None:
    assert Platform.parse(str(default_platform())) == default_platform()
