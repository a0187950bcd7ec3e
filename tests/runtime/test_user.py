"""Users and groups by name, from passwd and group files that may be anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import UserNotFound
from runtime.user import Ids, find_owner, find_user

PASSWD = b"""\
root:x:0:0:root:/root:/bin/sh
# a comment
daemon:x:1:1::/usr/sbin:
broken:x:one:1::/:
short:x
web:x:33:34:web:/srv/web:/bin/false
1000:x:7:7:a number for a name:/seven:
homeless:x:50:50
"""
GROUP = b"""\
root:x:0:
wheel:x:10:root,web
web:x:34:
also:x:35:web
broken:x:eleven:web
20:x:21:
"""


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", Ids(0, 0, (0, 10), "/root")),
        ("root", Ids(0, 0, (0, 10), "/root")),
        ("0", Ids(0, 0, (0, 10), "/root")),
        ("web", Ids(33, 34, (34, 10, 35), "/srv/web")),
        ("33", Ids(33, 34, (34, 10, 35), "/srv/web")),
        ("web:", Ids(33, 34, (34, 10, 35), "/srv/web")),
        ("web:root", Ids(33, 0, (0,), "/srv/web")),
        ("web:35", Ids(33, 35, (35,), "/srv/web")),
        ("4711", Ids(4711, 0, (0,), "/")),
        ("4711:4712", Ids(4711, 4712, (4712,), "/")),
        (":wheel", Ids(0, 10, (10,), "/root")),
        ("homeless", Ids(50, 50, (50,), "/")),
        # A number is an ID, whoever is called so.
        ("1000", Ids(1000, 0, (0,), "/")),
        ("root:20", Ids(0, 20, (20,), "/root")),
    ],
)
def test_a_user_as_docker_reads_it(spec: str, expected: Ids) -> None:
    assert find_user(PASSWD, GROUP, spec) == expected


@pytest.mark.parametrize(
    "spec", ["nemo", "broken", "short", "web:nobody", "2147483648", "1:2147483648", "9" * 30, "-1"]
)
def test_what_nobody_is(spec: str) -> None:
    with pytest.raises(UserNotFound) as caught:
        find_user(PASSWD, GROUP, spec)
    assert spec.split(":")[-1] in caught.value.message


def test_without_files() -> None:
    assert find_user(b"", b"", "") == Ids(0, 0, (0,), "/")
    assert find_user(b"", b"", "12:13") == Ids(12, 13, (13,), "/")
    with pytest.raises(UserNotFound):
        find_user(b"", b"", "root")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("web", (33, 34)),
        ("33", (33, 33)),
        ("web:wheel", (33, 10)),
        ("1:2", (1, 2)),
        ("12:web", (12, 34)),
        ("0", (0, 0)),
        (":web", (0, 34)),
    ],
)
def test_an_owner_as_buildkit_reads_it(spec: str, expected: tuple[int, int]) -> None:
    assert find_owner(PASSWD, GROUP, spec) == expected


@pytest.mark.parametrize("spec", ["nemo", "web:nemo", "4294967296"])
def test_an_owner_that_nobody_is(spec: str) -> None:
    with pytest.raises(UserNotFound):
        find_owner(PASSWD, GROUP, spec)


def test_what_nobody_is_named_is_not_guessed() -> None:
    """As an image could have it: a user that is listed twice is the first of the two."""
    assert find_user(b"a:x:1:1::/:\na:x:0:0::/:\n", b"", "a").uid == 1


def test_ids_are_values() -> None:
    ids = Ids(1, 2, (2,), "/home")
    assert ids == Ids(1, 2, (2,), "/home")
    assert hash(ids) == hash(Ids(1, 2, (2,), "/home"))
    assert ids != Ids(1, 2, (), "/home")
    assert repr(ids) == "Ids(1, 2, (2,), '/home')"


@given(st.binary(max_size=200), st.binary(max_size=200), st.text(max_size=20))
def test_hostile_files_give_an_answer_or_a_refusal(passwd: bytes, group: bytes, spec: str) -> None:
    try:
        ids = find_user(passwd, group, spec)
    except UserNotFound:
        return
    assert all(0 <= number < 1 << 31 for number in (ids.uid, ids.gid, *ids.groups))
    assert ids.home
