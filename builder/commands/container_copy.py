"""`lamina cp`: files from a container and to it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from builder.commands.failures import say
from builder.commands.tables import size_text
from builder.errors import OptionError
from runtime.containers.folder import find_container
from runtime.containers.opened_root import OpenedRoot, opened_root
from runtime.containers.prepare import event
from runtime.containers.record import Container
from runtime.copying.items import CopyFailed, Item
from runtime.copying.places import ContainerPlace, HostPlace, Place, last_place, mode_at
from runtime.copying.reading import read_tree
from runtime.copying.writing import TreeWriter
from runtime.owner_record import has_one_id

Owner = Callable[[Item], tuple[int, int]]


@click.command("cp", short_help="Copy files from a container or to it.")
@click.argument("source", metavar="[CONTAINER:]SOURCE|-")
@click.argument("destination", metavar="[CONTAINER:]DESTINATION|-")
@click.option("-a", "--archive", is_flag=True, help="Keep owners.")
@click.option("-L", "--follow-link", "follow", is_flag=True, help="SOURCE itself may be a link.")
@click.option("-q", "--quiet", is_flag=True, help="Do not say what was copied.")
@click.pass_obj
def cp_command(
    root: str, /, source: str, destination: str, archive: bool, follow: bool, quiet: bool
) -> int:
    """Copy a file or directory between a container, running or not, and this machine.

    `-` is a tar on standard input, unpacked in the directory DESTINATION, or on standard output.
    A SOURCE that ends with `/.` is its content. In the container files belong to root, here to
    you; with -a to whom they belong at their source.
    """
    from_name, from_path = _split(source)
    to_name, to_path = _split(destination)
    if from_name is not None and to_name is not None:
        raise OptionError("copying between containers is not supported", hint="lamina cp … -")
    if from_name is None and to_name is None:
        raise OptionError("one of SOURCE and DESTINATION must be in a container: NAME:PATH")
    container = find_container(root, from_name or to_name or "")
    with opened_root(root, container) as opened:
        if from_name is not None:
            text = _from(opened, container, from_path, to_path, archive=archive, follow=follow)
            event(container, "archive-path", path=from_path)
        else:
            text = _to(opened, container, from_path, to_path, archive=archive, follow=follow)
            event(container, "extract-to-dir", path=to_path)
    if not quiet and to_path != "-":
        say(f"Successfully copied {text} to {destination}")
    return 0


def _split(text: str) -> tuple[str | None, str]:
    """A container's name and a path in it, or `None` and a path of this machine's."""
    name, colon, path = text.partition(":")
    if not colon or text.startswith(("/", ".")) or not name or "/" in name:
        return None, text
    return name, path


def _from(
    opened: OpenedRoot,
    container: Container,
    source: str,
    destination: str,
    *,
    archive: bool,
    follow: bool,
) -> str:
    place = ContainerPlace(opened.fd)
    path = b"/" + os.fsencode(source).lstrip(b"/")
    if archive and has_one_id() and destination != "-":
        raise OptionError("-a: files cannot be given to others by who has one id", hint="cp … -")
    fd = _open(place, path, f"{container.name}:{source}", follow=follow)
    try:
        if destination == "-":
            from runtime.copying.tars import write_tar

            if sys.stdout.isatty():
                raise OptionError("refusing to write an archive to a terminal")
            name = _name(path) or b"."
            with os.fdopen(os.dup(1), "wb") as out:
                return size_text(write_tar(_owned(read_tree(fd), opened.inside), out, name))
        us = os.geteuid(), os.getegid()

        def owner(item: Item) -> tuple[int, int]:
            return (item.uid, item.gid) if archive else us

        items = _owned(read_tree(fd), opened.inside)
        return _copy(fd, items, path, HostPlace(), os.fsencode(destination), destination, owner)
    finally:
        os.close(fd)


def _to(
    opened: OpenedRoot,
    container: Container,
    source: str,
    destination: str,
    *,
    archive: bool,
    follow: bool,
) -> str:
    place = ContainerPlace(opened.fd)
    path = b"/" + os.fsencode(destination).lstrip(b"/")
    shown = f"{container.name}:{destination}"
    if source == "-":
        mode = mode_at(place, path)
        if mode is None or not stat.S_ISDIR(mode):
            raise CopyFailed(f"destination {shown} must be a directory")
        with opened.entitled():
            return _unpack(opened, place, path)

    def owner(item: Item) -> tuple[int, int]:
        return (item.uid, item.gid) if archive else opened.owner

    given = os.fsencode(source)
    fd = _open(HostPlace(), given, source, follow=follow)
    try:
        with opened.entitled():
            items = _owned(read_tree(fd), opened.outside)
            return _copy(fd, items, given, place, path, shown, owner)
    finally:
        os.close(fd)


def _open(place: Place, path: bytes, shown: str, *, follow: bool) -> int:
    try:
        return place.open(path, follow=follow)
    except OSError as error:
        why = (error.strerror or "").lower()
        raise CopyFailed(f"cannot copy {shown}: {why}") from error


def _copy(
    fd: int,
    items: Iterator[Item],
    source: bytes,
    place: Place,
    destination: bytes,
    shown: str,
    owner: Owner,
) -> str:
    """Copy what a descriptor stands for, the items, by docker's rules for what is at the
    destination."""
    is_folder = stat.S_ISDIR(os.fstat(fd).st_mode)
    directory, name = _target(place, destination, shown, is_folder=is_folder)
    if name is None and not (is_folder and _is_content(source)):
        name = _name(source)
    recorded = isinstance(place, ContainerPlace) and has_one_id()
    with _explained(shown), place.below(directory) as below:
        writer = TreeWriter(below, owner, recorded=recorded)
        for item in items:
            path = b"/".join(part for part in (name, item.path) if part)
            if path:
                link = item.link
                if link is not None and name:
                    link = b"/".join(part for part in (name, link) if part)
                writer.put(_linked(item, link), path)
        writer.finish()
    _tell_left_out(writer)
    return size_text(writer.bytes)


def _linked(item: Item, link: bytes | None) -> Item:
    from dataclasses import replace

    return item if link == item.link else replace(item, link=link)


def _target(
    place: Place, path: bytes, shown: str, *, is_folder: bool
) -> tuple[bytes, bytes | None]:
    """The directory to write in, and what the copy is to be called there if not as it is."""
    mode = mode_at(place, path)
    if mode is not None and stat.S_ISDIR(mode):
        return path, None
    if mode is not None and is_folder:
        raise CopyFailed(f"cannot copy a directory to {shown}: it is no directory")
    if path.endswith((b"/", b"/.")):
        why = "it is no directory" if mode is not None else "no such directory"
        if not is_folder:
            raise CopyFailed(f"cannot copy to {shown}: {why}")
        path = path.removesuffix(b".").rstrip(b"/")
    path = last_place(place, path)
    directory, name = os.path.split(path)
    directory = directory or b"."
    above = mode_at(place, directory)
    if above is None or not stat.S_ISDIR(above):
        raise CopyFailed(f"cannot copy to {shown}: the directory it lies in does not exist")
    return directory, name


def _owned(items: Iterator[Item], seen: Callable[[int, int], tuple[int, int]]) -> Iterator[Item]:
    """Items with their owners as they are seen from the other side."""
    from dataclasses import replace

    for item in items:
        uid, gid = seen(item.uid, item.gid)
        yield replace(item, uid=uid, gid=gid)


def _unpack(opened: OpenedRoot, place: Place, path: bytes) -> str:
    from runtime.copying.tars import read_tar

    def owner(item: Item) -> tuple[int, int]:
        """A tar says whose its files are."""
        return item.uid, item.gid

    recorded = has_one_id()
    with _explained(os.fsdecode(path)), place.below(path) as below:
        writer = TreeWriter(below, owner, recorded=recorded)
        for item in _named(_owned(read_tar(sys.stdin.buffer), opened.outside)):
            writer.make_parents(item.path, *opened.owner)
            writer.put(item, item.path)
        writer.finish()
    _tell_left_out(writer)
    return size_text(writer.bytes)


def _named(items: Iterator[Item]) -> Iterator[Item]:
    """All but the directory itself, which is there and stays as it is."""
    return (item for item in items if item.path)


def _name(path: bytes) -> bytes:
    """What a copy of it is called; empty for a root, of which only the content can be copied."""
    name = os.path.basename(os.path.normpath(path))
    return b"" if name in (b"", b".", b"..", b"/") else name


def _is_content(path: bytes) -> bool:
    return path.endswith(b"/.") or path in (b".", b"/")


@contextmanager
def _explained(shown: str) -> Iterator[None]:
    """Says of what the kernel refuses what it was for."""
    try:
        yield
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        why = (error.strerror or str(error)).lower()
        raise CopyFailed(f"cannot copy to {shown}: {where}{why}") from error


def _tell_left_out(writer: TreeWriter) -> None:
    for path in writer.left_out:
        say(f"left out {os.fsdecode(path)}: devices cannot be made here")
