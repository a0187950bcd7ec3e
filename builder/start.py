"""Where `lamina` begins: a build that changes nothing is answered, a container whose start is
remembered is run, a command executed in one that runs (`builder.quick`); all else is the matter
of `builder.cli`.

The answer takes a tenth of the time that importing the command line takes, which is why this
module reads the few arguments it must by itself, and why it imports so little.
"""

from __future__ import annotations

import os
import sys
import time

from builder.call_words import build_root, run_words, words_after

_QUIET = ("-q", "--quiet", "--progress=quiet", "--progress=none")


def main() -> None:
    """Run the command line and exit with its status."""
    began = time.monotonic()
    arguments = sys.argv[1:]
    try:
        root = build_root(arguments)
        answered = root is not None and _answer(root, arguments, began)
        status = _quick_status(arguments)
    except KeyboardInterrupt:
        sys.exit(128 + 2)
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        sys.exit(128 + 13)
    if status is not None:
        # There is nothing to take down that the end of the process does not.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    if not answered:
        from builder.cli import main as command_line

        command_line()


def _quick_status(arguments: list[str]) -> int | None:
    """Run a container or a command in one in the quick way; `None` if there is none."""
    running = run_words(arguments)
    if running is not None and os.path.isdir(f"{running[0]}/containers/starts"):
        from builder.quick import answer

        return answer(*running)
    executing = words_after("exec", arguments)
    if executing is not None:
        from builder.quick import answer_exec

        return answer_exec(*executing)
    return None


def _answer(root: str, arguments: list[str], began: float) -> bool:
    """Answer a build that is remembered and would give the same again."""
    if not os.path.exists(f"{root}/store.db"):
        return False
    import sqlite3

    from builder.cache.replay import call_text, conditions, unchanged
    from runtime.image.store.replays import OpenReplays

    try:
        with OpenReplays(os.path.abspath(root)) as replays:
            known = replays.find(call_text(arguments))
            if (
                known is None
                or known.conditions != conditions()
                or not unchanged(known.stamps, known.paths)
                or not replays.name_again(known)
            ):
                return False
    except (sqlite3.Error, OSError):
        return False  # The ordinary build meets the same, and says what it is.
    if known.quiet:
        sys.stdout.write(f"{known.image}\n")
        sys.stdout.flush()
    else:
        seconds = time.monotonic() - began
        lines = [*known.lines, f"built {known.image} in {seconds:.1f}s"]
        sys.stderr.write("\n".join(lines) + "\n")
        sys.stderr.flush()
    return True
