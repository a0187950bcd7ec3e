"""What is a path, what a URL, what a repository, and what their names say."""

from __future__ import annotations

import pytest

from builder.plan.add_sources import added_sources, refuse_remote
from builder.plan.remote_names import (
    Remote,
    RemoteFile,
    RemoteNameError,
    Repository,
    parse_remote,
    with_flags,
)

DIGEST = "sha256:" + "a" * 64
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "text",
    ["a", "./a.git", "/x/y.git", "a:b", "a@b", "C:/x", "ftp://x/y", "http:/x", "github.com/a/b"],
)
def test_paths_are_paths(text: str) -> None:
    assert parse_remote(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://h/a.git", Repository(url="https://h/a.git")),
        ("https://h/a.git#", Repository(url="https://h/a.git")),
        ("https://h/a.git#v1", Repository(url="https://h/a.git", ref="v1")),
        ("https://h/a.git#v1:b/c", Repository(url="https://h/a.git", ref="v1", subdirectory="b/c")),
        ("https://h/a.git#:b", Repository(url="https://h/a.git", subdirectory="b")),
        ("https://h/a.git#:../../b/", Repository(url="https://h/a.git", subdirectory="b")),
        ("git@h:a/b.git#x", Repository(url="git@h:a/b.git", ref="x")),
        ("me@h.example:a", Repository(url="me@h.example:a")),
        ("ssh://git@h:22/a", Repository(url="ssh://git@h:22/a")),
        ("git://h/a", Repository(url="git://h/a")),
        ("file:///srv/a#x", Repository(url="file:///srv/a", ref="x")),
        ("https://h/a.git?tag=v1", Repository(url="https://h/a.git", ref="refs/tags/v1")),
        ("https://h/a.git?branch=b", Repository(url="https://h/a.git", ref="refs/heads/b")),
        (
            f"https://h/a.git?ref=r&subdir=/s/&checksum={COMMIT[:7]}&keep-git-dir=1&submodules=0",
            Repository(
                url="https://h/a.git", ref="r", subdirectory="s", commit=COMMIT[:7],
                keep_git_dir=True, submodules=False,
            ),
        ),
        (
            f"https://h/a.git?fetch-by-commit=true&commit={COMMIT}&mtime=checkout",
            Repository(url="https://h/a.git", ref=COMMIT, commit=COMMIT),
        ),
        ("http://h/a.tar.gz?x=1#y", RemoteFile(url="http://h/a.tar.gz?x=1#y")),
        ("https://h/a.git/b", RemoteFile(url="https://h/a.git/b")),
    ],
)  # fmt: skip
def test_names_are_told_apart(text: str, expected: Remote) -> None:
    assert parse_remote(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http:///x", "no host"),
        ("https://[::1/x", "invalid URL"),
        ("https://h:port/x", "invalid URL"),
        ("ssh://-oProxyCommand=x/a", "no host"),
        ("https://h/a.git#-upload-pack=x", "invalid git ref"),
        ("https://h/a.git#a..b", "invalid git ref"),
        ("https://h/a.git#a b", "invalid git ref"),
        ("https://h/a.git?x=1", "unexpected query x="),
        ("https://h/a.git?mtime=commit", "unexpected query mtime="),
        ("https://h/a.git?ref=a&tag=b", "conflicts"),
        ("https://h/a.git?ref=a#b", "conflicts"),
        ("https://h/a.git?ref=a&ref=b", "twice"),
        ("https://h/a.git?checksum=xyz", "invalid checksum"),
        ("https://h/a.git?keep-git-dir=maybe", "invalid value for keep-git-dir"),
        ("https://h/a.git?fetch-by-commit=1", "needs a whole commit"),
    ],
)
def test_names_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(RemoteNameError, match=message):
        parse_remote(text)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://h/a/b.txt", "b.txt"),
        ("http://h/a/b.txt?c=/d", "b.txt"),
        ("http://h/a/b/", "b"),
        ("http://h/a%20b", "a b"),
        ("http://h/%2e%2e%2fetc%2fpasswd", "passwd"),
        ("http://h", "__unnamed__"),
        ("http://h/", "__unnamed__"),
        ("http://h/a/%2e%2e", "__unnamed__"),
        ("http://h/%00", "__unnamed__"),
    ],
)
def test_a_file_is_called_as_its_url_ends(url: str, name: str) -> None:
    assert RemoteFile(url=url).name == name


def test_passwords_are_not_shown() -> None:
    assert RemoteFile(url="https://me:secret@h/x").shown() == "https://me:xxxxx@h/x"
    assert Repository(url="https://me:secret@h/x.git", ref="v").shown().endswith("@h/x.git#v")


def test_copy_takes_nothing_from_elsewhere() -> None:
    with pytest.raises(RemoteNameError, match="source can't be a URL for COPY"):
        refuse_remote(["a", "https://h/a"])
    with pytest.raises(RemoteNameError, match="source can't be a git ref for COPY"):
        refuse_remote(["git@h:a"])


def test_flags_go_with_what_they_are_for() -> None:
    def added(*sources: str, checksum: str | None = None, keep: bool | None = None) -> object:
        return added_sources(sources, checksum=checksum, keep_git_dir=keep, unpack=True)

    url = "http://h/a"
    assert added(url, checksum=DIGEST) == (RemoteFile(url=url, checksum=DIGEST, unpack=True),)
    with pytest.raises(RemoteNameError, match="multiple sources"):
        added(url, "http://h/b", checksum=DIGEST)
    with pytest.raises(RemoteNameError, match=r"requires HTTP\(S\) or Git"):
        added("a", checksum=DIGEST)
    with pytest.raises(RemoteNameError, match="invalid checksum"):
        added(url, checksum="md5:1")
    with pytest.raises(RemoteNameError, match="keep-git-dir requires a Git source"):
        added(url, keep=True)


def test_a_flag_and_a_name_agree_on_the_commit() -> None:
    named = parse_remote(f"https://h/a.git?checksum={COMMIT[:8]}")
    assert named is not None

    def flagged(checksum: str) -> Remote:
        return with_flags(named, checksum=checksum, keep_git_dir=None, unpack=None)

    assert flagged(COMMIT[:5]) == named
    with pytest.raises(RemoteNameError, match="checksum mismatch"):
        flagged("ffff")
