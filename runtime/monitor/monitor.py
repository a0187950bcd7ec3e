"""Looking after one container: it is started, heard, reaped, started again, recorded.

The monitor is the only one that writes the container's state while it holds the lock of its
folder, which it got from whoever started it.
"""

from __future__ import annotations

import _socket
import os
import time

from runtime.errors import ContainerError
from runtime.monitor import files, frames
from runtime.monitor.clients import Clients
from runtime.monitor.events import append_event
from runtime.monitor.health import Health, HealthOptions
from runtime.monitor.hooks import open_hooks
from runtime.monitor.identity import identify, identify_child, send_signal
from runtime.monitor.log import LogWriter
from runtime.monitor.loop import READ, Loop
from runtime.monitor.request import encode_refusal, encode_started
from runtime.monitor.restart import Restarts
from runtime.monitor.streams import Streams
from runtime.monitor.terminal import Terminal
from runtime.sandbox.cloning import clone_container, last_capability
from runtime.sandbox.report import Report
from runtime.sandbox.wire import decode_failure, decode_order

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable

    from runtime.monitor.request import Request
    from runtime.sandbox.wire import Order
else:
    import _signal

_FAILED = 125
_NAMES = {frames.STDOUT: b"stdout", frames.STDERR: b"stderr"}


class Refused(Exception):
    """The container could not be started: what failed, and how."""

    def __init__(self, stage: str, number: int, text: str) -> None:
        super().__init__(text)
        self.stage = stage
        self.number = number
        self.text = text

    @property
    def status(self) -> int:
        """The exit status that docker gives it."""
        import errno

        if self.stage != "exec":
            return _FAILED
        return 127 if self.number in (errno.ENOENT, errno.ENOTDIR) else 126


class Monitor:
    """A container's life, from its first start to its last exit."""

    def __init__(self, request: Request, first: _socket.socket | None) -> None:
        self._request = request
        me = identify(os.getpid())
        assert me is not None
        self._state = {**request.state, "runner": me.to_document()}
        self._loop = Loop()
        self._capability = last_capability()
        self._hooks = open_hooks(request.hooks, request.id, self._loop)
        self._restarts = Restarts(*request.restart)
        self._log = LogWriter(files.LOG, *request.log) if request.log is not None else None
        self._streams: Streams | Terminal | None = None
        self._size: tuple[int, int] | None = None
        self._pidfd = -1
        self._asked_to_end = False
        self._waiting: int | None = None
        self._health: Health | None = None
        if request.health is not None:
            options = HealthOptions(request.health)
            self._health = Health(self._loop, options, self._capability, self._asked)
        self._clients = Clients(
            self._loop, on_input=self._input, on_size=self._resize, on_gone=self._gone
        )
        if first is not None:
            self._clients.add(first, request.attached)

    def run(self, answer: Callable[[bytes], None]) -> None:
        """Look after the container to its end. `answer` is told how its first start went."""
        self._clients.listen(files.SOCKET)
        self._catch_signals()
        try:
            self._start()
        except Refused as refused:
            self._record_refusal(refused)
            answer(encode_refusal(refused.stage, refused.number, refused.text))
            return
        answer(encode_started(self._state["process"]["pid"]))
        while True:
            status = self._attend()
            began = self._state["started_ns"]
            self._ended(status)
            ran = (self._state["finished_ns"] - began) / 1e9
            wait = self._restarts.seconds_until_next(status, ran, stopped=self._is_stopped())
            if wait is None or not self._start_again(wait):
                break
        self._finish(status)

    # ---- one run

    def _start(self) -> None:
        """Start the container; `Refused` if that cannot be."""
        request = self._request
        order = decode_order(request.order)
        order.terminal_size = self._size or order.terminal_size
        streams = self._new_streams(terminal=order.terminal)
        try:
            try:
                for hook in self._hooks:
                    hook.before_start(order)
            except ContainerError as error:
                text = f"{error.message}\n{error.hint}" if error.hint else error.message
                raise Refused("prepare", 0, text) from error
            pid, pidfd, terminal = self._clone(order, streams)
        except BaseException:
            streams.close()
            self._undo_hooks()
            raise
        self._pidfd = pidfd
        self._streams = streams
        streams.started(terminal)
        for hook in self._hooks:
            hook.started(pid)
        self._state |= {
            "status": "running",
            "process": identify_child(pid).to_document(),
            "started_ns": time.time_ns(),
            "error": "",
            "oom_killed": False,
            "restarts": self._restarts.count,
        }
        if self._health is not None:
            self._health.begin(pid, pidfd)
            self._state["health"] = self._health.document
        self._write_state()
        self._event("start")

    def _new_streams(self, *, terminal: bool) -> Streams | Terminal:
        def has_room() -> None:
            self._clients.hear(True)

        if terminal:
            return Terminal(self._loop, on_output=self._output, on_room=has_room)
        open_stdin = self._request.open_stdin
        return Streams(self._loop, open_stdin=open_stdin, on_output=self._output, on_room=has_room)

    def _clone(self, order: Order, streams: Streams | Terminal) -> tuple[int, int, int | None]:
        """Clone the first process: its pid and pidfd, and our side of its terminal."""
        report = Report(terminal=order.terminal)
        try:
            try:
                pid, pidfd, helper = clone_container(
                    order,
                    streams.theirs,
                    report.write_fd,
                    self._capability,
                    exit_signal=_signal.SIGCHLD,
                )
            except OSError as error:
                number = error.errno or 0
                raise Refused("make namespaces", number, os.strerror(number).lower()) from error
            report.sent()
            if helper:
                os.waitpid(helper, 0)
            failure, terminal = report.read()
        finally:
            report.close()
        if failure:
            if pidfd >= 0:
                os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
                os.close(pidfd)
            if terminal is not None:
                os.close(terminal)
            raise Refused(*decode_failure(failure))
        return pid, pidfd, terminal

    def _attend(self) -> int:
        """Hear the container until it has ended; its exit status."""
        ended: list[int] = []
        self._loop.watch(self._pidfd, READ, ended.append)
        while not ended:
            self._loop.step()
        self._loop.forget(self._pidfd)
        if self._health is not None:
            self._health.end()
        result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        assert result is not None
        os.close(self._pidfd)
        self._pidfd = -1
        streams = self._streams
        assert streams is not None
        streams.drain()
        streams.close()
        self._streams = None
        code = result.si_status
        return code if result.si_code == os.CLD_EXITED else 128 + code

    def _ended(self, status: int) -> None:
        for hook in self._hooks:
            self._state |= hook.ended()
        self._undo_hooks()
        if self._log is not None:
            self._log.finish()
        self._state |= {
            "status": "exited",
            "process": None,
            "exit_status": status,
            "finished_ns": time.time_ns(),
        }
        if self._state["oom_killed"]:
            self._event("oom")
        self._event("die", exitCode=str(status))

    def _start_again(self, seconds: float) -> bool:
        """Wait and start the container once more; `False` if it is to be left."""
        while True:
            self._state["status"] = "restarting"
            self._write_state()
            self._wait(seconds)
            if self._is_stopped():
                self._state["status"] = "exited"
                return False
            try:
                self._start()
            except Refused as refused:
                self._state |= {"error": refused.text, "exit_status": refused.status}
                again = self._restarts.seconds_until_next(refused.status, 0, stopped=False)
                if again is None:
                    self._state |= {"status": "exited", "finished_ns": time.time_ns()}
                    return False
                seconds = again
            else:
                return True

    def _wait(self, seconds: float) -> None:
        """Let time pass; less if somebody says that the container is to stop."""
        over: list[bool] = []
        timer = self._loop.after(seconds, lambda: over.append(True))
        while not over and not self._is_stopped():
            self._loop.step()
        self._loop.cancel(timer)

    def _finish(self, status: int) -> None:
        """Record the end for good, and tell everybody."""
        if self._log is not None:
            self._log.close()
        if self._request.remove:
            from runtime.containers.remove import discard

            discard(self._request.root, self._request.id)
            self._event("destroy")
        else:
            self._state["runner"] = None
            self._write_state()
        self._clients.ended(status)
        late: list[bool] = []
        self._loop.after(10, lambda: late.append(True))
        while self._clients.are_waiting and not late:
            self._loop.step()

    def _record_refusal(self, refused: Refused) -> None:
        self._state |= {
            "status": "exited",
            "error": refused.text,
            "exit_status": refused.status,
            "finished_ns": time.time_ns(),
        }
        self._finish(refused.status)

    def _undo_hooks(self) -> None:
        for hook in reversed(self._hooks):
            hook.after_exit()

    def _asked(self, changed: bool) -> None:
        assert self._health is not None
        document = self._health.document
        self._state["health"] = document
        self._write_state()
        if changed:
            self._event(f"health_status: {document['Status']}")

    # ---- what is heard

    def _output(self, kind: int, data: bytes) -> None:
        if self._log is not None:
            self._log.write(_NAMES[kind], data)
        self._clients.output(kind, data)
        if self._clients.are_full and self._streams is not None:
            self._streams.pause(True)
            self._loop.after(0.01, self._resume)

    def _resume(self) -> None:
        if self._streams is None:
            return
        if self._clients.are_full:
            self._loop.after(0.01, self._resume)
        else:
            self._streams.pause(False)

    def _input(self, data: bytes | None) -> None:
        if self._streams is None:
            return
        if data is None:
            self._streams.end_input()
            return
        self._streams.give(data)
        self._clients.hear(self._streams.has_room)

    def _gone(self) -> None:
        if self._request.stdin_once and self._streams is not None:
            self._streams.end_input()

    def _resize(self, rows: int, columns: int) -> None:
        self._size = rows, columns
        if self._streams is not None:
            self._streams.resize(rows, columns)

    def _catch_signals(self) -> None:
        """Have SIGTERM and others that mean the machine goes down stop the container first."""
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        for number in (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP):
            _signal.signal(number, lambda *_: None)
        self._loop.watch(read_fd, READ, lambda _: self._told_to_end(read_fd))

    def _told_to_end(self, fd: int) -> None:
        os.read(fd, 64)
        if self._asked_to_end:
            return
        self._asked_to_end = True
        if self._pidfd >= 0:
            send_signal(self._pidfd, self._request.stop_signal)
            self._loop.after(self._request.stop_seconds, self._kill)

    def _kill(self) -> None:
        if self._pidfd >= 0:
            send_signal(self._pidfd, _signal.SIGKILL)

    def _is_stopped(self) -> bool:
        return self._asked_to_end or os.path.exists(files.STOPPED)

    # ---- what is told

    def _write_state(self) -> None:
        files.write_json(files.STATE, self._state)

    def _event(self, action: str, **more: str) -> None:
        folder = os.path.dirname(self._request.folder)
        append_event(folder, action, self._request.id, {**self._request.attributes, **more})
