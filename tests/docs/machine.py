"""A machine of its own for a page: namespaces of mounts, processes and network, and a root directory in memory.

Commands see the programs of this machine, read-only, and beside them an empty home, /data, /tmp and /etc/fstab of their own. Nothing
that they mount, start or write is seen outside, and all of it ends with the namespaces. The network is the loopback device.
"""

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

HOME = "/home/you"
UNSHARE = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child"]
# What is there of /etc as files of the page's own; the rest are links to this machine's.
OWN_FILES = ("fstab", "fuse.conf", "hosts", "mtab")


def enter(arguments: list[str]) -> None:
    """Runs this program again within the namespaces, and does not return."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    probe = subprocess.run([*UNSHARE, *user, "true"], capture_output=True, text=True)
    if probe.returncode:
        sys.exit(f"docs: no namespaces for the pages ({probe.stderr.strip()}): run it as root, or allow them to users: "
                 "sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0")
    os.execvp("unshare", [*UNSHARE, *user, sys.executable, "-B", *arguments])


def loopback() -> None:
    """Brings up the loopback device of a new network namespace."""
    name = struct.pack("16sh", b"lo", 0)
    with socket.socket() as any_socket:
        flags = struct.unpack("16sh", fcntl.ioctl(any_socket, 0x8913, name))[1]  # SIOCGIFFLAGS
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", flags | 1))  # SIOCSIFFLAGS, IFF_UP


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def make_root(root: Path, program: Path, stubs: Path) -> None:
    """Makes the root directory. `program` is crds-fs, `stubs` a directory of programs that stand in for others."""
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(root))
    for entry in sorted(Path("/").iterdir()):
        inside = root / entry.name
        if entry.is_symlink() and entry.name != "sbin":
            inside.symlink_to(os.readlink(entry))
        elif entry.name in ("usr", "bin", "lib", "lib32", "lib64", "libx32", "opt", "nix") and entry.is_dir():
            inside.mkdir()
            mount("--rbind", str(entry), str(inside))
            subprocess.run(["mount", "-o", "remount,bind,ro", str(inside)], check=True)
    for directory in ("proc", "dev", "sys", "tmp", "run", "var/log", "var/cache", "var/lib", "data", "grp/crds", HOME[1:], "etc", "sbin", "usr-local"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    mount("-t", "proc", "proc", str(root / "proc"))
    for device in ("dev", "sys"):
        mount("--rbind", f"/{device}", str(root / device))
    host_etc = root / "run/etc"
    host_etc.mkdir()
    mount("--bind", "/etc", str(host_etc))
    subprocess.run(["mount", "-o", "remount,bind,ro", str(host_etc)], check=True)
    for entry in Path("/etc").iterdir():
        if entry.name not in OWN_FILES:
            (root / "etc" / entry.name).symlink_to(f"/run/etc/{entry.name}")
    (root / "etc/fstab").touch()
    (root / "etc/fuse.conf").touch()
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (root / "etc/mtab").symlink_to("/proc/self/mounts")
    for entry in Path("/usr/sbin").iterdir():
        (root / "sbin" / entry.name).symlink_to(f"/usr/sbin/{entry.name}")
    programs = root / "usr-local"
    for name, source in [("crds-fs", program), *((stub.name, stub) for stub in stubs.iterdir())]:
        shutil.copy(source, programs / name)
        (programs / name).chmod(0o755)
