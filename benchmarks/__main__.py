"""The benchmark's command line."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import report
from benchmarks.installed import MAKERS, installed
from benchmarks.measure import Series, measure
from benchmarks.workloads import WORKLOADS, remove

HERE = Path(__file__).parent


def main() -> int:
    """Measure what was asked for, print the table, write the files asked for."""
    options = _options()
    # An installed command finds its modules compiled: so must one that is installed editable.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # However it is ended, the daemon it started is stopped and its folder removed.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    chosen = [workload for workload in WORKLOADS if workload.name in options.workloads]
    series: list[Series] = []
    # Not /tmp: it may be a tmpfs, and every tool keeps its layers on a disk.
    folder = Path(tempfile.mkdtemp(prefix="lamina-benchmarks-", dir=options.folder))
    (folder / "tmp").mkdir()
    os.environ["TMPDIR"] = str(folder / "tmp")
    try:
        rootfs = folder / "rootfs.tar"
        subprocess.run([HERE.parent / "fixtures" / "busybox_rootfs.sh", rootfs], check=True)
        with installed(folder, tuple(options.tools)) as found:
            versions = {tool.name: tool.version() for tool in found.tools}
            for tool in found.tools:
                tool.base(rootfs)
            for workload in chosen:
                series += measure(
                    workload,
                    found.tools,
                    folder,
                    rounds=options.rounds,
                    told=lambda text: print(text, file=sys.stderr, flush=True),
                )
    finally:
        remove(folder)
    page = report.markdown(series, versions, found.missing)
    print(page)
    if options.markdown:
        options.markdown.write_text(page)
    if options.json:
        options.json.write_text(report.as_json(series, versions))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [workload.name for workload in WORKLOADS]
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each (5)")
    parser.add_argument("--workloads", nargs="+", choices=names, default=names)
    parser.add_argument("--tools", nargs="+", choices=MAKERS, default=MAKERS)
    parser.add_argument("--folder", default="/var/tmp", help="where to work (/var/tmp)")
    parser.add_argument("--json", type=Path, help="write every measurement there")
    parser.add_argument("--markdown", type=Path, help="write the page there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
