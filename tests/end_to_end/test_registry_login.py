"""Credentials: who is let in, what is kept of them, and where they never go."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.archives import Layout, layer
from support.cli import Lamina
from support.registry import PASSWORD, USER, Registry, Tls, make_tls, running_registry
from support.registry_images import Hand, new_image
from support.token_server import TokenServer, running_token_server

REPOSITORY = "private/app"


@pytest.fixture(scope="module")
def tls(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def locked(tls: Tls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with TLS and passwords, with an image."""
    folder = tmp_path_factory.mktemp("locked")
    with running_registry(folder, tls=tls, passwords=True) as running:
        layout = Layout()
        Hand(running).publish(REPOSITORY, "1", layout, layout.manifest(layer(a="a")))
        yield running


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    with running_token_server(tmp_path_factory.mktemp("tokens")) as running:
        yield running


@pytest.fixture(scope="module")
def bearer(tokens: TokenServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that takes tokens."""
    folder = tmp_path_factory.mktemp("bearer")
    with running_registry(folder, token=tokens.configuration) as running:
        yield running


class Home:
    """A user's settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.docker = folder / ".docker" / "config.json"
        self.environment = {
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "DOCKER_CONFIG": "",
            "REGISTRY_AUTH_FILE": "",
            "LAMINA_REGISTRIES": "",
        }

    def configure(self, text: str) -> None:
        path = self.folder / "config" / "lamina" / "registries.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def trust(self, registry: Registry) -> None:
        self.configure(f'[registries."{registry.host}"]\nca = "{registry.ca}"\n')


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def login(lamina: Lamina, home: Home, host: str, password: str, status: int = 0) -> str:
    arguments = ("login", "-u", USER, "--password-stdin", host)
    return lamina(
        *arguments, stdin=password + "\n", environment=home.environment, status=status
    ).text


def test_a_password_is_asked_for_verified_and_kept(
    bare_lamina: Lamina, locked: Registry, home: Home
) -> None:
    lamina, name = bare_lamina, f"{locked.host}/{REPOSITORY}:1"
    untrusted = lamina("pull", name, environment=home.environment, status=1).stderr
    assert "certificate cannot be trusted" in untrusted
    assert "registries.toml" in untrusted
    home.trust(locked)
    refused = lamina("pull", name, environment=home.environment, status=1).stderr
    assert f"lamina login {locked.host}" in refused
    assert "not accepted" in login(lamina, home, locked.host, "wrong", status=1)
    assert not home.docker.exists()
    home.docker.parent.mkdir()
    home.docker.write_text('{"HttpHeaders": {"A": "b"}, "auths": {"other.example.com": {}}}')
    login(lamina, home, locked.host, PASSWORD)
    kept = json.loads(home.docker.read_text())
    assert kept["HttpHeaders"] == {"A": "b"}
    assert "other.example.com" in kept["auths"]
    pair = base64.b64decode(kept["auths"][locked.host]["auth"]).decode()
    assert pair == f"{USER}:{PASSWORD}"
    assert stat.S_IMODE(os.stat(home.docker).st_mode) == 0o600
    lamina("pull", name, environment=home.environment)
    lamina("push", name, f"{locked.host}/private/other:1", environment=home.environment)
    lamina("logout", locked.host, environment=home.environment)
    assert list(json.loads(home.docker.read_text())["auths"]) == ["other.example.com"]
    lamina("pull", name, environment=home.environment, status=1)


def test_a_token_is_fetched_for_what_is_done(
    bare_lamina: Lamina, bearer: Registry, tokens: TokenServer, home: Home, tmp_path: Path
) -> None:
    lamina, name = bare_lamina, f"{bearer.host}/public/app:1"
    new_image(lamina, tmp_path, name, a="public")
    tokens.seen.clear()
    denied = lamina("push", name, environment=home.environment, status=1).stderr
    assert f"lamina login {bearer.host}" in denied
    login(lamina, home, bearer.host, PASSWORD)
    kept = json.loads(home.docker.read_text())["auths"][bearer.host]
    assert kept["identitytoken"] == tokens.identity_token
    assert PASSWORD not in base64.b64decode(kept["auth"]).decode()
    tokens.seen.clear()
    lamina("push", name, environment=home.environment)
    assert [(method, scopes) for method, scopes, _ in tokens.seen] == [
        ("POST", ("repository:public/app:pull,push",))
    ]
    lamina("rmi", name)
    lamina("logout", bearer.host, environment=home.environment)
    tokens.seen.clear()
    lamina("pull", name, environment=home.environment)
    assert tokens.seen == [("GET", ("repository:public/app:pull",), None)]
    other = f"{bearer.host}/private/app:1"
    assert "ERROR" in lamina("pull", other, environment=home.environment, status=1).stderr


def test_credential_helpers_are_called(bare_lamina: Lamina, locked: Registry, home: Home) -> None:
    home.trust(locked)
    helper = home.folder / "bin" / "docker-credential-tests"
    helper.parent.mkdir()
    helper.write_text(
        '#!/bin/sh\nf="$HOME/kept"\ncase "$1" in\n'
        'get) read -r s; test -e "$f" && cat "$f" && exit 0;'
        ' echo "credentials not found in native keychain"; exit 1;;\n'
        'store) cat > "$f";;\nerase) rm -f "$f";;\nesac\n'
    )
    helper.chmod(0o755)
    home.environment["PATH"] = f"{helper.parent}:{os.environ['PATH']}"
    home.docker.parent.mkdir()
    home.docker.write_text(json.dumps({"credHelpers": {locked.host: "tests"}}))
    login(bare_lamina, home, locked.host, PASSWORD)
    assert json.loads((home.folder / "kept").read_text())["Secret"] == PASSWORD
    assert PASSWORD not in home.docker.read_text()
    name = f"{locked.host}/{REPOSITORY}:1"
    bare_lamina("pull", name, environment=home.environment)
    bare_lamina("logout", locked.host, environment=home.environment)
    assert not (home.folder / "kept").exists()
    bare_lamina("pull", name, environment=home.environment, status=1)


def test_netrc_is_not_read(bare_lamina: Lamina, locked: Registry, home: Home) -> None:
    home.trust(locked)
    (home.folder / ".netrc").write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
    (home.folder / ".netrc").chmod(0o600)
    name = f"{locked.host}/{REPOSITORY}:1"
    bare_lamina("pull", name, environment=home.environment, status=1)


def test_settings_with_mistakes_are_refused(bare_lamina: Lamina, home: Home) -> None:
    home.configure('[registries."example.com"]\nmirors = ["mirror.example.com"]\n')
    said = bare_lamina("pull", "example.com/a", environment=home.environment, status=1).stderr
    assert "unknown key 'mirors'" in said
    assert "did you mean mirrors?" in said


def test_a_mirror_is_asked_first_and_passed_over_if_it_has_nothing(
    bare_lamina: Lamina, registry: Registry, locked: Registry, home: Home
) -> None:
    layout = Layout()
    top = layout.manifest(layer(m="mirrored"))
    Hand(registry).publish("hub/team/mirrored", "1", layout, top)
    home.configure(
        f'[registries."{locked.host}"]\nca = "{locked.ca}"\nmirrors = ["{registry.host}/hub"]\n'
    )
    name = f"{locked.host}/team/mirrored:1"
    bare_lamina("pull", name, environment=home.environment)
    assert bare_lamina.inspect(name)["RepoDigests"] == [
        f"{locked.host}/team/mirrored@{top['digest']}"
    ]
    login(bare_lamina, home, locked.host, PASSWORD)
    absent = bare_lamina(
        "pull", f"{locked.host}/{REPOSITORY}:1", environment=home.environment
    ).stderr
    assert "mirror passed over" in absent
