"""`--output` and `--annotation` as they are written, and what does not go together."""

from __future__ import annotations

import pytest

from builder.errors import OptionError
from builder.output.annotations import Annotation, Target, annotated, parse_annotation
from builder.output.export import check_outputs
from builder.output.outputs import (
    ArchiveOutput,
    CacheOutput,
    ImageOutput,
    LocalOutput,
    Output,
    TarOutput,
    parse_output,
    standard_outputs,
)
from builder.output.recipes import CompressionWords
from builder.output.result import Result, metadata
from runtime.image.digest import Digest
from runtime.image.layer.recipe import GZIP, UNCOMPRESSED, ZSTD, Compression, Recipe
from runtime.image.manifest import Descriptor
from runtime.image.platform import Platform
from runtime.image.reference import Reference

OCI = ArchiveOutput(format="oci", destination="f.tar")


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("out", LocalOutput("out")),
        ("./a/b", LocalOutput("./a/b")),
        ("-", TarOutput("-")),
        ("type=local,dest=out", LocalOutput("out")),
        ("type=local,dest=out,mode=copy,platform-split=false", LocalOutput("out", False)),
        ("type=tar,dest=f.tar", TarOutput("f.tar")),
        ("type=tar,dest=-", TarOutput("-")),
        ("type=oci,dest=f.tar", OCI),
        ('"type=oci","dest=a,b"', ArchiveOutput(format="oci", destination="a,b")),
        ("Type=oci,DEST=f.tar,oci-mediatypes=true", OCI),
        ("type=oci,dest=d,tar=false", ArchiveOutput(format="oci", destination="d", layout=True)),
        (
            "type=docker,dest=f,compression=uncompressed,name=a",
            ArchiveOutput(format="docker", destination="f", recipe=UNCOMPRESSED, names=("a",)),
        ),
        (
            "type=oci,dest=f.tar,annotation.a=b,annotation-index.c=d",
            ArchiveOutput(
                format="oci",
                destination="f.tar",
                annotations=(
                    Annotation((Target("manifest"),), "a", "b"),
                    Annotation((Target("index"),), "c", "d"),
                ),
            ),
        ),
        ("type=image", ImageOutput()),
        ('type=image,"name=a,b",push=false,store=true', ImageOutput(("a", "b"))),
        ("type=cacheonly", CacheOutput()),
    ],
)
def test_outputs(text: str, output: Output) -> None:
    assert parse_output(text) == output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=registry,ref=x", "has no option 'ref'"),
        ("type=image,compression=zstd", "the store keeps no manifests"),
        ("type=registry,oci-mediatypes=false,compression=zstd", "no layers compressed with zstd"),
        ("type=image,annotation.a=b", "cannot hold annotations"),
        ("type=image,push=perhaps", "true or false"),
        ("type=nosuch", "unknown output type 'nosuch'"),
        ("dest=x", "unknown output type ''"),
        ("type=oci", "needs dest=FILE"),
        ("type=local", "needs dest=DIR"),
        ("type=local,dest=-", "needs a directory"),
        ("type=local,dest=x,mode=delete", "mode=delete is not supported"),
        ("type=oci,dest=-,tar=false", "tar=false needs a directory"),
        ("type=oci,dest=x,compression=lzma", "unknown compression 'lzma'"),
        ("type=oci,dest=x,compression=estargz", "eStargz layers are read, but not written"),
        ("type=oci,dest=x,compression-level=10", "gzip: levels are 0 to 9, or best"),
        ("type=oci,dest=x,compression-level=-1", "'-1' is no level"),
        ("type=oci,dest=x,compression=zstd,compression-level=23", "zstd: levels are 0 to 22"),
        ("type=oci,dest=x,compression=uncompressed,compression-level=1", "has no level"),
        ("type=oci,dest=x,compression=zstd,reproducible-blobs=true", "from version to version"),
        ("type=oci,dest=x,force-compression=maybe", "true or false"),
        ("type=image,compression-level=9", "the store keeps no manifests"),
        ("type=oci,dest=x,rewrite-timestamp=true", "has no option 'rewrite-timestamp'"),
        ("type=tar,dest=x,annotation.a=b", "cannot hold annotations"),
        ("type=oci,dest", "invalid value 'dest'"),
    ],
)
def test_outputs_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_output(text)


@pytest.mark.parametrize(
    ("text", "words", "recipe"),
    [
        ("", CompressionWords(), GZIP),
        ("compression-level=best", CompressionWords(), Recipe(Compression.GZIP, "best")),
        ("force-compression=1", CompressionWords(), Recipe(Compression.GZIP, force=True)),
        ("compression=zstd", CompressionWords(level="9"), ZSTD),
        ("compression=zstd,compression-level=9", CompressionWords(), Recipe(Compression.ZSTD, 9)),
        ("", CompressionWords(compression="zstd", level="9"), Recipe(Compression.ZSTD, 9)),
        ("compression-level=1", CompressionWords(level="9"), Recipe(Compression.GZIP, 1)),
        ("", CompressionWords(reproducible=True), Recipe(Compression.GZIP, reproducible=True)),
        ("reproducible-blobs=false", CompressionWords(reproducible=True), GZIP),
        ("compression=zstd", CompressionWords(reproducible=True), ZSTD),
    ],
)
def test_what_an_output_does_not_say_of_compression_is_said_for_all(
    text: str, words: CompressionWords, recipe: Recipe
) -> None:
    output = parse_output(f"type=oci,dest=x,{text}".rstrip(","), words)
    assert isinstance(output, ArchiveOutput)
    assert output.recipe == recipe


def test_annotations_go_where_they_say() -> None:
    given = [
        parse_annotation("a=1"),
        parse_annotation("manifest,index:b=2"),
        parse_annotation("manifest-descriptor:c=x=y"),
        parse_annotation("org.example:d=4"),
        parse_annotation("a=9"),
        parse_annotation("manifest[linux/arm64]:e=5"),
    ]
    found = annotated(given, Platform("linux", "amd64"))
    assert found.manifest == (("a", "9"), ("b", "2"), ("org.example:d", "4"))
    assert found.index == (("b", "2"),)
    assert found.descriptor == (("c", "x=y"),)
    assert ("e", "5") in annotated(given, Platform("linux", "arm64")).manifest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "invalid annotation 'a'"),
        ("=a", "invalid annotation '=a'"),
        ("nosuch:a=b", "unknown annotation type"),
        ("index-descriptor:a=b", "has one index"),
        ("manifest[a/b/c/d]:a=b", "--annotation"),
        ("index[linux/arm64]:a=b", "not of one platform"),
    ],
)
def test_annotations_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_annotation(text)


def test_what_does_not_go_together() -> None:
    note = parse_annotation("a=b")
    both = (TarOutput("-"), ArchiveOutput(format="oci", destination="-"))
    assert standard_outputs(both) == 2
    with pytest.raises(OptionError, match="only one --output can write to standard output"):
        check_outputs(both, (), (), wants_image_id=False)
    with pytest.raises(OptionError, match="needs an archive"):
        check_outputs((LocalOutput("x"),), (note,), (), wants_image_id=False)
    with pytest.raises(OptionError, match="--iidfile"):
        check_outputs((LocalOutput("x"), TarOutput("y")), (), (), wants_image_id=True)
    check_outputs((LocalOutput("x"), OCI), (note,), (), wants_image_id=True)
    check_outputs((), (), (), wants_image_id=True)
    with pytest.raises(OptionError, match="tag is needed"):
        check_outputs((ImageOutput(push=True),), (), (), wants_image_id=False)


def test_metadata_names_the_manifest_where_there_is_one() -> None:
    image_id, manifest = Digest("sha256:" + "1" * 64), Digest("sha256:" + "2" * 64)
    plain = Result(image_id=image_id, names=())
    assert metadata(plain) == {
        "containerimage.config.digest": image_id,
        "containerimage.digest": image_id,
    }
    names = (Reference.parse("a"), Reference.parse("b:1"))
    descriptor = Descriptor(media_type="m", digest=manifest, size=3)
    told = metadata(Result(image_id=image_id, names=names, manifest=descriptor))
    assert told["containerimage.digest"] == manifest
    assert told["containerimage.descriptor"] == {"mediaType": "m", "digest": manifest, "size": 3}
    assert told["image.name"] == "docker.io/library/a:latest,docker.io/library/b:1"
