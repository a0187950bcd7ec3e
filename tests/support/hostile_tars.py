"""Layers that somebody made to get out, to get in the way, or to cost too much."""

from __future__ import annotations

from pathlib import Path

from support import tars


def attempts(outside: Path) -> dict[str, bytes]:
    """Archives by name, each without its end; `outside` is what they want to reach."""
    return {**escapes(outside), **malformed(), **odd(bytes(outside))}


def escapes(outside: Path) -> dict[str, bytes]:
    """Archives by name; OUT is the outside directory, from inside the tree or from the top."""
    absolute = bytes(outside)
    relative = b"../outside"
    up = b"../" * 30
    long_chain = tars.directory(b"d" * 200 + b"/")
    chain = b""
    for number in range(16):  # CVE-2025-4517: longer than PATH_MAX once it is resolved
        name = b"abcdefghijklmnop"[number : number + 1]
        chain += tars.directory(b"/".join([b"d" * 247] * (number + 1)) + b"/")
        chain += tars.symlink(b"/".join([b"d" * 247] * number + [name]), b"d" * 247)
    steps = b"/".join(b"abcdefghijklmnop"[n : n + 1] for n in range(16))
    chain += tars.symlink(steps + b"/" + b"l" * 254, b"../" * 16)
    chain += tars.symlink(b"escape", steps + b"/" + b"l" * 254 + b"/../outside")
    chain += tars.file(b"escape/ESC", b"out")
    found = {
        "dots": tars.file(b"../outside/ESC", b"out"),
        "dots inside": tars.file(b"a/../../outside/ESC", b"out"),
        "absolute": tars.file(absolute + b"/ESC", b"out"),
        "absolute replacing": tars.file(absolute + b"/secret", b"out"),
        "link, then below": tars.symlink(b"l", relative) + tars.file(b"l/ESC", b"out"),
        "absolute link": tars.symlink(b"l", absolute) + tars.file(b"l/ESC", b"out"),
        "link to the file": tars.symlink(b"l", relative + b"/secret") + tars.file(b"l", b"out"),
        "absolute to the file": tars.symlink(b"l", absolute + b"/secret") + tars.file(b"l", b"out"),
        "through the tree's own name": tars.symlink(b"s", b".")
        + tars.symlink(b"t", b"s/..")
        + tars.file(b"t/outside/ESC", b"out"),
        "chain of links": tars.symlink(b"a", b"..")
        + tars.symlink(b"b", b"a/..")
        + tars.symlink(b"c", b"b/" + absolute.lstrip(b"/"))
        + tars.file(b"c/ESC", b"out"),
        "many dots": tars.symlink(b"l", up + absolute.lstrip(b"/")) + tars.file(b"l/ESC", b"out"),
        "directory over a link": tars.symlink(b"l", relative)
        + tars.directory(b"l/", mode=0o777, mtime=99)
        + tars.file(b"l/ESC", b"out"),
        "mode of a link's target": tars.symlink(b"l", absolute)
        + tars.header(b"l", b"5", mode=0o777, mtime=99),
        "time of a link's target": tars.directory(b"l/", mode=0o777, mtime=99)
        + tars.symlink(b"l", absolute),
        "directory swapped below": tars.directory(b"d/e/", mode=0o777, mtime=99)
        + tars.file(b"d/e/f")
        + tars.symlink(b"d", absolute)
        + tars.file(b"d/directory/ESC"),
        "swapped while open": tars.file(b"d/directory/a")
        + tars.symlink(b"d", absolute)
        + tars.file(b"d/directory/file", b"out"),
        "hard link": tars.hardlink(b"h", relative + b"/secret"),
        "absolute hard link": tars.hardlink(b"h", absolute + b"/secret") + tars.file(b"h", b"out"),
        "hard link through a link": tars.symlink(b"l", absolute)
        + tars.hardlink(b"h", b"l/secret")
        + tars.file(b"h", b"out"),
        "hard link to a link": tars.symlink(b"l", absolute + b"/secret")
        + tars.hardlink(b"h", b"l")
        + tars.file(b"h", b"out"),
        "hard link to the root": tars.hardlink(b"h", b"/"),
        "hard link to a directory": tars.directory(b"d/") + tars.hardlink(b"h", b"d"),
        "hard link to itself": tars.hardlink(b"h", b"h"),
        "hard link to a whiteout": tars.file(b".wh.w") + tars.hardlink(b"h", b"w"),
        "whiteout through a link": tars.symlink(b"l", absolute) + tars.file(b"l/.wh.secret"),
        "whiteout of dots": tars.file(b".wh...") + tars.file(b"d/.wh..") + tars.file(b".wh."),
        "whiteout with a slash": tars.file(b".wh./../outside/secret"),
        "whiteout as a directory": tars.symlink(b".wh.x", absolute) + tars.file(b".wh.x/ESC"),
        "opaque through a link": tars.symlink(b"l", absolute) + tars.file(b"l/.wh..wh..opq"),
        "opaque as a directory": tars.directory(b".wh..wh..opq/") + tars.file(b".wh..wh..opq/x"),
        "aufs's own": tars.hardlink(b".wh..wh.plnk/1", absolute + b"/secret"),
        "link at the root": tars.symlink(b".", absolute) + tars.file(b"ESC"),
        "loop": tars.symlink(b"l", b"l") + tars.file(b"l/ESC"),
        "magic link": tars.symlink(b"l", b"/proc/self/cwd") + tars.file(b"l/ESC"),
        "fifo as a parent": tars.header(b"p", b"6") + tars.file(b"p/ESC"),
        "file as a parent": tars.file(b"f") + tars.file(b"f/ESC"),
        "extended path": tars.pax({b"path": relative + b"/ESC"}) + tars.file(b"x"),
        "extended link": tars.pax({b"linkpath": absolute})
        + tars.symlink(b"l", b"x")
        + tars.file(b"l/ESC"),
        "prefix": tars.header(b"outside/ESC", prefix=b".."),
        "resolved beyond PATH_MAX": chain,
        "overlay's redirect": tars.pax({b"SCHILY.xattr.user.overlay.redirect": absolute})
        + tars.directory(b"d/"),
        "second name for a deep directory": long_chain,
    }
    return found


def malformed() -> dict[str, bytes]:
    """Archives that are none, or that lie about themselves."""
    record = b"path=x\n"
    return {
        "negative size": tars.header(b"x", size=b"\xff" * 12),
        "size beyond 64 bits": tars.header(b"x", size=b"\x80" + b"\x7f" * 11),
        "largest octal size": tars.header(b"x", size=b"7" * 12),
        "size of letters": tars.header(b"x", size=b"12x4"),
        "mode of letters": tars.header(b"x", mode=b"rwx"),
        "owner beyond 32 bits": tars.header(b"x", uid=b"\x80\0\0\xff\xff\xff\xff\xff"),
        "time beyond all bounds": tars.header(b"x", mtime=b"\x80" + b"\x7f" * 11),
        "wrong checksum": tars.header(b"x", checksum=b"000000\0 "),
        "no checksum": tars.header(b"x", checksum=b"        "),
        "extended size, negative": tars.pax({b"size": b"-1"}) + tars.file(b"x", b"y"),
        "extended size, huge": tars.pax({b"size": b"9" * 40}) + tars.file(b"x", b"y"),
        "extended size of letters": tars.pax({b"size": b"ten"}) + tars.file(b"x", b"y"),
        "extended owner, negative": tars.pax({b"uid": b"-1"}) + tars.file(b"x"),
        "extended path with a zero": tars.pax({b"path": b"a\0b"}) + tars.file(b"x"),
        "extended path, empty": tars.pax({b"path": b""}) + tars.file(b"x"),
        "extended path, long": tars.pax({b"path": b"a/" * 4000 + b"b"}) + tars.file(b"x"),
        "extended link, long": tars.pax({b"linkpath": b"a" * 9000}) + tars.symlink(b"l", b"x"),
        "record without a length": tars.header(b"p", b"x", size=7) + tars.padded(record),
        "record of no length": tars.header(b"p", b"x", size=9) + tars.padded(b"0 " + record),
        "record longer than it is": tars.header(b"p", b"x", size=10) + tars.padded(b"99 " + record),
        "record without its end": tars.header(b"p", b"x", size=9) + tars.padded(b"9 path=xy"),
        "extended header, huge": tars.header(b"p", b"x", size=1 << 30),
        "extended header for nothing": tars.pax({b"path": b"x"}),
        "global path": tars.header(b"g", b"g", size=9)
        + tars.padded(b"9 path=x\n")
        + tars.file(b"y"),
        "long name, huge": tars.header(b"././@LongLink", b"L", size=1 << 30),
        "long name with a zero": tars.gnu(b"L", b"a\0b") + tars.file(b"x"),
        "long name, empty": tars.gnu(b"L", b"") + tars.file(b"x"),
        "long link, long": tars.gnu(b"K", b"a" * 9000) + tars.symlink(b"l", b"x"),
        "old sparse file": tars.header(b"x", b"S", size=512) + bytes(512),
        "sparse file": tars.pax({b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"})
        + tars.file(b"x", b"1\n"),
        "part of a volume": tars.header(b"x", b"M", size=512) + bytes(512),
        "list of a directory": tars.header(b"x", b"D", size=512) + bytes(512),
        "unknown kind": tars.header(b"x", b"?"),
        "half a header": tars.header(b"x")[:300],
        "half a body": tars.header(b"x", size=4096) + b"half",
        "garbage": b"\xa5" * 2048,
        "something after the end": tars.file(b"x") + tars.END + tars.file(b"y"),
        "one empty block": tars.file(b"x") + bytes(512) + tars.file(b"y"),
    }


def odd(absolute: bytes) -> dict[str, bytes]:
    """Names, kinds and attributes that are possible, and nobody's wish."""
    return {
        "no name": tars.file(b""),
        "a slash": tars.file(b"/"),
        "a dot": tars.file(b"."),
        "dots alone": tars.file(b".."),
        "dots as a directory": tars.directory(b"../"),
        "slashes": tars.file(b"////a////b"),
        "component of 256 bytes": tars.pax({b"path": b"a" * 256}) + tars.file(b"x"),
        "names that are no text": tars.file(b"\xff\xfe/\x80") + tars.file(b"\xff\xfe\n"),
        "four hundred deep": tars.pax({b"path": b"d/" * 400 + b"f"}) + tars.file(b"x"),
        "a device of the host": tars.header(b"null", b"3", major=1, minor=3),
        "a disk of the host": tars.header(b"sda", b"4", major=8, minor=0),
        "a device beyond all bounds": tars.header(
            b"n", b"3", major=b"\x80\0\0\0\xff\xff\xff\xff", minor=1
        ),
        "a device that is a whiteout": tars.header(b"w", b"3") + tars.file(b"w/x"),
        "hard link to a device": tars.header(b"null", b"3", major=1, minor=3)
        + tars.hardlink(b"twin", b"null"),
        "hard link to a pipe": tars.header(b"p", b"6") + tars.hardlink(b"q", b"p"),
        "hard link to what comes later": tars.hardlink(b"h", b"f") + tars.file(b"f"),
        "hard link with content": tars.file(b"f", b"one")
        + tars.header(b"h", b"1", link=b"f", size=3)
        + tars.padded(b"two"),
        "link without a target": tars.symlink(b"l", b"") + tars.file(b"l/ESC"),
        "link to a disk": tars.symlink(b"l", b"/dev/null") + tars.file(b"l", b"out"),
        "link to this process": tars.symlink(b"l", b"/proc/self/root") + tars.file(b"l/ESC"),
        "pipe, then file": tars.header(b"p", b"6") + tars.file(b"p", b"x"),
        "file, directory, file": tars.file(b"x")
        + tars.directory(b"x/")
        + tars.file(b"x/y")
        + tars.file(b"x", b"z"),
        "directory, link, directory": tars.directory(b"d/")
        + tars.symlink(b"d", absolute)
        + tars.directory(b"d/", mode=0o777)
        + tars.file(b"d/ESC"),
        "whiteout of a directory in use": tars.file(b"d/e/f")
        + tars.file(b".wh.d")
        + tars.file(b"d/e/g"),
        "whiteout and file": tars.file(b".wh.f") + tars.file(b"f") + tars.file(b".wh.f"),
        "opaque twice": tars.file(b"d/.wh..wh..opq") + tars.file(b"d/.wh..wh..opq"),
        "overlay's opaque": tars.pax({b"SCHILY.xattr.trusted.overlay.opaque": b"y"})
        + tars.directory(b"d/"),
        "overlay's metacopy": tars.pax({b"SCHILY.xattr.user.overlay.metacopy": b""})
        + tars.file(b"f"),
        "overlay's origin": tars.pax({b"SCHILY.xattr.trusted.overlay.origin": b"x" * 30})
        + tars.file(b"f"),
        "access list": tars.pax({b"SCHILY.xattr.system.posix_acl_access": b"\2\0\0\0"})
        + tars.file(b"f"),
        "attribute of no space": tars.pax({b"SCHILY.xattr.nonsense": b"x"}) + tars.file(b"f"),
        "attribute of no name": tars.pax({b"SCHILY.xattr.": b"x"}) + tars.file(b"f"),
        "attribute, long": tars.pax({b"SCHILY.xattr.user." + b"n" * 300: b"x"}) + tars.file(b"f"),
        "attribute on a link": tars.pax({b"SCHILY.xattr.user.x": b"x"})
        + tars.symlink(b"l", absolute),
    }
