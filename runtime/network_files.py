"""/etc/hosts and /etc/resolv.conf of a container."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runtime.network.model import Names

_RESOLV_CONF = "/etc/resolv.conf"
_SYSTEMD_RESOLV_CONF = "/run/systemd/resolve/resolv.conf"
_STUB = "127.0.0.53"


def hosts(hostname: str, extra: Sequence[tuple[str, str]] = (), *, domainname: str = "") -> str:
    """The text of /etc/hosts: localhost, the container's own name, and `extra` (name, address).

    Without a host name it is left out: whoever gives the container its addresses adds it.
    """
    own = f"{hostname}.{domainname} {hostname}" if hostname and domainname else hostname
    lines = [
        f"127.0.0.1\tlocalhost {own}".rstrip(),
        "::1\tlocalhost ip6-localhost ip6-loopback",
        *(f"{address}\t{name}" for name, address in extra),
    ]
    return "".join(f"{line}\n" for line in lines)


def resolv_conf(
    network: str,
    names: Names | None = None,
    *,
    path: str = _RESOLV_CONF,
    real: str = _SYSTEMD_RESOLV_CONF,
) -> str:
    """The text of /etc/resolv.conf; what `names` say is there instead of what the host's does.

    With the host's network the host's; without, what only the host can reach is left out. Where
    the host's names nothing but systemd-resolved's own address, the file it was made from is
    taken, as Docker does.
    """
    text = _read(path)
    if network != "host":
        text = _reachable(text, real)
    if names is None:
        return text
    replaced = {
        "nameserver": [f"nameserver {server}" for server in names.servers],
        "search": [f"search {' '.join(names.search)}"] if names.search else [],
        "options": [f"options {' '.join(names.options)}"] if names.options else [],
    }
    said = {keyword for keyword, lines in replaced.items() if lines}
    kept = [line for line in text.splitlines() if _keyword(line) not in said]
    if names.search == (".",):  # docker's word for none at all
        replaced["search"] = []
    return _lines((*kept, *(line for lines in replaced.values() for line in lines)))


def name_servers(path: str = _RESOLV_CONF) -> tuple[str, ...]:
    """Whom the host asks for names."""
    return tuple(_nameservers(_read(path)))


def reachable_servers(
    path: str = _RESOLV_CONF, real: str = _SYSTEMD_RESOLV_CONF
) -> tuple[str, ...]:
    """Whom containers with a network of their own can ask as the host does."""
    return tuple(_nameservers(_reachable(_read(path), real)))


def _reachable(text: str, real: str) -> str:
    if _nameservers(text) == [_STUB]:
        text = _read(real) or text
    return _lines(line for line in text.splitlines() if not _is_local(line))


def _lines(kept: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in kept)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(1 << 16)
    except OSError:
        return ""


def _keyword(line: str) -> str:
    row = line.split()
    # Of these two the last one counts, whichever it is.
    return "search" if row and row[0] == "domain" else row[0] if row else ""


def _nameservers(text: str) -> list[str]:
    rows = [line.split() for line in text.splitlines()]
    return [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]


def _is_local(line: str) -> bool:
    row = line.split()
    return (
        len(row) > 1 and row[0] == "nameserver" and (row[1].startswith("127.") or row[1] == "::1")
    )
