"""`lamina serve`."""

from __future__ import annotations

import click

from builder.commands.failures import say
from builder.commands.opened import opened_store
from builder.errors import OptionError

_DEFAULT = "127.0.0.1:5000"
_LAST_PORT = 65535


@click.command("serve", short_help="Offer the store's images as a registry.")
@click.option(
    "-l", "--listen", metavar="ADDRESS[:PORT]", default=_DEFAULT, show_default=True,
    help="Where to listen; port 0 is any that is free.",
)  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Say nothing of requests.")
@click.pass_obj
def serve_command(root: str, listen: str, quiet: bool) -> int:
    """Offer the images of the store to docker pull and others, for reading only.

    `app` in the store is ADDRESS:PORT/app. Everybody who can reach the address can read every image
    that has a name: there is no login, and nothing is encrypted.
    """
    from runtime.image.registry.catalog import Catalog
    from runtime.image.registry.serving import RegistryServer

    host, port = _address(listen)
    with opened_store(root) as store:
        try:
            server = RegistryServer(host, port, Catalog(store), _unsaid if quiet else say)
        except OSError as error:
            say(f"ERROR: cannot listen on {listen}: {error.strerror or error}")
            return 1
        with server:
            click.echo(f"serving {root} at {server.address}")
            server.serve_forever()
    return 0


def _unsaid(_line: str) -> None:
    """Nobody wants to know."""


def _address(text: str) -> tuple[str, int]:
    """`host`, `host:port`, `:port` or `[v6]:port`."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, _DEFAULT.rpartition(":")[2]
    bracketed = host.startswith("[") and host.endswith("]")
    if (
        not port.isascii()
        or not port.isdigit()
        or int(port) > 65535
        or (":" in host and not bracketed)
    ):
        raise OptionError(
            f"invalid --listen {text!r}", hint="ADDRESS:PORT, with IPv6 in brackets: [::1]:5000"
        )
    return (host[1:-1] if bracketed else host) or "127.0.0.1", int(port)
