"""Rules of the registry client, each by itself."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.image.digest import Digest
from runtime.image.manifest import MEDIA_TYPE_MANIFEST, Descriptor
from runtime.image.platform import Platform
from runtime.image.reference import DEFAULT_DOMAIN, LEGACY_DEFAULT_DOMAIN, Reference
from runtime.image.registry.addresses import origin
from runtime.image.registry.challenge import Challenge, parse_challenges
from runtime.image.registry.configuration import Registries, parse_registries, read_registries
from runtime.image.registry.endpoints import endpoints, is_loopback
from runtime.image.registry.errors import (
    ConfigurationError,
    InvalidAnswer,
    NoSuchPlatform,
    shown,
)
from runtime.image.registry.platform_choice import choose
from runtime.image.registry.retries import RetryPolicy, retry_after

pytestmark = pytest.mark.any_user

# ---- challenges


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (['Basic realm="a b"'], [Challenge("basic", {"realm": "a b"})]),
        (
            [
                'Bearer realm="https://auth.example.com/t",service="r",scope="repository:a:pull,push"'
            ],
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.example.com/t",
                        "service": "r",
                        "scope": "repository:a:pull,push",
                    },
                )
            ],
        ),
        (
            ['Negotiate, Basic realm="x", BEARER Realm=y'],
            [
                Challenge("negotiate", {}),
                Challenge("basic", {"realm": "x"}),
                Challenge("bearer", {"realm": "y"}),
            ],
        ),
        (
            ["Basic", 'Bearer realm="a\\"b"'],
            [Challenge("basic", {}), Challenge("bearer", {"realm": 'a"b'})],
        ),
        ([""], []),
    ],
)
def test_challenges(headers: list[str], expected: list[Challenge]) -> None:
    assert list(parse_challenges(headers)) == expected


@given(st.lists(st.text(alphabet='Bearer ",=\\\tx;', max_size=60), max_size=3))
def test_no_challenge_is_too_strange(headers: list[str]) -> None:
    parse_challenges(headers)


# ---- addresses


@pytest.mark.parametrize(
    "url",
    ["", "x", "ftp://h/", "http://", "http://u:p@h/", "http://[::1/", "http://h:99999/", "//h/a"],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(InvalidAnswer):
        origin(url, "here")


def test_an_origin_has_its_port() -> None:
    assert origin("https://H/a", "x") == origin("https://h:443/b?c", "x")
    assert origin("http://h/", "x") != origin("https://h/", "x")


@pytest.mark.parametrize("host", ["localhost", "localhost:5", "127.0.0.9:1", "[::1]:5", "[::1]"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1.example.com", "10.0.0.1:5", "[::2]"])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_where_an_image_is_looked_for() -> None:
    settings = parse_registries(
        b'[registries."%s"]\nmirrors = ["m.example.com:5/hub", "n.example.com"]\n'
        b'[registries."m.example.com:5"]\nhttp = true' % LEGACY_DEFAULT_DOMAIN.encode(),
        "f",
    )
    found = endpoints(Reference.parse("busybox"), Registries(settings))
    assert [(e.address, e.path, e.schemes) for e in found] == [
        ("m.example.com:5", "hub/library/busybox", ("http",)),
        ("n.example.com", "library/busybox", ("https",)),
        (f"registry-1.{DEFAULT_DOMAIN}", "library/busybox", ("https",)),
    ]


# ---- settings


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x = 1", "unknown key 'x'"),
        ("registries = 1", "not a table"),
        ('[registries."h.example.com"]\nhttp = "yes"', "http has to be true or false"),
        ('[registries."h.example.com"]\nhttp = 1', "http has to be true or false"),
        ('[registries."h.example.com"]\nmirrors = ["http://m/"]', "mirrors has to be"),
        ('[registries."h.example.com"]\nca = ""', "ca has to be a text"),
        ('[registries."h.example.com"]\nclient-key = "k"', "without client-cert"),
        ('[registries."h.example.com"]\nhttp = true\nca = "c"', "no certificates"),
        ('[registries."http://h.example.com"]\n', "is not a host"),
        ("[registries", "is no TOML"),
    ],
)
def test_settings_that_make_no_sense(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_registries(text.encode(), "f.toml")
    assert why in caught.value.message
    assert caught.value.message.startswith("f.toml: ")


def test_the_later_file_wins_and_paths_are_beside_it(tmp_path: Path) -> None:
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    first.write_text('[registries."h.example.com"]\nhttp = true\n')
    second.write_text('[registries."h.example.com"]\nca = "c.pem"\n')
    settings = read_registries([str(first), str(second), "/nowhere"]).settings("h.example.com")
    assert settings.http is None
    assert settings.ca == str(tmp_path / "c.pem")


# ---- patience


def test_pauses_grow_and_end() -> None:
    policy = RetryPolicy(attempts=5, first_seconds=1, most_seconds=3)
    pauses = [policy.pause(failures, None) for failures in range(1, 6)]
    assert pauses[4] is None
    assert [p is not None and p <= most for p, most in zip(pauses, (1, 2, 3, 3), strict=False)] == [
        True
    ] * 4
    assert policy.pause(3, None, connected=False) is None


def test_what_a_server_asks_for_is_granted() -> None:
    policy = RetryPolicy()
    assert policy.pause(1, 7.0) == 7.0
    assert policy.pause(1, 4000.0) is None
    assert retry_after("12", 0) == 12
    assert retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 40) == 20
    assert retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 400) == 0
    assert retry_after("soon", 0) is None
    assert retry_after(None, 0) is None


# ---- platforms


def index(*platforms: str) -> list[Descriptor]:
    return [
        Descriptor(
            media_type=MEDIA_TYPE_MANIFEST,
            digest=Digest(f"sha256:{number:064x}"),
            size=1,
            platform=Platform(*text.split("/")),
        )
        for number, text in enumerate(platforms)
    ]


@pytest.mark.parametrize(
    ("wanted", "there", "chosen"),
    [
        ("linux/amd64", ("linux/arm64", "linux/amd64"), 1),
        ("linux/amd64", ("linux/amd64/v3", "linux/amd64/v2", "linux/amd64"), 2),
        ("linux/amd64/v3", ("linux/amd64", "linux/amd64/v2", "linux/amd64/v4"), 1),
        ("linux/arm64", ("linux/arm64/v8", "linux/arm/v7"), 0),
        ("linux/arm/v7", ("linux/arm/v5", "linux/arm/v6"), 1),
        ("linux/arm/v6", ("linux/arm/v7", "linux/arm/v5"), 1),
        ("windows/amd64", ("linux/amd64", "windows/amd64"), 1),
    ],
)
def test_the_best_variant_is_chosen(wanted: str, there: tuple[str, ...], chosen: int) -> None:
    descriptors = index(*there)
    assert choose(descriptors, Platform.parse(wanted), "x") == descriptors[chosen]


def test_the_error_lists_what_there_is() -> None:
    with pytest.raises(NoSuchPlatform) as caught:
        choose(
            index("windows/amd64", "linux/arm64", "unknown/unknown", "windows/amd64"),
            Platform.parse("linux/amd64"),
            "name",
        )
    assert caught.value.message == (
        "name: no image for linux/amd64; there is windows/amd64, linux/arm64"
    )


def test_what_servers_say_is_harmless() -> None:
    assert shown("a\x1b[31m\nb\u202e") == "a [31m b "
    assert all(a <= b for a, b in pairwise([len(shown("x" * n)) for n in (1, 500, 501)]))
