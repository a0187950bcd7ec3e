"""Small rules of the builder, each a pure function."""

from __future__ import annotations

import pytest

from builder.errors import OptionError
from builder.output.outputs import ArchiveOutput, ImageOutput, parse_output
from builder.plan import history
from builder.plan.chmod import InvalidMode, parse_chmod
from builder.plan.ports import PortError, parse_ports
from builder.plan.signals import valid_signal
from builder.plan.units import parse_size, parse_switch
from builder.plan.variables import Scope, proxy_variables
from runtime.image.layer.recipe import ZSTD
from runtime.image.model import Healthcheck


@pytest.mark.parametrize(
    ("text", "mode", "directory", "expected"),
    [
        ("755", 0o644, False, 0o755),
        ("0644", 0o777, False, 0o644),
        ("4755", 0, False, 0o4755),
        ("u+x", 0o644, False, 0o744),
        ("+x", 0o644, False, 0o755),
        ("a-w", 0o666, False, 0o444),
        ("u=rwX,go=rX", 0o600, False, 0o644),
        ("u=rwX,go=rX", 0o600, True, 0o755),
        ("u=rwX,go=rX", 0o700, False, 0o755),
        ("g=u", 0o640, False, 0o660),
        ("o=", 0o777, False, 0o770),
        ("u+s", 0o755, False, 0o4755),
        ("+t", 0o777, True, 0o1777),
        ("u=rw,u+x", 0o000, False, 0o700),
    ],
)
def test_chmod(text: str, mode: int, directory: bool, expected: int) -> None:
    assert parse_chmod(text)(mode, directory) == expected


@pytest.mark.parametrize("text", ["64a", "10000", "99", "", "u*x", "-1", "u+x,", "07777777"])
def test_invalid_chmod_is_said_in_buildkits_words(text: str) -> None:
    with pytest.raises(InvalidMode, match=r"invalid chmod parameter: '.*'\. it should be octal"):
        parse_chmod(text)


def test_ports_are_sorted_and_ranges_expanded() -> None:
    assert parse_ports(("8080-8082", "53/udp", "80/TCP")) == (
        "53/udp", "80/tcp", "8080/tcp", "8081/tcp", "8082/tcp",
    )  # fmt: skip
    assert parse_ports(("127.0.0.1:80:8080",)) == ("8080/tcp",)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("http", "invalid containerPort: http"),
        ("70000", "invalid containerPort: 70000"),
        ("80/http", 'invalid port: "80/http": invalid proto: http'),
        ("90-80", "invalid containerPort: 90-80"),
    ],
)
def test_invalid_ports(word: str, message: str) -> None:
    with pytest.raises(PortError, match=message):
        parse_ports((word,))


@pytest.mark.parametrize("name", ["SIGTERM", "term", "9", "SIGRTMIN+3", "RTMAX", "64"])
def test_signals(name: str) -> None:
    assert valid_signal(name)


@pytest.mark.parametrize("name", ["", "0", "65", "SIGFOO", "RTMIN+16", "x"])
def test_no_signals(name: str) -> None:
    assert not valid_signal(name)


def test_sizes_and_switches() -> None:
    assert parse_size("64m") == 64 << 20
    assert parse_size("1.5GiB") == 3 << 29
    assert parse_size("1024") == 1024
    assert parse_switch("T")
    assert not parse_switch("false")
    for text in ("", "m", "1x", "-1"):
        with pytest.raises(ValueError, match="invalid size"):
            parse_size(text)
    with pytest.raises(ValueError, match="invalid boolean"):
        parse_switch("yes")


def test_history_texts() -> None:
    assert history.run(("/bin/sh", "-c", "echo hi"), ()) == "RUN /bin/sh -c echo hi # buildkit"
    assert (
        history.run(("/bin/true",), (("A", "1"), ("B", ""))) == "RUN |2 A=1 B= /bin/true # buildkit"
    )
    assert history.quoted("CMD", ("/bin/sh", "-c", 'a "b"')) == 'CMD ["/bin/sh" "-c" "a \\"b\\""]'
    assert history.arguments((("a", "1"), ("b", None))) == "ARG a=1 b"
    assert (
        history.copy("COPY", ("a", "b"), "/d/", parents=True, chown="1:2", chmod=None)
        == "COPY --parents --chown=1:2 a b /d/ # buildkit"
    )
    assert history.healthcheck(
        Healthcheck(
            test=("CMD-SHELL", "x"), interval_ns=90 * 10**9, timeout_ns=1500 * 10**6, retries=3
        )
    ) == (
        "HEALTHCHECK {Test:[CMD-SHELL x] Interval:1m30s Timeout:1.5s StartPeriod:0s "
        "StartInterval:0s Retries:3}"
    )


def test_an_argument_after_env_is_seen_but_not_kept() -> None:
    scope = Scope(variables=(("PATH", "/bin"),)).with_env((("X", "a"),)).with_argument("X", "b")
    assert dict(scope.variables)["X"] == "b"
    assert scope.arguments == (("X", "b"),)
    assert scope.with_argument("Y", None) == scope
    assert dict(scope.with_env((("X", "c"),)).variables)["X"] == "c"


def test_proxies_are_passed_in_both_cases_unless_declared() -> None:
    build_args = {"http_proxy": "h", "NO_PROXY": "n", "FOO": "f"}
    assert dict(proxy_variables(build_args, ())) == {
        "HTTP_PROXY": "h", "http_proxy": "h", "NO_PROXY": "n", "no_proxy": "n",
    }  # fmt: skip
    assert "NO_PROXY" not in dict(proxy_variables(build_args, (("NO_PROXY", "n"),)))


def test_outputs() -> None:
    assert parse_output("type=oci,dest=a.tar") == ArchiveOutput(format="oci", destination="a.tar")
    assert parse_output("type=docker,dest=-,compression=zstd") == ArchiveOutput(
        format="docker", destination="-", recipe=ZSTD
    )
    assert parse_output("type=image,name=a") == ImageOutput(("a",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=oci", "needs dest=FILE"),
        ("type=foo", "unknown output type 'foo'"),
        ("type=oci,dest=x,colour=red", "has no option 'colour'"),
        ("type=oci,dest=x,compression=lzma", "unknown compression 'lzma'"),
    ],
)
def test_outputs_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_output(text)
