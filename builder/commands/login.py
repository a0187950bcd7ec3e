"""`lamina login` and `logout`."""

from __future__ import annotations

import sys

import click

from builder.commands.failures import say
from builder.commands.registry_options import auth_files, registry_host, registry_session
from builder.errors import OptionError
from runtime.image.reference import DEFAULT_DOMAIN

_AUTHFILE = click.option("--authfile", metavar="FILE", help="Where credentials are kept.")


@click.command("login", short_help="Log in to a registry.")
@click.argument("registry", default=DEFAULT_DOMAIN)
@click.option("-u", "--username", metavar="NAME")
@click.option("-p", "--password", metavar="PASSWORD", help="Better: --password-stdin.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@_AUTHFILE
def login_command(
    registry: str,
    username: str | None,
    password: str | None,
    password_stdin: bool,
    authfile: str | None,
) -> int:
    """Log in to REGISTRY, and keep the credentials once it has accepted them."""
    from builder.transfers import TransferLines
    from runtime.image.registry.credentials import Login
    from runtime.image.registry.login import verify

    host = registry_host(registry)
    login = Login(
        username=_username(username, password_stdin),
        password=_password(password, password_stdin),
    )
    with registry_session(TransferLines(say, "pull"), authfile=authfile) as session:
        kept = verify(session, host, login)
    where = auth_files(authfile).store(host, kept)
    if "/" in where:
        say(f"the credentials are not encrypted in {where}")
    click.echo("Login Succeeded")
    return 0


@click.command("logout", short_help="Log out of a registry.")
@click.argument("registry", default=DEFAULT_DOMAIN)
@_AUTHFILE
def logout_command(registry: str, authfile: str | None) -> int:
    """Forget the credentials for REGISTRY."""
    host = registry_host(registry)
    if auth_files(authfile).erase(host):
        click.echo(f"Removed the credentials for {host}")
    else:
        click.echo(f"Not logged in to {host}")
    return 0


def _username(given: str | None, from_stdin: bool) -> str:
    if given is None:
        if from_stdin or not sys.stdin.isatty():
            raise OptionError("a user name is needed", hint="-u NAME")
        given = click.prompt("Username", err=True)
    if not given or ":" in given:
        raise OptionError(f"{given!r} is no user name")
    return given


def _password(given: str | None, from_stdin: bool) -> str:
    if given is not None:
        if from_stdin:
            raise OptionError("--password and --password-stdin are one too many")
        say("WARNING: --password shows the password to others: --password-stdin does not")
    elif from_stdin:
        given = sys.stdin.read().rstrip("\r\n")
    elif sys.stdin.isatty():
        given = click.prompt("Password", hide_input=True, err=True)
    else:
        raise OptionError("a password is needed", hint="--password-stdin")
    if not given:
        raise OptionError("the password is empty")
    return given
