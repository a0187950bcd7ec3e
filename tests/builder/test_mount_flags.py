"""`RUN --mount=…`, in BuildKit's words where it is wrong."""

from __future__ import annotations

import pytest

from builder.plan.mounts import MountError, parse_mount
from builder.plan.steps import (
    BindRequest,
    CacheRequest,
    FromStage,
    Input,
    MountRequest,
    SecretRequest,
    SshRequest,
    TmpfsRequest,
)


def find_input(name: str) -> Input:
    return FromStage({"base": 0}[name])


def read(text: str, workdir: str = "/work", number: int = 0) -> MountRequest:
    return parse_mount(
        text,
        workdir=workdir,
        number=number,
        expand=lambda word: word.replace("$DIR", "/dir"),
        find_input=find_input,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target=/x", BindRequest(target="/x")),
        ("type=bind,dst=sub,src=a/b", BindRequest(target="/work/sub", source="/a/b")),
        ("source=/a,target=/b,rw", BindRequest(target="/b", source="/a", read_write=True)),
        ("type=bind", BindRequest(target="/work")),
        ("from=base,target=/x", BindRequest(target="/x", input=FromStage(0))),
        ("type=cache,target=$DIR/c", CacheRequest(target="/dir/c", id="/dir/c")),
        (
            "type=cache,id=x,target=/c,sharing=locked,mode=0700,uid=1,gid=2,ro",
            CacheRequest(
                target="/c", id="x", sharing="locked", mode=0o700, uid=1, gid=2, read_only=True
            ),
        ),
        ("type=tmpfs,target=/t,size=1m", TmpfsRequest(target="/t", size=1 << 20)),
        ("type=secret,id=a", SecretRequest(id="a", target="/run/secrets/a")),
        ("type=secret,id=a,env=A", SecretRequest(id="a", target=None, env="A")),
        (
            "type=secret,target=/s/key,required",
            SecretRequest(id="key", target="/s/key", required=True),
        ),
        ("type=ssh", SshRequest(id="default", target="/run/buildkit/ssh_agent.0")),
        ('"type=cache","target=/a,b"', CacheRequest(target="/a,b", id="/a,b")),
        ("TYPE=tmpfs,Target=/t", TmpfsRequest(target="/t")),
    ],
)
def test_mounts(text: str, expected: MountRequest) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("typ=tmpfs", r"unexpected key 'typ' in 'typ=tmpfs' \(did you mean type\?\)"),
        ("type=tmpf,target=/t", r'unsupported mount type "tmpf" \(did you mean tmpfs\?\)'),
        ("target", "invalid field 'target' must be a key=value pair"),
        ("type=bind,target=/", 'invalid mount target "/"'),
        ("type=bind,target=/x,mode=0700", 'mode not allowed for "bind" type mounts'),
        ("type=cache,target=/c,sharing=lock", 'unsupported sharing value "lock"'),
        ("from=$X,target=/x", "'from' doesn't support variable expansion, define alias stage"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=cache,target=/c,uid=bob", "invalid value bob for uid"),
        ("type=cache,target=/c,mode=9", "invalid value 9 for mode"),
        ("type=tmpfs,target=/t,size=big", "invalid size: 'big'"),
        ('"target=/x', "failed to parse csv mounts"),
    ],
)
def test_mounts_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(MountError, match=message):
        read(text)


def test_a_bind_mount_without_target_needs_a_workdir() -> None:
    with pytest.raises(MountError, match='invalid mount target "/"'):
        read("type=bind", workdir="/")
