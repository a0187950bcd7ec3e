"""A way to the world without root: a program of the user's that speaks for a network namespace.

pasta (package passt) or slirp4netns makes an interface in the namespace, and plays the network
there with sockets of its own outside. What it needs of paths is made in this process's current
folder, in its own mount namespace, and removed when the program runs.
"""

from __future__ import annotations

import os

from runtime.errors import NetworkError
from runtime.network.helper import Helper
from runtime.network.namespace import inside
from runtime.network.relay import Relay, listen
from runtime.sandbox import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.monitor.loop import Loop
    from runtime.network.relay import PublishedPort

ADDRESS = "10.0.2.100"
GATEWAY = "10.0.2.2"
PREFIX = 24
ADDRESS6 = "fd00:a00:2::100"
GATEWAY6 = "fd00:a00:2::2"
INTERFACE = "eth0"
PROGRAMS = ("pasta", "slirp4netns")
DEVICE = "/dev/net/tun"
_PLACES = ("/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin")
_NAMESPACE, _READY = "netns", "network.ready"
_MTU = 65520


def find_programs(path: str) -> tuple[str, ...]:
    """Where the programs are that could do it, the best first; `path` is what $PATH says."""
    found = []
    for name in PROGRAMS:
        for folder in (*path.split(":"), *_PLACES):
            place = os.path.join(folder, name)
            if folder.startswith("/") and os.access(place, os.X_OK):
                found.append(place)
                break
    return tuple(found)


class Uplink:
    """A network namespace's connection to the world, by the first of `programs` that can.

    When this is made, the interface is up and the ports are published. `NetworkError`.
    """

    def __init__(
        self, programs: Sequence[str], namespace_fd: int, ports: Sequence[PublishedPort]
    ) -> None:
        self._helper, left = _connect(programs, namespace_fd, ports)
        self._relay: Relay | None = None
        if left:
            try:
                listeners = [(each, port[3]) for port in left for each in listen(port)]
                self._relay = Relay(listeners, namespace_fd, ADDRESS)
            except BaseException:
                self._helper.end()
                raise

    @property
    def program(self) -> str:
        """Which one it is."""
        return self._helper.name

    def attend(self, loop: Loop) -> None:
        """See to it that nothing waits for us."""
        self._helper.attend(loop)

    def end(self) -> None:
        """Cut the connection."""
        if self._relay is not None:
            self._relay.end()
        self._helper.end()


def _connect(
    programs: Sequence[str], namespace_fd: int, ports: Sequence[PublishedPort]
) -> tuple[Helper, Sequence[PublishedPort]]:
    """A program that runs, and the ports that it does not publish."""
    _need_device()
    for port in ports:
        # Here, since it says why not; the program may only say that it could not.
        for socket in listen(port):
            socket.close()
    inside(namespace_fd, _expect_no_duplicates, "connect the network")
    namespace = os.path.abspath(_NAMESPACE)
    os.close(os.open(namespace, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    try:
        syscalls.mount(f"/proc/self/fd/{namespace_fd}", namespace, None, syscalls.MS_BIND)
        try:
            return _first(programs, namespace, ports)
        finally:
            syscalls.umount2(namespace, syscalls.MNT_DETACH)
    finally:
        os.unlink(namespace)


def _expect_no_duplicates() -> tuple[int, ...]:
    """Have IPv6 addresses usable at once: who is alone on a network need not ask around."""
    try:
        fd = os.open("/proc/sys/net/ipv6/conf/default/accept_dad", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return ()  # No IPv6, or a /proc that cannot be written: then it takes a second.
    os.write(fd, b"0")
    os.close(fd)
    return ()


def _need_device() -> None:
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        mend = "modprobe tun" if missing else f"chmod 0666 {DEVICE}"
        raise NetworkError(
            f"cannot connect the network: {DEVICE}: {(error.strerror or '').lower()}",
            hint=f"as root: {mend}; or take --network none or --network host",
        ) from error


def _first(
    programs: Sequence[str], namespace: str, ports: Sequence[PublishedPort]
) -> tuple[Helper, Sequence[PublishedPort]]:
    failure = NetworkError(
        "cannot connect the network: neither pasta nor slirp4netns is installed",
        hint="install the package passt; or take --network none or --network host",
    )
    for number, program in enumerate(programs):
        try:
            if os.path.basename(program) == "pasta":
                own = [port for port in ports if _is_pastas(port)]
                left = [port for port in ports if not _is_pastas(port)]
                return _pasta(program, namespace, own), left
            return _slirp(program, namespace), ports
        except NetworkError as error:
            # What is said is why the best one could not do it.
            failure = failure if number else error
    raise failure


def _is_pastas(port: PublishedPort) -> bool:
    """Whether pasta publishes a port well: that of 2023 loses datagrams from another number."""
    protocol, _, outside, inside = port
    return protocol == "tcp" or outside == inside


def _pasta(program: str, namespace: str, ports: Sequence[PublishedPort]) -> Helper:
    ready = os.path.abspath(_READY)
    _remove(ready)
    os.mkfifo(ready, 0o600)
    try:
        # It writes its process ID as soon as everything is there.
        ready_fd = os.open(ready, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return _waited(Helper(pasta_arguments(program, namespace, ready, ports)), ready_fd)
        finally:
            os.close(ready_fd)
    finally:
        os.unlink(ready)


def pasta_arguments(
    program: str, namespace: str, ready: str, ports: Sequence[PublishedPort]
) -> list[str]:
    """The words of pasta(1). What it does by default for the host's ports, it must not."""
    words = [
        program, "--foreground", "--quiet", "--config-net", "--no-map-gw", "--no-netns-quit",
        "--address", ADDRESS, "--netmask", str(PREFIX), "--gateway", GATEWAY,
        "--address", ADDRESS6, "--gateway", GATEWAY6,
        "--ns-ifname", INTERFACE, "--pid", ready, "--tcp-ns", "none", "--udp-ns", "none",
    ]  # fmt: skip
    for protocol, option in (("tcp", "--tcp-ports"), ("udp", "--udp-ports")):
        given = [_pasta_port(port) for port in ports if port[0] == protocol]
        for each in given or ["none"]:
            words += [option, each]
    return [*words, "--netns", namespace]


def _pasta_port(port: PublishedPort) -> str:
    _, address, outside, inside = port
    return f"{address}/{outside}:{inside}" if address else f"{outside}:{inside}"


def _slirp(program: str, namespace: str) -> Helper:
    ready_fd, its_ready_fd = os.pipe()
    its_exit_fd, exit_fd = os.pipe()
    try:
        words = slirp_arguments(program, namespace, its_ready_fd, its_exit_fd)
        helper = Helper(words, (its_ready_fd, its_exit_fd), kept=exit_fd)
    except BaseException:
        os.close(exit_fd)
        os.close(ready_fd)
        raise
    finally:
        os.close(its_ready_fd)
        os.close(its_exit_fd)
    try:
        return _waited(helper, ready_fd)
    finally:
        os.close(ready_fd)


def slirp_arguments(program: str, namespace: str, ready_fd: int, exit_fd: int) -> list[str]:
    """The words of slirp4netns(1)."""
    return [
        program, "--configure", f"--mtu={_MTU}", "--disable-host-loopback", "--disable-dns",
        f"--ready-fd={ready_fd}", f"--exit-fd={exit_fd}", "--netns-type=path", namespace,
        INTERFACE,
    ]  # fmt: skip


def _waited(helper: Helper, ready_fd: int) -> Helper:
    try:
        helper.wait_for(ready_fd)
    except BaseException:
        helper.end()
        raise
    return helper


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
