"""/etc/hosts and /etc/resolv.conf of a container."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_RESOLV_CONF = "/etc/resolv.conf"
_SYSTEMD_RESOLV_CONF = "/run/systemd/resolve/resolv.conf"
_STUB = "127.0.0.53"


def hosts(hostname: str, extra: Sequence[tuple[str, str]] = ()) -> str:
    """The text of /etc/hosts: localhost, the container's own name, and `extra` (name, address)."""
    lines = [
        f"127.0.0.1\tlocalhost {hostname}",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        *(f"{address}\t{name}" for name, address in extra),
    ]
    return "".join(f"{line}\n" for line in lines)


def resolv_conf(network: str, *, path: str = _RESOLV_CONF, real: str = _SYSTEMD_RESOLV_CONF) -> str:
    """The text of /etc/resolv.conf.

    With the host's network the host's; without, what only the host can reach is left out. Where
    the host's names nothing but systemd-resolved's own address, the file it was made from is
    taken, as Docker does.
    """
    text = _read(path)
    if network == "host":
        return text
    if _nameservers(text) == [_STUB]:
        text = _read(real) or text
    kept = [line for line in text.splitlines() if not _is_local(line)]
    return "".join(f"{line}\n" for line in kept)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(1 << 16)
    except OSError:
        return ""


def _nameservers(text: str) -> list[str]:
    rows = [line.split() for line in text.splitlines()]
    return [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]


def _is_local(line: str) -> bool:
    row = line.split()
    return (
        len(row) > 1 and row[0] == "nameserver" and (row[1].startswith("127.") or row[1] == "::1")
    )
