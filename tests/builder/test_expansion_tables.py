"""Every modifier of a variable, and every place where variables are expanded, by their names.

(dockerfile.md 1.3.) What they do in every corner is in test_grammar_words; here is that none is
forgotten.
"""

from __future__ import annotations

import pytest

from builder.cache.keys import identity
from builder.errors import BuildError
from builder.plan.build_plan import FoundImage, PlanOptions, plan
from grammar import DockerfileError, WordError, parse
from grammar.words import expand
from runtime.image.digest import Digest
from runtime.image.model import ImageConfig
from runtime.image.platform import Platform

VARIABLES = {"v": "a/b/a", "e": ""}


@pytest.mark.parametrize(
    ("modifier", "word", "expanded"),
    [
        ("$v", "$v", "a/b/a"),
        ("${v}", "${v}", "a/b/a"),
        ("${v:-w}", "${e:-w}", "w"),
        ("${v-w}", "${e-w}${u-w}", "w"),
        ("${v:+w}", "${v:+w}${e:+w}", "w"),
        ("${v+w}", "${e+w}${u+w}", "w"),
        ("${v:?msg}", "${v:?msg}", "a/b/a"),
        ("${v?msg}", "${e?msg}", ""),
        ("${v#p}", "${v#*/}", "b/a"),
        ("${v##p}", "${v##*/}", "a"),
        ("${v%p}", "${v%/*}", "a/b"),
        ("${v%%p}", "${v%%/*}", "a"),
        ("${v/p/r}", "${v/a/x}", "x/b/a"),
        ("${v//p/r}", "${v//a/x}", "x/b/x"),
    ],
    ids=lambda value: value,
)
def test_modifier(modifier: str, word: str, expanded: str) -> None:
    assert expand(word, VARIABLES).text == expanded


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("${e:?it is empty}", "it is empty"),
        ("${u?it is not set}", "it is not set"),
        *(
            (word, "unsupported modifier")
            for word in ("${v=w}", "${v:=w}", "${v:1}", "${v:1:2}", "${v^}", "${v^^}", "${v,,}")
        ),
        ("${}", "bad substitution"),
        ("${{v}", "bad substitution"),
        ("${:v}", "bad substitution"),
        ("${v", "missing '}'"),
        ("${v#\\x}", "invalid escape"),
    ],
    ids=lambda value: value,
)
def test_what_is_no_modifier(word: str, message: str) -> None:
    with pytest.raises(WordError) as caught:
        expand(word, VARIABLES)
    assert message in str(caught.value)
    assert str(caught.value).startswith("failed to process ")


class AnyImage:
    """Every name is an image."""

    def find(self, reference: str, platform: Platform) -> FoundImage:
        config = ImageConfig(architecture="amd64", created="2023-11-14T22:13:20Z")
        return FoundImage(reference, Digest("sha256:" + "1" * 64), config)


def planned(text: str) -> str:
    """The plan of a Dockerfile as JSON."""
    return identity(plan(parse(text), PlanOptions(platform=Platform("linux", "amd64")), AnyImage()))


def value(text: str, of: str) -> str:
    return f"FROM base\nARG V={of}\n{text}\n"


SHA256 = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("ARG V=expanded\nFROM $V\n", '"expanded"', id="FROM image"),
        pytest.param(
            "ARG V=arm64\nFROM --platform=linux/$V scratch\n", '"arm64"', id="FROM --platform"
        ),
        pytest.param("ARG V=expanded\nARG W=$V\nFROM $W\n", '"expanded"', id="ARG before FROM"),
        pytest.param(
            value("ARG W=<$V>\nRUN true", "expanded"), '["W","<expanded>"]', id="ARG default"
        ),
        pytest.param(value("COPY a$V /", "expanded"), '"aexpanded"', id="COPY source"),
        pytest.param(value("COPY a /$V", "expanded"), '"/expanded"', id="COPY destination"),
        pytest.param(
            value("COPY --chown=$V a /", "expanded"), '"chown":"expanded"', id="COPY --chown"
        ),
        pytest.param(value("COPY --chmod=$V a /", "0711"), '"chmod":"0711"', id="COPY --chmod"),
        pytest.param(value("ADD a$V /", "expanded"), '"aexpanded"', id="ADD source"),
        pytest.param(value("ADD a /$V", "expanded"), '"/expanded"', id="ADD destination"),
        pytest.param(
            value("ADD --chown=$V a /", "expanded"), '"chown":"expanded"', id="ADD --chown"
        ),
        pytest.param(value("ADD --chmod=$V a /", "0711"), '"chmod":"0711"', id="ADD --chmod"),
        pytest.param(
            value("ADD --checksum=$V http://127.0.0.1/a /", SHA256), SHA256, id="ADD --checksum"
        ),
        pytest.param(value("COPY <<E /a\n$V\nE", "expanded"), '"expanded\\n"', id="COPY heredoc"),
        pytest.param(value("ADD <<E /a\n$V\nE", "expanded"), '"expanded\\n"', id="ADD heredoc"),
        pytest.param(value("ENV $V=a", "expanded"), '["expanded","a"]', id="ENV key"),
        pytest.param(value("ENV a=$V", "expanded"), '["a","expanded"]', id="ENV value"),
        pytest.param(value("LABEL $V=a", "expanded"), '["expanded","a"]', id="LABEL key"),
        pytest.param(value("LABEL a=$V", "expanded"), '["a","expanded"]', id="LABEL value"),
        pytest.param(value("EXPOSE $V", "'1 2'"), '"1/tcp","2/tcp"', id="EXPOSE"),
        pytest.param(value("USER $V", "expanded"), '"user":"expanded"', id="USER"),
        pytest.param(value("VOLUME $V", "/expanded"), '"/expanded"', id="VOLUME"),
        pytest.param(value('VOLUME ["$V"]', "/expanded"), '"/expanded"', id="VOLUME array"),
        pytest.param(value("WORKDIR $V", "/expanded"), '"path":"/expanded"', id="WORKDIR"),
        pytest.param(value("STOPSIGNAL $V", "SIGHUP"), '"stop_signal":"SIGHUP"', id="STOPSIGNAL"),
        pytest.param(
            value("RUN --mount=target=$V true", "/expanded"),
            '"target":"/expanded"',
            id="RUN --mount",
        ),
    ],
)
def test_variables_are_expanded_in(text: str, expected: str) -> None:
    assert expected in planned(text)


def test_variables_are_expanded_in_an_onbuild_when_it_fires() -> None:
    text = "FROM base AS a\nENV V=/expanded\nONBUILD WORKDIR $V\nFROM a\n"
    assert '"path":"/expanded"' in planned(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN a $V", '"a $V"'),
        ('RUN ["a", "$V"]', '["a","$V"]'),
        ("RUN <<E\n$V\nE", "$V"),
        ("CMD a $V", '"a $V"'),
        ('CMD ["a", "$V"]', '["a","$V"]'),
        ("ENTRYPOINT a $V", '"a $V"'),
        ('ENTRYPOINT ["a", "$V"]', '["a","$V"]'),
        ("HEALTHCHECK CMD a $V", '"a $V"'),
        ('SHELL ["a", "$V"]', '["a","$V"]'),
        ("MAINTAINER $V", '"author":"$V"'),
        ("COPY --exclude=$V a /", '"exclude":["$V"]'),
        ("COPY <<'E' /a\n$V\nE", '"$V\\n"'),
    ],
    ids=lambda value: value,
)
def test_variables_are_left_alone_in(text: str, expected: str) -> None:
    assert expected in planned(value(text, "expanded"))


@pytest.mark.parametrize(
    "text",
    [
        "COPY --from=$V a /",
        "COPY --link=$V a /",
        "COPY --parents=$V a /",
        "ADD --keep-git-dir=$V a /",
        "ADD --unpack=$V a /",
        "RUN --network=$V true",
        "RUN --security=$V true",
        "RUN --mount=from=$V,target=/a true",
        "HEALTHCHECK --interval=$V CMD true",
        "HEALTHCHECK --retries=$V CMD true",
    ],
)
def test_variables_are_refused_in(text: str) -> None:
    with pytest.raises((BuildError, DockerfileError)):
        planned(value(text, "true"))
