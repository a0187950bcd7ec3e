"""lamina.toml: what it says, and what it must not say."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import SettingsError
from builder.settings import Settings, parse_settings, read_settings

NOTHING = Settings()


def parsed(text: str) -> Settings:
    return parse_settings(text.encode(), "FILE", NOTHING)


@pytest.mark.parametrize(
    ("text", "size", "inodes"),
    [
        ("", None, None),
        ("[store]\n", None, None),
        ('[store]\nmax-size = "20GB"\n', 20 << 30, None),
        ('[store]\nmax-size = "1.5g"\nmax-inodes = 2_000\n', 3 << 29, 2000),
        ("[store]\nmax-size = 1000\n", 1000, None),
        ("store.max-size = 0\n", 0, None),
        ('store = { max-size = "1k", max-inodes = 0 }\n', 1024, 0),
    ],
)
def test_what_it_says(text: str, size: int | None, inodes: int | None) -> None:
    assert parsed(text) == Settings(store_max_size=size, store_max_inodes=inodes)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("\n[stor]\n", "FILE:2: unknown table 'stor'", "did you mean store?"),
        ("x = 1\n", "FILE:1: unknown table 'x'", "known: store"),
        ("store = 1\n", "FILE:1: store is not a table", "[store]"),
        (
            "# it\n[store]\n\nmaxsize = 1\n",
            "FILE:4: [store]: unknown key 'maxsize'",
            "did you mean max-size?",
        ),
        ('[store]\nmax-size = "much"\n', "FILE:2: [store] max-size is no size: 'much'", '"20GB"'),
        ("[store]\nmax-size = true\n", "FILE:2: [store] max-size is no size: True", '"20GB"'),
        ("[store]\nmax-size = -1\n", "FILE:2: [store] max-size is no size: -1", '"20GB"'),
        ("[store]\n max-inodes= 1.5\n", "FILE:2: [store] max-inodes is no number: 1.5", None),
        ("[store]\nmax-inodes = false\n", "FILE:2: [store] max-inodes is no number: False", None),
        ('store."max-inodes" = "x"\n', "FILE:1: [store] max-inodes is no number: 'x'", None),
    ],
)
def test_what_it_must_not_say(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(SettingsError) as caught:
        parsed(text)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_what_is_no_toml_is_said_with_its_line() -> None:
    with pytest.raises(SettingsError, match=r"^FILE:3: it is no TOML: "):
        parsed("[store]\nmax-size = 1\nmax-size\n")
    with pytest.raises(SettingsError, match=r"^FILE:2: it is not UTF-8$"):
        parse_settings(b"[store]\n# \xff\n", "FILE", NOTHING)


@given(st.binary(max_size=200))
def test_whatever_it_says_is_read_or_refused(data: bytes) -> None:
    with suppress(SettingsError):
        parse_settings(data, "FILE", NOTHING)


def test_the_later_files_keys_count(tmp_path: Path) -> None:
    machine, own = tmp_path / "machine", tmp_path / "own"
    paths = [str(machine), str(own)]
    assert read_settings(paths) == NOTHING
    machine.write_text("[store]\nmax-size = 1\nmax-inodes = 2\n")
    assert read_settings(paths) == Settings(store_max_size=1, store_max_inodes=2)
    own.write_text("[store]\nmax-size = 3\n")
    assert read_settings(paths) == Settings(store_max_size=3, store_max_inodes=2)
    own.write_bytes(b"#" * (1 << 21))
    with pytest.raises(SettingsError, match="longer than"):
        read_settings(paths)
