"""What every command that talks to registries begins with: files, credentials, patience."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from builder.errors import OptionError

if TYPE_CHECKING:
    from builder.events import Emit
    from builder.fetching import Direction, OpenSession
    from runtime.image.registry.auth_file import AuthFiles
    from runtime.image.registry.configuration import Registries
    from runtime.image.registry.session import Session
    from runtime.image.registry.signature_form import PrivateKey
    from runtime.image.registry.transfer_events import Report
    from runtime.image.registry.trust import Trust

_MOST_ATTEMPTS = 100
_LONGEST_KEY = 1 << 16


def registry_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that pulling and pushing have in common; `registry_session` takes them."""
    for option in reversed((
        click.option("--authfile", metavar="FILE",
                     help="Where credentials are. [default: $REGISTRY_AUTH_FILE, or podman's and"
                     " docker's own]"),
        click.option("--retry", "retries", type=click.IntRange(0, _MOST_ATTEMPTS), default=4,
                     show_default=True, help="How often a failed transfer is tried again."),
        click.option("--retry-delay", metavar="SECONDS", type=click.FloatRange(0, 3600),
                     default=0.5, show_default=True, help="The first pause; they double."),
    )):  # fmt: skip
        command = option(command)
    return command


@contextmanager
def registry_session(
    report: Report, *, authfile: str | None = None, retries: int = 4, retry_delay: float = 0.5
) -> Iterator[Session]:
    """A session with the user's settings and credentials."""
    from runtime.image.registry.retries import RetryPolicy
    from runtime.image.registry.session import Session

    policy = RetryPolicy(attempts=retries + 1, first_seconds=retry_delay)
    keeper = auth_files(authfile)
    registries, trust = user_registries(), user_trust()
    with Session(registries, keeper, report=report, policy=policy, trust=trust) as session:
        yield session


def build_sessions(emit: Emit) -> OpenSession:
    """How a build asks registries: what happens becomes its events."""

    @contextmanager
    def open_session(name: str, direction: Direction) -> Iterator[Session]:
        from builder.events import Transferred
        from builder.transfers import TransferLines

        lines = TransferLines(lambda line: emit(Transferred(name=name, what=line)), direction)
        with registry_session(lines) as session:
            yield session

    return open_session


@contextmanager
def shown_session(name: str, direction: Direction) -> Iterator[Session]:
    """How other commands fetch an image that they lack: shown on standard error."""
    from builder.commands.failures import say
    from builder.transfers import transfers_to

    say(f"Fetching {name}")
    with registry_session(transfers_to(sys.stderr, direction)) as session:
        yield session


@contextmanager
def quiet_session(_name: str, _direction: Direction) -> Iterator[Session]:
    """As `shown_session`, and nothing is shown; errors are."""
    from builder.transfers import no_transfers

    with registry_session(no_transfers) as session:
        yield session


def user_registries() -> Registries:
    """registries.toml: $LAMINA_REGISTRIES, or the machine's and the user's own over it."""
    from runtime.image.registry.configuration import read_registries

    chosen = os.environ.get("LAMINA_REGISTRIES")
    if chosen:
        return read_registries((chosen,))
    own = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return read_registries(
        ("/etc/lamina/registries.toml", os.path.join(own, "lamina", "registries.toml"))
    )


def user_trust() -> Trust:
    """policy.toml: the machine's, and the user's own or $LAMINA_POLICY besides."""
    from runtime.image.registry.trust import read_trust

    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    own = os.environ.get("LAMINA_POLICY") or os.path.join(config, "lamina", "policy.toml")
    return read_trust(("/etc/lamina/policy.toml", own))


def signing_key(path: str) -> PrivateKey:
    """The key to sign with; `SigningError`."""
    from runtime.image.registry.signature_form import PrivateKey

    password = os.environ.get("LAMINA_SIGN_PASSWORD")
    with open(path, "rb") as file:
        pem = file.read(_LONGEST_KEY)
    return PrivateKey(pem, None if password is None else password.encode(), path)


def auth_files(authfile: str | None) -> AuthFiles:
    """Where credentials are looked for, as podman and docker do; docker's file is written."""
    from runtime.image.registry.auth_file import AuthFiles

    chosen = authfile or os.environ.get("REGISTRY_AUTH_FILE")
    if chosen:
        return AuthFiles((chosen,), chosen)
    run = os.environ.get("XDG_RUNTIME_DIR") or f"/run/containers/{os.getuid()}"
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    docker = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    own = os.path.join(docker, "config.json")
    paths = (
        os.path.join(run, "containers", "auth.json"),
        os.path.join(config, "containers", "auth.json"),
        own,
    )
    return AuthFiles(paths, own)


def registry_host(text: str) -> str:
    """A registry as people name it: `host[:port]`, perhaps as an address."""
    from runtime.image.errors import InvalidReference
    from runtime.image.reference import DEFAULT_DOMAIN, LEGACY_DEFAULT_DOMAIN, Reference

    host = text.partition("://")[2] or text
    host = host.partition("/")[0]
    if host in ("", LEGACY_DEFAULT_DOMAIN):
        host = DEFAULT_DOMAIN
    try:
        if Reference.parse(f"{host}/x/x").domain == host:
            return host
    except InvalidReference:
        pass
    raise OptionError(f"{text!r} is no registry", hint="HOST or HOST:PORT")
