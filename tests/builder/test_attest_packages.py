"""Packages found in images: by what real package managers leave, and by what means harm."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.attest.licenses import license_expression
from builder.attest.package import Distribution, Package, package_url
from builder.attest.rpm_database import UnreadableDatabase, rpm_packages
from builder.attest.scan import Scanned, scan
from builder.attest.spdx import spdx_document
from builder.attest.stanzas import apk_packages, dpkg_packages, python_package
from runtime.image.digest import sha256
from runtime.image.layer.view import TreeForm, View
from support.probes import need_tool

DEBIAN = Distribution(id="debian", version="12", name="Debian GNU/Linux 12 (bookworm)")
ID = sha256(b"image")


def scanned(folder: Path, files: Mapping[str, str | bytes]) -> Scanned:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return scan(View([TreeForm(str(folder))]))


def told(found: Scanned) -> list[tuple[str, str, str]]:
    return [(each.kind, each.name, each.version) for each in found.packages]


def test_dpkg_s_packages_are_those_dpkg_lists(tmp_path: Path) -> None:
    form = "${db:Status-Status} ${Package} ${Version} ${Architecture}\n"
    query = subprocess.run(
        [need_tool("dpkg-query"), "--show", "--showformat", form],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = (line.split() for line in query.stdout.splitlines())
    expected = sorted(tuple(line[1:]) for line in lines if line[0] == "installed")
    found = scanned(
        tmp_path,
        {
            "var/lib/dpkg/status": Path("/var/lib/dpkg/status").read_bytes(),
            "etc/os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian 12"\n',
        },
    )
    assert [(p.name, p.version, p.architecture) for p in found.packages] == expected
    assert found.distribution == Distribution(id="debian", version="12", name="Debian 12")


def test_parts_of_dpkg_s_status_and_removed_packages(tmp_path: Path) -> None:
    found = scanned(
        tmp_path,
        {
            "var/lib/dpkg/status.d/base": "Package: base-files\nVersion: 12\n",
            "var/lib/dpkg/status.d/base.md5sums": "Package: no\nVersion: no\n",
            "var/lib/dpkg/status": "Package: a\nStatus: deinstall ok config-files\nVersion: 1\n\n"
            "Package: b\nStatus: install ok installed\nVersion: 1:2-3\nSource: c (4)\n"
            "Description: x\n Version: 9\n",
        },
    )
    assert told(found) == [("deb", "b", "1:2-3"), ("deb", "base-files", "12")]
    assert found.packages[0].source == "c"


APK = """C:Q1abc=
P:musl
V:1.2.4-r2
A:x86_64
T:the musl c library
U:http://test.com/
L:MIT
o:musl
m:A Person <person@test.com>
F:lib
R:ld-musl-x86_64.so.1

P:busybox
V:1.36.1-r5
A:x86_64
L:GPL-2.0-only
"""


def test_apk_s_packages(tmp_path: Path) -> None:
    found = scanned(
        tmp_path, {"lib/apk/db/installed": APK, "etc/os-release": "ID=alpine\nVERSION_ID=3.18.0\n"}
    )
    assert told(found) == [("apk", "busybox", "1.36.1-r5"), ("apk", "musl", "1.2.4-r2")]
    musl = found.packages[1]
    assert (musl.license, musl.supplier) == ("MIT", "A Person <person@test.com>")
    url = "pkg:apk/alpine/musl@1.2.4-r2?arch=x86_64&distro=alpine-3.18.0"
    assert package_url(musl, found.distribution) == url


SPEC = """Name: thing
Version: 1.2
Release: 3
Epoch: 4
Summary: x
License: GPLv2+ and MIT
URL: http://test.com/
Vendor: Some One
BuildArch: noarch
%description
x
%files
"""


def test_rpm_s_packages(tmp_path: Path) -> None:
    (tmp_path / "spec").write_text(SPEC)
    rpm, build = need_tool("rpm"), need_tool("rpmbuild")
    defined = ["--define", f"_topdir {tmp_path}", "--define", f"_rpmdir {tmp_path}"]
    subprocess.run([build, "-bb", *defined, tmp_path / "spec"], capture_output=True, check=True)
    root = tmp_path / "root"
    root.mkdir()
    sqlite = ["--root", str(root), "--dbpath", "/var/lib/rpm", "--define", "_db_backend sqlite"]
    (package,) = tmp_path.glob("noarch/*.rpm")
    subprocess.run(
        [rpm, *sqlite, "--nodeps", "--nosignature", "--force-debian", "--install", package],
        capture_output=True, check=True,
    )  # fmt: skip
    found = scanned(root, {"usr/lib/os-release": "ID=fedora\nVERSION_ID=40\n"})
    assert told(found) == [("rpm", "thing", "4:1.2-3")]
    (thing,) = found.packages
    assert (thing.license, thing.supplier) == ("GPLv2+ and MIT", "Some One")
    assert thing.source == "thing-1.2-3.src.rpm"
    url = "pkg:rpm/fedora/thing@1.2-3?arch=noarch&distro=fedora-40&epoch=4"
    assert package_url(thing, found.distribution) == url


def test_older_databases_of_rpm_are_passed_over_with_a_word(tmp_path: Path) -> None:
    found = scanned(tmp_path, {"var/lib/rpm/Packages": b"BDB", "var/lib/rpm/rpmdb.sqlite": b"x"})
    assert found.packages == ()
    assert found.skipped == (
        ("/var/lib/rpm/Packages", "rpm's database is not of the kind that is read (SQLite)"),
        ("/var/lib/rpm/rpmdb.sqlite", "it is no SQLite database"),
    )
    document = json.loads(document_of(found))
    assert document["comment"].startswith("not looked into: /var/lib/rpm/Packages: rpm's")


def database(path: Path, *statements: str) -> bytes:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path.read_bytes()


def test_what_a_database_has_not_put_away_yet(tmp_path: Path) -> None:
    header = (
        struct.pack(">II", 2, 5) + struct.pack(">8I", 1000, 6, 0, 1, 1001, 6, 2, 1) + b"x\x001\x00"
    )
    connection = sqlite3.connect(tmp_path / "db")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE Packages (hnum INTEGER, blob BLOB)")
    connection.execute("INSERT INTO Packages VALUES (1, ?)", (header + b"\0",))
    connection.commit()
    data, log = (tmp_path / "db").read_bytes(), (tmp_path / "db-wal").read_bytes()
    connection.close()
    assert log
    found = scanned(
        tmp_path / "root",
        {"var/lib/rpm/rpmdb.sqlite": data, "var/lib/rpm/rpmdb.sqlite-wal": log},
    )
    assert told(found) == [("rpm", "x", "1")]


def test_databases_that_mean_harm(tmp_path: Path) -> None:
    endless = database(
        tmp_path / "a",
        "CREATE VIEW Packages AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c)"
        " SELECT x AS hnum, x AS blob FROM c",
    )
    with pytest.raises(UnreadableDatabase, match="interrupted"):
        list(rpm_packages(endless, b"", "/x"))
    other = database(tmp_path / "b", "CREATE TABLE Other (x)")
    with pytest.raises(UnreadableDatabase, match="no such table"):
        list(rpm_packages(other, b"\0" * 100, "/x"))
    liar = struct.pack(">II", 1 << 31, 1 << 31) + struct.pack(">IIII", 1000, 6, 1 << 30, 1)
    table = database(tmp_path / "c", "CREATE TABLE Packages (hnum INTEGER, blob BLOB)",
                     f"INSERT INTO Packages VALUES (1, x'{liar.hex()}')")  # fmt: skip
    assert list(rpm_packages(table, b"", "/x")) == []


def test_python_s_packages_are_those_python_lists(tmp_path: Path) -> None:
    (site,) = {Path(p) for p in sys.path if p.endswith("site-packages")}
    shutil.copytree(
        site, tmp_path / "site",
        ignore=lambda folder, names: [
            name for name in names
            if Path(folder) == site and not name.endswith((".dist-info", ".egg-info"))
        ],
    )  # fmt: skip
    found = told(scanned(tmp_path, {}))
    listed = importlib.metadata.distributions(path=[str(tmp_path / "site")])
    assert sorted(found) == sorted(("pypi", d.metadata["Name"], d.version) for d in listed)
    assert ("pypi", "pytest", importlib.metadata.version("pytest")) in found


def test_older_python_packages(tmp_path: Path) -> None:
    text = "Metadata-Version: 2.1\nName: Some_Thing\nVersion: 1.0\nLicense: UNKNOWN\n\nName: no\n"
    found = scanned(tmp_path, {"a/x.egg-info/PKG-INFO": text, "b/y.egg-info": text,
                               "c/METADATA": text, "d/z.dist-info/METADATA": "no"})  # fmt: skip
    assert [each.place for each in found.packages] == ["/a/x.egg-info/PKG-INFO", "/b/y.egg-info"]
    assert package_url(found.packages[0], DEBIAN) == "pkg:pypi/some-thing@1.0"
    assert python_package("", "x") is None


def test_npm_s_packages(tmp_path: Path) -> None:
    def module(name: str, **members: object) -> str:
        return json.dumps({"name": name, "version": "1.0.0", **members})

    found = scanned(
        tmp_path,
        {
            "app/package.json": module("app"),
            "app/node_modules/a/package.json": module("a", license="MIT"),
            "app/node_modules/a/lib/package.json": module("no"),
            "app/node_modules/a/node_modules/b/package.json": module("b", license={"type": "ISC"}),
            "app/node_modules/@s/c/package.json": module("@s/c", author={"name": "Me"}),
            "app/node_modules/.cache/d/package.json": module("no"),
            "app/node_modules/.bin/package.json": module("no"),
            "app/node_modules/e/package.json": '{"name": 3}',
            "app/node_modules/f/package.json": "[",
        },
    )
    assert told(found) == [("npm", "@s/c", "1.0.0"), ("npm", "a", "1.0.0"), ("npm", "b", "1.0.0")]
    assert [each.license for each in found.packages] == ["", "MIT", "ISC"]
    assert package_url(found.packages[0], DEBIAN) == "pkg:npm/%40s/c@1.0.0"
    assert [path for path, _ in found.skipped] == ["/app/node_modules/f/package.json"]


def test_upper_layers_hide_what_was_removed(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    scanned(lower, {"a/x.egg-info": "Name: x\nVersion: 1\n", "b/y.egg-info": "Name: y\nVersion: 1"})
    (upper / "b").mkdir(parents=True)
    (upper / "b" / "y.egg-info").symlink_to("nothing")
    found = scan(View([TreeForm(str(lower)), TreeForm(str(upper))]))
    assert told(found) == [("pypi", "x", "1")]


@pytest.mark.parametrize(
    ("package", "url"),
    [
        (("deb", "g++", "4:12.2-1+b1"), "pkg:deb/debian/g%2B%2B@4:12.2-1%2Bb1?distro=debian-12"),
        (("npm", "left-pad", "1.3.0"), "pkg:npm/left-pad@1.3.0"),
        (("pypi", "Foo_Bar", ""), "pkg:pypi/foo-bar"),
        (("rpm", "a b", "1-2"), "pkg:rpm/debian/a%20b@1-2?distro=debian-12"),
    ],
)
def test_package_urls(package: tuple[str, str, str], url: str) -> None:
    kind, name, version = package
    made = Package(kind=kind, name=name, version=version, place="/x")  # type: ignore[arg-type]
    assert package_url(made, DEBIAN) == url


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("MIT", "MIT"),
        ("(MIT OR Apache-2.0) AND Zlib", "(MIT OR Apache-2.0) AND Zlib"),
        ("GPLv2+", None),
        ("MIT License", None),
        ("MIT AND", None),
        ("(MIT", None),
        ("MIT)", None),
        ("", None),
    ],
)
def test_license_expressions(text: str, expression: str | None) -> None:
    assert license_expression(text) == expression


def document_of(found: Scanned) -> bytes:
    return spdx_document(
        found,
        name="test.com/app:v1",
        image_id=ID,
        created="2024-01-02T03:04:05.6Z",
        tool="lamina-1",
    )


def test_the_document_is_spdx(tmp_path: Path) -> None:
    found = scanned(
        tmp_path,
        {
            "lib/apk/db/installed": APK,
            "var/lib/dpkg/status": Path("/var/lib/dpkg/status").read_bytes(),
            "etc/os-release": "ID=debian\n",
            "s/x.egg-info": "Name: x\nVersion: 1\nLicense: My Own\nAuthor: A (B) <c\nHome-page: n",
        },
    )
    document = document_of(found)
    assert document == document_of(found)
    told = json.loads(document)
    assert told["creationInfo"] == {
        "created": "2024-01-02T03:04:05Z",
        "creators": ["Tool: lamina-1"],
    }
    assert told["documentDescribes"] == ["SPDXRef-Image"]
    assert len(told["packages"]) == len(found.packages) + 2
    python = next(each for each in told["packages"] if each["name"] == "x")
    assert python["licenseDeclared"] == "NOASSERTION"
    assert python["licenseComments"] == "declared as: My Own"
    path = tmp_path / "sbom.spdx.json"
    path.write_bytes(document)
    checked = subprocess.run(
        [Path(sys.executable).with_name("pyspdxtools"), "--infile", path],
        capture_output=True, text=True,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


def test_other_content_is_another_document(tmp_path: Path) -> None:
    one = json.loads(document_of(scanned(tmp_path / "a", {})))
    two = json.loads(document_of(scanned(tmp_path / "b", {"x.egg-info": "Name: x\nVersion: 1"})))
    assert one["documentNamespace"] != two["documentNamespace"]


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    found = [*dpkg_packages(text, "/x"), *apk_packages(text, "/x")]
    python = python_package(text, "/x")
    packages = tuple(found if python is None else [*found, python])
    document_of(Scanned(packages=packages, distribution=None))
