"""Limits where there is nothing but cgroup version 2, on a kernel of a stable distribution.

That is Debian's user-mode Linux, 6.1. Not tried there, since its kernel does not have them:
seccomp, cpusets, swap, private networks. What version 2 does on this machine's own kernel,
without controllers (freezing, killing, the device program), is tried by the other tests.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.bases import BUSYBOX, root_file_system
from support.cli import LAMINA, Lamina
from support.machine import run_in_machine

pytestmark = [pytest.mark.namespaces, pytest.mark.root]
SCRIPT = """
own=/sys/fs/cgroup/lamina
run="run --network none"
hog="dd if=/dev/zero of=/dev/null bs=100M count=1"

part doctor
lamina doctor | grep limits

part direct
lamina $run --rm -m 32m busybox $hog; echo "status $?"
lamina $run --rm --pids-limit 5 busybox sh -c \\
    'for n in 1 2 3 4 5 6 7; do sleep 1 & done; echo not reached'
ls -d $own/*/ 2> /dev/null

part limits
lamina $run -d --name busy -m 40m --memory-reservation 20m --cpus 0.2 --cpu-shares 512 \\
    --pids-limit 7 --oom-kill-disable busybox sh -c 'while :; do :; done'
group=$(ls -d $own/*/)
cd $group; head memory.max memory.low cpu.max cpu.weight pids.max; cd /

part devices
lamina exec busy sh -c 'mknod /n c 1 3; echo x > /n && echo null; mknod /d b 254 0; true < /d'

part group
lamina exec busy cat /proc/self/cgroup /proc/1/cgroup /sys/fs/cgroup/memory.max
wc -l < $group/cgroup.procs

part exec
lamina exec busy $hog; echo "status $?"

part usage
lamina stats --no-stream --format '{{.CPUPerc}} {{.MemUsage}} {{.PIDs}}' busy
lamina pause busy
grep frozen $group/cgroup.events
lamina ps --format '{{.Status}}'
lamina unpause busy

part killed
lamina kill busy
lamina wait busy
lamina inspect -f '{{.State.OOMKilled}} {{.State.Status}}' busy
lamina rm busy
lamina $run -d --name late busybox sleep 600 > /dev/null
pid=$(lamina inspect -f '{{.State.Pid}}' late)
kill -9 $(awk '{print $4}' /proc/$pid/stat)
while [ -e /proc/$pid ]; do sleep 0.1; done
ls -d $own/*/ | wc -l
lamina rm late
ls -d $own/*/ 2> /dev/null

part delegated
for kind in subuid subgid; do echo user:100000:65536 > /tmp/$kind; done
(cat /etc/passwd; echo user:x:12345:12345::/tmp:/bin/sh) > /tmp/passwd
for file in subuid subgid passwd; do mount --bind /tmp/$file /etc/$file; done
mkdir /sys/fs/cgroup/user /mnt/user
chown -R 12345 /sys/fs/cgroup/user /mnt/user
echo $$ > /sys/fs/cgroup/user/cgroup.procs
# Nobody else may look into root's folder, where the tests' Python may lie.
mkdir -m 755 /tmp/upper /tmp/work
mount -t overlay overlay -o lowerdir=/root,upperdir=/tmp/upper,workdir=/tmp/work /root
user() {
    setpriv --reuid 12345 --regid 12345 --clear-groups LAMINA --root /mnt/user/store "$@" 2>&1
}
user doctor | grep limits
user import /mnt/busybox.tar busybox | cut -c 1-7
user $run --rm --strict -m 32m busybox $hog; echo "status $?"
user $run -d --name one busybox sleep 600 | cut -c 65-
cd /sys/fs/cgroup/user; find * -type d | sed 's/[0-9a-f]\\{64\\}/ID/' | sort
cat cgroup.subtree_control; cd /
user pause one; user unpause one; user rm -f one
find /sys/fs/cgroup/user/lamina/* -type d
"""


def test_limits_under_version_2(private_lamina: Lamina, tmp_path: Path) -> None:
    disk = private_lamina.root.parent
    shutil.copy(root_file_system(BUSYBOX), disk / "busybox.tar")
    told = run_in_machine(SCRIPT.replace("LAMINA", str(LAMINA)), tmp_path, disk)
    assert told["doctor"].split(None, 2)[1] == "limits"
    assert "cgroup v2, in /lamina: memory, cpu, pids" in told["doctor"]
    assert told["direct"].splitlines() == [
        "a process of the container was killed: it had no memory left (see --memory)",
        "status 137",
        "sh: can't fork: Resource temporarily unavailable",
    ]
    limits = told["limits"].splitlines()
    assert limits[0] == (
        "warning: no effect has --memory-swap, --oom-kill-disable: the kernel has no such limit"
        " (cgroup v2)"
    ) or limits[0] == (
        "warning: no effect has --oom-kill-disable: the kernel has no such limit (cgroup v2)"
    )
    assert len(limits[1]) == 64
    values = [line for line in limits[2:] if line and not line.startswith("==>")]
    assert values == [str(40 << 20), str(20 << 20), "20000 100000", "20", "7"]
    assert told["devices"].splitlines() == ["null", "sh: can't open /d: Operation not permitted"]
    assert told["group"].splitlines() == ["0::/", "0::/", str(40 << 20), "1"]
    assert told["exec"] == "status 137\n"
    usage, *rest = told["usage"].splitlines()
    share, memory, _, limit, count = usage.split()
    assert 5 < float(share.rstrip("%")) < 35
    assert memory.endswith(("KiB", "MiB"))
    assert (limit, count) == ("40MiB", "1")
    assert rest[0:2] == ["busy", "frozen 1"]
    assert rest[2].endswith("(Paused)")
    assert told["killed"].splitlines() == ["busy", "137", "true exited", "busy", "1", "late"]
    doctor, *rest = told["delegated"].splitlines()
    assert "cgroup v2, in /user/lamina: memory, cpu, pids" in doctor
    assert rest == [
        "sha256:",
        "a process of the container was killed: it had no memory left (see --memory)",
        "status 137",
        "",
        *("lamina", "lamina-init", "lamina/ID"),
        "cpu io memory pids",
        *("one", "one", "one"),
    ]
