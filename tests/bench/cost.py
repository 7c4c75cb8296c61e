#!/usr/bin/python3
"""What a call costs the process that makes it: nothing attached, beside a daemon that watches another
process of the same library, and as its target. Nanoseconds a call, and ratios to the run's own `off`.

  sudo tests/bench/cost.py [ROUNDS]

TLS rows: SSL_write + SSL_read in memory (100 B, 16 KiB). tcp_512: a ping-pong over loopback. The rows `empty`
have nothing but empty programs where the daemon has its own. A private copy of libssl: other daemons on the
machine do not count. No figure is asserted: it fails when something does not work."""
import json
import os
import statistics
import subprocess
import sys

from load import Programs, lab
from watch import Empty, EmptySession

KINDS = ("tls_100", "tls_16k", "tcp_512")


class Loop:
    def __init__(self, environment):
        self.process = subprocess.Popen([os.path.join(lab.BIN, "call_cost")], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=environment)
        self.process.stdout.readline()

    def measure(self):
        self.process.stdin.write("x\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def daemon_beside(bench, name, pid):
    folder = bench.path(name)
    os.mkdir(folder)
    daemon = lab.Daemon(folder, "--target", "pid=%d" % pid, digests=False)
    daemon.wait_targets(pid)
    return daemon


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    if os.geteuid() != 0:
        sys.exit("cost.py needs root: it attaches probes")
    bench = lab.Lab()
    programs = Programs(bench.folder)
    cells = {"off": [], "empty": [], "empty session": [], "not a target": [], "target": []}
    loop, other = Loop(programs.environment), Loop(programs.environment)
    try:
        for number in range(rounds):
            cells["off"].append(loop.measure())
            for name, kind in (("empty", Empty), ("empty session", EmptySession)):
                empty = kind(bench, programs, None)
                try:
                    cells[name].append(loop.measure())
                finally:
                    empty.close()
            for name, pid in (("not a target", other.process.pid), ("target", loop.process.pid)):
                daemon = daemon_beside(bench, "%s-%d" % (name.replace(" ", "-"), number), pid)
                try:
                    cells[name].append(loop.measure())
                finally:
                    daemon.stop()
    finally:
        loop.close()
        other.close()
        bench.close()
    print("kernel %s, %d rounds, load average %.1f; ns a pair of calls, ratio to off" %
          (os.uname().release, rounds, os.getloadavg()[0]))
    print("%-14s" % "" + "".join("%12s %6s" % (kind, "ratio") for kind in KINDS))
    for name, row in cells.items():
        line = "%-14s" % name
        for kind in KINDS:
            line += "%12.0f %6.2f" % (statistics.median(cell[kind] for cell in row), statistics.median(
                cell[kind] / off[kind] for cell, off in zip(row, cells["off"])))
        print(line)


if __name__ == "__main__":
    main()
