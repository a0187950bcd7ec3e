"""`lamina container …`, `image …` and `system …`: docker's longer names of the same commands."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping

import click

from builder.commands.container_prune import container_prune_command, image_prune_command

_SAME = (
    "attach", "commit", "cp", "create", "diff", "exec", "export", "kill", "inspect", "logs",
    "pause", "port", "rename", "restart", "rm", "run", "start", "stats", "stop", "top", "unpause",
    "update", "wait",
)  # fmt: skip
_SAME_OF_IMAGES = (
    "build", "history", "import", "inspect", "load", "pull", "push", "save", "tag",
)  # fmt: skip
_CONTAINER = {**{name: name for name in _SAME}, "list": "ps", "ls": "ps", "ps": "ps"}
_IMAGE = {
    **{name: name for name in _SAME_OF_IMAGES}, "list": "images", "ls": "images", "rm": "rmi",
}  # fmt: skip
_SYSTEM = {"df": "df", "events": "events", "info": "info"}


class _Aliases(click.Group):
    """A group of commands that are `lamina`'s own under shorter names, those that there are.

    `kind` is what `inspect` in it looks for.
    """

    aliases: Mapping[str, str] = {}
    kind = ""

    def list_commands(self, ctx: click.Context) -> list[str]:
        root = ctx.find_root()
        group = root.command
        assert isinstance(group, click.Group)
        known = set(group.list_commands(root))
        return sorted({*self.commands, *(n for n, own in self.aliases.items() if own in known)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in self.aliases:
            return own
        root = ctx.find_root()
        group = root.command
        assert isinstance(group, click.Group)
        found = group.get_command(root, self.aliases[cmd_name])
        if found is not None and cmd_name == "inspect":
            return _of_kind(found, self.kind)
        return found


def _of_kind(command: click.Command, kind: str) -> click.Command:
    """`inspect` for one kind of thing."""
    narrowed = copy.copy(command)
    narrowed.params = [each for each in command.params if each.name != "kind"]
    assert command.callback is not None
    narrowed.callback = functools.partial(command.callback, kind=kind)
    return narrowed


def _group(name: str, names: Mapping[str, str], text: str) -> click.Group:
    kind = type("Aliases", (_Aliases,), {"aliases": names, "kind": name})
    group: click.Group = kind(name, help=text, short_help=text)
    return group


container_command = _group("container", _CONTAINER, "Containers: docker's longer names.")
container_command.add_command(container_prune_command)
image_command = _group("image", _IMAGE, "Images: docker's longer names.")
image_command.add_command(image_prune_command)
system_command = _group("system", _SYSTEM, "The store: docker's longer names.")


@system_command.command("prune", short_help="Make room.")
@click.option("-a", "--all", "everything", is_flag=True, help="All images without a container.")
@click.option("--volumes", is_flag=True, help="Also anonymous volumes that no container has.")
@click.option("--filter", "filters", multiple=True, metavar="until=…")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_context
def system_prune_command(
    ctx: click.Context, everything: bool, volumes: bool, filters: tuple[str, ...], force: bool
) -> int:
    """Remove containers that do not run, then what `lamina prune` removes."""
    from builder.commands.confirm import confirmed
    from builder.commands.container_prune import prune_containers
    from builder.commands.prune import prune_command

    warning = "WARNING! This will remove all stopped containers, and what `lamina prune` removes."
    if not force and not confirmed(warning):
        return 1
    removed, _ = prune_containers(ctx.obj, filters)
    if removed:
        click.echo("Deleted Containers:\n" + "\n".join(removed) + "\n")
    status: int = ctx.invoke(
        prune_command,
        everything=everything,
        volumes=volumes,
        filters=filters,
        force=True,
        keep_storage=None,
        max_inodes=None,
    )
    return status
