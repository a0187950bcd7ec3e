"""What a copy consists of, packed and read back; how two differ."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from builder.cache.keys import entries_key
from builder.cache.listing import listed, make_listing, read_listing
from builder.records.files import Names, compare
from runtime.image.layer.entry import Entry, Kind

names = st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name)
entries = st.builds(
    Entry,
    path=names,
    kind=st.sampled_from((Kind.REGULAR, Kind.DIRECTORY, Kind.SYMLINK, Kind.FIFO)),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 1),
    gid=st.integers(0, 2**32 - 1),
    mtime=st.integers(-(2**40), 2**40),
    target=st.binary(max_size=5).filter(lambda name: b"\0" not in name),
    xattrs=st.lists(st.tuples(st.just("user.a b"), st.binary(max_size=3)), max_size=1).map(tuple),
)
layers = st.lists(entries, max_size=8, unique_by=lambda entry: entry.path)


def packed(layer: list[Entry], content: str = "c") -> bytes:
    return make_listing(layer, lambda entry: content, b"").to_bytes()


@given(layers)
def test_everything_comes_back(layer: list[Entry]) -> None:
    found = read_listing(packed(layer))
    assert found.keys() == {entry.path for entry in layer}
    for entry in layer:
        one = listed(entry.path, found[entry.path])
        assert (one.kind, one.mode, one.owner) == (entry.kind, entry.mode, (entry.uid, entry.gid))
        assert (one.target, one.mtime) == (entry.target, entry.mtime)
        assert one.content == (b"c" if entry.kind is Kind.REGULAR else b"")


@given(layers, layers)
def test_keys_are_equal_where_listings_are(one: list[Entry], other: list[Entry]) -> None:
    keys = [entries_key(layer, lambda entry: "c").digest for layer in (one, other)]
    assert (keys[0] == keys[1]) == (packed(one) == packed(other))


@given(layers, layers)
def test_differences_are_found_whole(one: list[Entry], other: list[Entry]) -> None:
    found = compare(packed(one), packed(other), Names({}))
    before, after = ({entry.path: entry for entry in layer} for layer in (one, other))
    fates = {change.path: change.fate for change in found.changes}
    for path, fate in fates.items():
        expected = "added" if path not in before else "removed" if path not in after else "changed"
        assert fate == expected
    for path in before.keys() ^ after.keys():
        entry = before.get(path) or after[path]
        assert path in fates or entry.kind is Kind.DIRECTORY


def test_a_large_copy_is_packed_on_the_way() -> None:
    layer = [Entry(path=b"%07d" % n, kind=Kind.REGULAR) for n in range(100_000)]
    digest = "0123456789abcdef" * 4
    listing = make_listing(layer, lambda entry: digest, b"")
    assert sum(map(len, listing.raw)) < 8 << 20
    found = read_listing(listing.to_bytes())
    assert len(found) == 100_000
    assert listed(b"0000007", found[b"0000007"]).content == digest[:16].encode()


def test_names_are_those_of_the_source() -> None:
    def named(sources: str, destination: str, path: bytes) -> str:
        return Names({"sources": sources, "destination": destination}).of(path)

    assert named('["."]', "/app", b"app/src/x.py") == "src/x.py"
    assert named('["src/"]', "/app/", b"app/x.py") == "src/x.py"
    assert named('["a.txt"]', "/b.txt", b"b.txt") == "a.txt"
    assert named('["d/a.txt"]', "/b/", b"b/a.txt") == "d/a.txt"
    assert named('["a", "b"]', "/c/", b"c/a") == "a"
    assert named('["*.py"]', "/c/", b"c/a.py") == "a.py"
    assert named('["."]', "/", b"a") == "a"
    assert named('["."]', "/app/deep", b"app") == "/app"
