"""Which system calls a container may make: Docker's default policy, as a table of our own.

What is refused or depends on something is listed; every other call up to the newest one that
somebody has thought about (`NEWEST`) is allowed, and whatever the kernel has learnt since then
does not exist (ENOSYS): programs then fall back on what they did before.

Not listed are calls that no supported kernel implements: they fail by themselves.
"""

from __future__ import annotations

from typing import Final

NEWEST: Final = 466
"""removexattrat(2), Linux 6.13. Numbers above 424 mean the same on every architecture."""

ARCHITECTURES: Final = {
    # name: (AUDIT_ARCH_* of linux/audit.h, column in the table)
    "x86_64": (0xC000003E, "x86_64"),
    "i686": (0x40000003, "i386"),
    "aarch64": (0xC00000B7, "generic"),
    "armv7l": (0x40000028, "arm"),
    "riscv64": (0xC00000F3, "generic"),
    "ppc64le": (0xC0000015, "ppc64"),
    "s390x": (0x80000016, "s390x"),
}

ALSO: Final = {"x86_64": ("i686",), "aarch64": ("armv7l",)}
"""Architectures whose programs a machine also runs."""

REFUSED: Final = (
    # Key rings are not divided into namespaces.
    "add_key keyctl request_key",
    # Large, privileged parts of the kernel that work around other checks, filters among them.
    "io_uring_setup io_uring_enter io_uring_register userfaultfd",
    # The machine itself.
    "kexec_load kexec_file_load swapon swapoff pciconfig_read pciconfig_write pciconfig_iobase",
    "rtas spu_create spu_run s390_sthyi",
    # Other processes' memory, and the root of a mount namespace.
    "migrate_pages move_pages pivot_root",
    # Obsolete.
    "uselib ustat sysfs vm86 vm86old subpage_prot sys_debug_setcontext s390_guarded_storage",
)

NEEDS: Final = {
    # Refused unless the container has one of the capabilities.
    "CAP_BPF CAP_SYS_ADMIN": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON CAP_SYS_ADMIN": "perf_event_open",
    "CAP_SYSLOG CAP_SYS_ADMIN": "syslog",
    "CAP_SYS_ADMIN": (
        "fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr "
        "lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree quotactl "
        "quotactl_fd setdomainname sethostname setns umount umount2 unshare"
    ),
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module init_module finit_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}

REFUSED_FAMILIES: Final = (38, 40)
"""Of socket(2). AF_ALG: the kernel's ciphers, a history of holes; AF_VSOCK: the hypervisor."""

PERSONALITIES: Final = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
"""Of personality(2): Linux, 32-bit Linux, each also with the old uname; and asking."""

NAMESPACE_FLAGS: Final = 0x7E020000
"""Of clone(2): the flags that make namespaces."""

SOCKETCALL_SOCKET: Final = 1
"""Of socketcall(2): socket(2), with its arguments where no filter can see them."""

ARM_PRIVATE: Final = range(0xF0001, 0xF0006)
"""Calls of 32-bit ARM's own: breakpoint, cacheflush, set_tls."""

_COLUMNS: Final = ("x86_64", "i386", "generic", "arm", "ppc64", "s390x")

_NUMBERS: Final = """
acct                       163     51     89     51     51     51
add_key                    248    286    217    309    269    278
bpf                        321    357    280    386    361    351
chroot                     161     61     51     61     61     61
clock_settime              227    264    112    262    245    259
clock_settime64              -    404      -    404      -      -
clone                       56    120    220    120    120    120
clone3                     435    435    435    435    435    435
delete_module              176    129    106    129    129    129
fanotify_init              300    338    262    367    323    332
finit_module               313    350    273    379    353    344
fsconfig                   431    431    431    431    431    431
fsmount                    432    432    432    432    432    432
fsopen                     430    430    430    430    430    430
fspick                     433    433    433    433    433    433
get_mempolicy              239    275    236    320    260    269
init_module                175    128    105    128    128    128
io_uring_enter             426    426    426    426    426    426
io_uring_register          427    427    427    427    427    427
io_uring_setup             425    425    425    425    425    425
ioperm                     173    101      -      -    101      -
iopl                       172    110      -      -    110      -
kcmp                       312    349    272    378    354    343
kexec_file_load            320      -    294    401    382    381
kexec_load                 246    283    104    347    268    277
keyctl                     250    288    219    311    271    280
lookup_dcookie             212    253     18    249    235    110
lsm_get_self_attr          459    459    459    459    459    459
lsm_list_modules           461    461    461    461    461    461
lsm_set_self_attr          460    460    460    460    460    460
mbind                      237    274    235    319    259    268
migrate_pages              256    294    238    400    258    287
mount                      165     21     40     21     21     21
mount_setattr              442    442    442    442    442    442
move_mount                 429    429    429    429    429    429
move_pages                 279    317    239    344    301    310
open_by_handle_at          304    342    265    371    346    336
open_tree                  428    428    428    428    428    428
pciconfig_iobase             -      -      -    271    200      -
pciconfig_read               -      -      -    272    198      -
pciconfig_write              -      -      -    273    199      -
perf_event_open            298    336    241    364    319    331
personality                135    136     92    136    136    136
pidfd_getfd                438    438    438    438    438    438
pivot_root                 155    217     41    218    203    217
process_madvise            440    440    440    440    440    440
quotactl                   179    131     60    131    131    131
quotactl_fd                443    443    443    443    443    443
reboot                     169     88    142     88     88     88
request_key                249    287    218    310    270    279
rtas                         -      -      -      -    255      -
s390_guarded_storage         -      -      -      -      -    378
s390_sthyi                   -      -      -      -      -    380
set_mempolicy              238    276    237    321    261    270
set_mempolicy_home_node    450    450    450    450    450    450
setdomainname              171    121    162    121    121    121
sethostname                170     74    161     74     74     74
setns                      308    346    268    375    350    339
settimeofday               164     79    170     79     79     79
socket                      41    359    198    281    326    359
socketcall                   -    102      -      -    102    102
spu_create                   -      -      -      -    279      -
spu_run                      -      -      -      -    278      -
stime                        -     25      -      -     25      -
subpage_prot                 -      -      -      -    310      -
swapoff                    168    115    225    115    115    115
swapon                     167     87    224     87     87     87
sys_debug_setcontext         -      -      -      -    256      -
sysfs                      139    135      -    135    135    135
syslog                     103    103    116    103    103    103
umount                       -     22      -      -     22     22
umount2                    166     52     39     52     52     52
unshare                    272    310     97    337    282    303
uselib                     134     86      -     86     86     86
userfaultfd                323    374    282    388    364    355
ustat                      136     62      -     62     62     62
vhangup                    153    111     58    111    111    111
vm86                         -    166      -      -    113      -
vm86old                      -    113      -      -      -      -
"""


def numbers(column: str) -> dict[str, int]:
    """The numbers of the listed system calls on an architecture, by name."""
    position = _COLUMNS.index(column) + 1
    rows = (line.split() for line in _NUMBERS.split("\n") if line)
    return {row[0]: int(row[position]) for row in rows if row[position] != "-"}
