"""A container in the foreground, without a monitor: `lamina run --rm`.

Its streams are the caller's own, signals go on to it, and its exit status is the result. It ends
with the caller, however that ends.

What is added here has to be added to `runtime.containers.quick_made`, or has to follow from what
`runtime.containers.remembering` does not know.
"""

from __future__ import annotations

from collections.abc import Callable

from runtime.containers.attending import Attended, attend
from runtime.containers.limited import OUT_OF_MEMORY, Limited
from runtime.containers.prepare import event, new_container, sandbox_of
from runtime.containers.record import state_document
from runtime.containers.remembering import Remembering
from runtime.containers.remove import discard_held, event_attributes, sweep_containers
from runtime.containers.spec import ContainerSpec
from runtime.image.store.store import Store
from runtime.sandbox.server import SandboxServer


def run(
    store: Store,
    sandbox: SandboxServer,
    spec: ContainerSpec,
    *,
    stdin_fd: int = 0,
    stdout_fd: int = 1,
    stderr_fd: int = 2,
    say: Callable[[str], None] | None = None,
    key: str | None = None,
) -> int:
    """Run a container to its end in the foreground; its exit status, 128 + n for signal n.

    `say` is told what the user should know of the end besides its status. `key` is under what
    its start may be remembered. To be called by the main thread: signals that this process gets
    meanwhile are the container's. `ImageNotFound`, or a `ContainerError` if it cannot be started.
    """
    sweep_containers(store)
    remembering: list[Remembering] = []
    with new_container(store, spec) as held:
        container = held.container
        attended = Attended(
            container.id,
            container.folder,
            state_document(container.state),
            event_attributes(container),
        )
        limited = Limited()

        def prepare() -> bytes:
            order = limited.prepare(container, sandbox_of(store, container))
            if key is not None:
                remembering.append(Remembering(store, container, key, order))
            return order

        try:
            with limited:
                status = attend(
                    attended,
                    sandbox,
                    prepare,
                    command=container.description.argv[0],
                    standard=(stdin_fd, stdout_fd, stderr_fd),
                    started=limited.started,
                    ended=limited.ended,
                )
            if attended.is_out_of_memory and say is not None:
                say(OUT_OF_MEMORY)
        finally:
            if spec.remove:
                discard_held(store, container.id)
                event(container, "destroy")
    for each in remembering:
        each.write()
    return status
