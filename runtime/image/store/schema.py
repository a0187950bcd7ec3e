"""The tables of the store's database, as the steps that led to them.

A database's version (`PRAGMA user_version`) is the number of steps it has seen; the others are
carried out when it is opened. A step that was released is never changed: a new one follows it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_FIRST: Final = """
CREATE TABLE layers (
    diff_id TEXT PRIMARY KEY,
    size INTEGER NOT NULL,           -- of the uncompressed tar
    tree_boot TEXT,                  -- NULL: no tree; the boot it was made in, '' once checked
    tree_lossy INTEGER NOT NULL DEFAULT 0   -- the tree lacks what we were not allowed to make
) STRICT, WITHOUT ROWID;
CREATE TABLE blobs (
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    diff_id TEXT,                    -- NULL: not a layer
    compressor TEXT NOT NULL,
    media_type TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX blobs_of_layer ON blobs (diff_id);
CREATE TABLE images (
    id TEXT PRIMARY KEY,
    config BLOB NOT NULL             -- as it came: its digest is the ID
) STRICT, WITHOUT ROWID;
CREATE TABLE image_layers (
    image TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
    position INTEGER NOT NULL,
    diff_id TEXT NOT NULL,
    PRIMARY KEY (image, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX images_of_layer ON image_layers (diff_id);
CREATE TABLE names (
    name TEXT PRIMARY KEY,           -- domain/path:tag or domain/path@digest
    image TEXT NOT NULL REFERENCES images ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX names_of_image ON names (image);
CREATE TABLE leases (
    owner TEXT NOT NULL,
    diff_id TEXT NOT NULL,
    PRIMARY KEY (owner, diff_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE records (
    key TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    components TEXT NOT NULL,
    diff_id TEXT NOT NULL,
    created INTEGER NOT NULL,
    last_used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX records_of_layer ON records (diff_id);
CREATE INDEX records_of_kind ON records (kind, last_used);
CREATE TABLE memos (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
"""

_REPLAYS: Final = """
CREATE TABLE replays (
    call TEXT PRIMARY KEY,           -- how a build was asked for: directory and arguments
    last_used INTEGER NOT NULL,
    conditions TEXT NOT NULL,        -- the program, its environment
    stamps BLOB NOT NULL,            -- of the files it read
    paths BLOB NOT NULL,
    image TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
    names BLOB NOT NULL,
    bases BLOB NOT NULL,
    records BLOB NOT NULL,
    lines BLOB NOT NULL,
    quiet INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX replays_of_image ON replays (image);
"""

_USAGE: Final = """
ALTER TABLE layers ADD COLUMN tree_bytes INTEGER;    -- on the disk; NULL: not measured yet
ALTER TABLE layers ADD COLUMN tree_inodes INTEGER;
ALTER TABLE layers ADD COLUMN tree_exact INTEGER;    -- it gives the diff ID; NULL: unknown
ALTER TABLE records ADD COLUMN seconds REAL NOT NULL DEFAULT 0;  -- that the step took
ALTER TABLE images ADD COLUMN last_used INTEGER NOT NULL DEFAULT 0;
"""

_REGISTRIES: Final = """
CREATE TABLE manifests (
    image TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    document BLOB NOT NULL,          -- as it came or was sent
    PRIMARY KEY (image, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE repository_digests (
    image TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
    repository TEXT NOT NULL,        -- domain/path
    digest TEXT NOT NULL,            -- by which a registry has the image, or the index it is in
    PRIMARY KEY (image, repository, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE resolutions (
    name TEXT NOT NULL,              -- domain/path:tag or domain/path@digest
    platform TEXT NOT NULL,
    digest TEXT NOT NULL,
    image TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
    asked INTEGER NOT NULL,          -- when, in seconds since 1970
    PRIMARY KEY (name, platform)
) STRICT, WITHOUT ROWID;
CREATE INDEX resolutions_of_image ON resolutions (image);
CREATE TABLE blob_repositories (
    digest TEXT NOT NULL,
    repository TEXT NOT NULL,
    PRIMARY KEY (digest, repository)
) STRICT, WITHOUT ROWID;
"""

_BUILDS: Final = """
CREATE TABLE builds (
    id TEXT PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE,  -- in the order they were done
    turn INTEGER NOT NULL UNIQUE,    -- in the order they were asked for last
    answered INTEGER NOT NULL,       -- when it was last answered by a replay; 0: never
    document BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE listings (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;
CREATE TABLE build_listings (
    build TEXT NOT NULL REFERENCES builds ON DELETE CASCADE,
    key TEXT NOT NULL,
    listing TEXT NOT NULL REFERENCES listings,
    PRIMARY KEY (key, build)
) STRICT, WITHOUT ROWID;
CREATE INDEX listings_of_build ON build_listings (build);
CREATE INDEX builds_of_listing ON build_listings (listing);
ALTER TABLE replays ADD COLUMN build TEXT NOT NULL DEFAULT '';
"""

_ATTESTATIONS: Final = """
CREATE TABLE attestations (
    image TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
    predicate_type TEXT NOT NULL,
    predicate BLOB NOT NULL,         -- canonical JSON
    PRIMARY KEY (image, predicate_type)
) STRICT;
"""

_LISTS: Final = """
CREATE TABLE lists (
    name TEXT PRIMARY KEY            -- domain/path:tag
) STRICT, WITHOUT ROWID;
CREATE TABLE list_images (
    list TEXT NOT NULL REFERENCES lists ON DELETE CASCADE,
    position INTEGER NOT NULL,
    image TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
    PRIMARY KEY (list, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX lists_of_image ON list_images (image);
INSERT INTO lists SELECT key FROM memos WHERE kind = 'manifest list';
INSERT INTO list_images SELECT memos.key, each.key, each.value
    FROM memos, json_each(CAST(memos.value AS TEXT)) AS each
    WHERE memos.kind = 'manifest list' AND each.value IN (SELECT id FROM images);
DELETE FROM memos WHERE kind = 'manifest list';
"""

STEPS: Final = (_FIRST, _REPLAYS, _USAGE, _REGISTRIES, _BUILDS, _ATTESTATIONS, _LISTS)
