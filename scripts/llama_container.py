#!/usr/bin/env python3
"""llama_container.py ROOT PORT [llama-server arguments]: llama-server from llama_root.sh's tree as a
container-like process: own root (pivot_root), own mount, pid and uts namespace, own cgroup v2 with a
containerd-like name, host network. It ends with this process (parent death signal)."""
import ctypes
import os
import platform
import signal
import sys

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWPID = 0x20000, 0x4000000, 0x20000000
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH, PR_SET_PDEATHSIG = 0x1000, 0x4000, 0x40000, 2, 1
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)


def check(result, what):
    if result != 0:
        sys.exit("llama_container.py: %s: %s" % (what, os.strerror(ctypes.get_errno())))


def mount(source, target, kind, flags):
    check(libc.mount(source.encode(), target.encode(), kind.encode() if kind else None, flags, None), "mount " + target)


def cgroup2():
    with open("/proc/mounts") as file:
        return next(line.split()[1] for line in file if line.split()[2] == "cgroup2")


def main():
    root, port, rest = os.path.realpath(sys.argv[1]), sys.argv[2], sys.argv[3:]
    group = os.path.join(cgroup2(), "infertrail-test.slice", "cri-containerd-%s.scope" % ("a" * 64))
    os.makedirs(group, exist_ok=True)
    with open(os.path.join(group, "cgroup.procs"), "w") as file:
        file.write(str(os.getpid()))
    check(libc.unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWPID), "unshare")
    parent = os.getpid()
    child = os.fork()
    if child:
        signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xff)
    check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount(root, root, None, MS_BIND)
    os.chdir(root)
    os.makedirs(".old", exist_ok=True)
    mount("/dev", "dev", None, MS_BIND | MS_REC)
    mount("proc", "proc", "proc", 0)
    check(libc.syscall(PIVOT_ROOT, b".", b".old"), "pivot_root")
    os.chdir("/")
    check(libc.umount2(b"/.old", MNT_DETACH), "umount")
    check(libc.sethostname(b"llm-pod", 7), "sethostname")
    os.execv("/usr/bin/llama-server", ["/usr/bin/llama-server", "-m", "/srv/m/tiny.gguf", "--host", "127.0.0.1",
             "--port", port, "-c", "4096", "-np", "2", "-t", "1", "--jinja", "--no-webui", "--threads-http", "32"] + rest)


main()
