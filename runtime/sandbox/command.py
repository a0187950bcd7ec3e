"""Executing a container's command, and saying why it cannot be."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TRY_NEXT = (errno.ENOENT, errno.ENOTDIR, errno.EACCES)
_PT_INTERP = 3


class Unexecutable(OSError):
    """Nothing was executed: `errno` and a sentence."""


def execute(argv: tuple[bytes, ...], env: dict[bytes, bytes]) -> None:
    """Become the command; a name without a slash is looked for in the PATH of `env`.

    Only returns by `Unexecutable`.
    """
    command = argv[0]
    if not command:
        raise Unexecutable(errno.ENOENT, "the command is empty")
    refused: OSError | None = None
    for path in _candidates(command, env.get(b"PATH", _DEFAULT_PATH)):
        try:
            os.execve(path, argv, env)
        except OSError as error:
            if error.errno == errno.ENOENT and os.path.exists(path):
                raise Unexecutable(errno.ENOENT, _missing_interpreter(path)) from None
            if error.errno == errno.EACCES and os.path.isdir(path):
                error = IsADirectoryError(errno.EACCES, "is a directory")
            if error.errno not in _TRY_NEXT or b"/" in command:
                raise Unexecutable(error.errno, _text(error)) from None
            if error.errno == errno.EACCES:
                refused = error
    if refused is not None:
        raise Unexecutable(errno.EACCES, _text(refused))
    raise Unexecutable(errno.ENOENT, "executable file not found in $PATH")


def check_command(command: bytes, env: dict[bytes, bytes]) -> None:
    """`Unexecutable` if there is nothing to execute; whether it can be, is for `execute` to see.

    A relative path with a slash is not looked at: that is one of the working directory's.
    """
    if b"/" in command and not command.startswith(b"/"):
        return
    if not command or not any(
        os.path.lexists(path) for path in _candidates(command, env.get(b"PATH", _DEFAULT_PATH))
    ):
        text = "no such file or directory"
        if b"/" not in command:
            text = "executable file not found in $PATH"
        raise Unexecutable(errno.ENOENT, text)


def _candidates(command: bytes, search: bytes) -> Iterator[bytes]:
    if b"/" in command:
        yield command
        return
    for folder in search.split(b":"):
        yield os.path.join(folder or b".", command)


def _text(error: OSError) -> str:
    return (error.strerror or "unknown error").lower()


def _missing_interpreter(path: bytes) -> str:
    """Why there is "no such file" although there is: what executes it is missing."""
    text = "no such file or directory"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            head = os.read(fd, 4096)
            script = head.startswith(b"#!")
            name = head[2:].split(b"\n", 1)[0].split() if script else _elf_interpreter(fd, head)
        finally:
            os.close(fd)
    except (OSError, ValueError, IndexError):
        return text
    if not name:
        return text
    shown = os.fsdecode(name[0])
    kind = "the interpreter of this script" if script else "the loader of this program"
    return f"{text} ({kind}, {shown}, is not in the image)"


def _elf_interpreter(fd: int, head: bytes) -> list[bytes]:
    """The dynamic loader an ELF file names (elf(5), PT_INTERP)."""
    if head[:4] != b"\x7fELF":
        return []
    order: str = "little" if head[5] == 1 else "big"
    wide = head[4] == 2

    def number(data: bytes, offset: int, size: int) -> int:
        return int.from_bytes(
            data[offset : offset + size], "little" if order == "little" else "big"
        )

    table = number(head, 32, 8) if wide else number(head, 28, 4)
    size = number(head, 54 if wide else 42, 2)
    count = number(head, 56 if wide else 44, 2)
    for index in range(min(count, 64)):
        entry = os.pread(fd, size, table + index * size)
        if number(entry, 0, 4) == _PT_INTERP:
            offset = number(entry, 8, 8) if wide else number(entry, 4, 4)
            length = number(entry, 32, 8) if wide else number(entry, 16, 4)
            return [os.pread(fd, min(length, 4096), offset).rstrip(b"\0")]
    return []
