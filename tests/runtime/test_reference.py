"""Image names against Docker's own test cases, and what must hold for every name."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.image.errors import InvalidReference
from runtime.image.reference import DEFAULT_DOMAIN, Reference

pytestmark = pytest.mark.any_user

HEX = "b" * 64
DIGEST = f"sha256:{HEX}"

HUB = DEFAULT_DOMAIN


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("busybox", f"{HUB}/library/busybox:latest", "busybox"),
        ("busybox:latest", f"{HUB}/library/busybox:latest", "busybox"),
        ("busybox:1.36", f"{HUB}/library/busybox:1.36", "busybox:1.36"),
        ("library/busybox", f"{HUB}/library/busybox:latest", "busybox"),
        (f"{HUB}/library/busybox", f"{HUB}/library/busybox:latest", "busybox"),
        (f"index.{HUB}/library/busybox", f"{HUB}/library/busybox:latest", "busybox"),
        (f"{HUB}/busybox", f"{HUB}/library/busybox:latest", "busybox"),
        ("user/app", f"{HUB}/user/app:latest", "user/app"),
        ("library/a/b", f"{HUB}/library/a/b:latest", "library/a/b"),
        ("localhost", f"{HUB}/library/localhost:latest", "localhost"),
        ("localhost/app", "localhost/app:latest", "localhost/app"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1"),
        ("test.com:8080/a/b:t", "test.com:8080/a/b:t", "test.com:8080/a/b:t"),
        ("a.b", f"{HUB}/library/a.b:latest", "a.b"),
        ("a.b/c", "a.b/c:latest", "a.b/c"),
        (f"{HUB}/a.b/c", f"{HUB}/a.b/c:latest", f"{HUB}/a.b/c"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app"),
        ("Foo/bar", "Foo/bar:latest", "Foo/bar"),
        ("a__b/c-d---e", f"{HUB}/a__b/c-d---e:latest", "a__b/c-d---e"),
        (f"app@{DIGEST}", f"{HUB}/library/app@{DIGEST}", f"app@{DIGEST}"),
        (f"app:v1@{DIGEST}", f"{HUB}/library/app:v1@{DIGEST}", f"app:v1@{DIGEST}"),
        (f"app:latest@{DIGEST}", f"{HUB}/library/app:latest@{DIGEST}", f"app:latest@{DIGEST}"),
        (f"a/{HEX}", f"{HUB}/a/{HEX}:latest", f"a/{HEX}"),
        ("sha256:abc", f"{HUB}/library/sha256:abc", "sha256:abc"),
    ],
)
def test_names_are_normalised_as_docker_does(text: str, full: str, familiar: str) -> None:
    name = Reference.parse(text)
    assert str(name) == full
    assert name.familiar() == familiar


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        (":tag", "no repository name"),
        ("@" + DIGEST, "no repository name"),
        (HEX, "image ID"),
        ("Uppercase", "lowercase"),
        ("test:5000/Uppercase/lowercase", "lowercase"),
        ("a:5000/", "path component"),
        ("-foo", "path component"),
        ("foo-", "path component"),
        ("foo//bar", "path component"),
        ("foo/.bar", "path component"),
        ("a___b", "path component"),
        ("a..b/c", "host name"),
        ("-domain.com/foo", "host name"),
        ("xn--n3h.com:port/foo", "host name"),
        ("foo bar", "path component"),
        ("fo$z", "path component"),
        ("café", "path component"),
        ("foo:", "empty"),
        ("foo:.tag", "not a tag"),
        ("foo:tag:tag", "not a tag"),
        ("foo:" + "a" * 129, "128 characters"),
        ("foo\n", "path component"),
        ("foo:tag\n", "not a tag"),
        ("foo@sha256:abc", "invalid digest"),
        (f"foo@sha512:{HEX}{HEX}", "invalid digest"),
        (f"foo@{DIGEST.upper()}", "invalid digest"),
        ("a/" * 127 + "aa", "longer than 255"),
    ],
)
def test_a_name_that_is_none_is_refused_in_words(text: str, why: str) -> None:
    with pytest.raises(InvalidReference, match=why):
        Reference.parse(text)


def test_the_longest_names_are_names() -> None:
    path = "a/" * 127 + "a"
    assert Reference.parse(path).path == path
    assert Reference.parse("foo:" + "a" * 128).tag == "a" * 128


def test_the_parts_are_there() -> None:
    name = Reference.parse(f"host:1/a/b:t@{DIGEST}")
    assert (name.domain, name.path, name.tag, name.digest) == ("host:1", "a/b", "t", DIGEST)
    assert name.repository == "host:1/a/b"
    assert Reference.parse("busybox").tagged() == "busybox:latest"


ALPHANUMERIC = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=6)
COMPONENTS = st.lists(ALPHANUMERIC, min_size=1, max_size=3).flatmap(
    lambda parts: st.sampled_from([".", "_", "__", "-", "---"]).map(lambda sep: sep.join(parts))
)
PATHS = st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join)
DOMAINS = st.sampled_from(["", f"{HUB}/", "localhost/", "h:1/", "a.b/", "A/", "[::1]/"])
TAGS = st.one_of(st.just(""), ALPHANUMERIC.map(":{}".format), st.just(":latest"))
DIGESTS = st.sampled_from(["", "@" + DIGEST])


@settings(deadline=None)
@given(DOMAINS, PATHS, TAGS, DIGESTS)
def test_every_form_of_a_name_is_read_as_the_same_name(
    domain: str, path: str, tag: str, digest: str
) -> None:
    name = Reference.parse(domain + path + tag + digest)
    assert Reference.parse(str(name)) == name
    assert Reference.parse(name.familiar()) == name
    assert Reference.parse(name.tagged()) == name
    assert name.tag is not None or name.digest is not None


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        name = Reference.parse(text)
    except InvalidReference:
        return
    assert Reference.parse(str(name)) == name
