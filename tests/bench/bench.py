#!/usr/bin/python3
"""What capture costs a loaded server: requests/s and latency with nothing, with infertraild and with
the classic sniffer beside it, in interleaved rounds of one run. See README.md for the columns.

  sudo tests/bench/bench.py [--quick] [--out FILE] [--rounds N] [--seconds N] [--only TEXT] [--watch LIST]

Prints numbers and fails on errors only: no figure is asserted."""
import argparse
import json
import os
import platform
import signal
import statistics
import sys
import time

from load import Llama, Nginx, Programs, lab
from watch import WATCHERS

ALL = ["off", "daemon", "daemon-both", "classic", "classic-both"]
PLAIN = ["off", "daemon", "daemon-both"]     # the sniffer sees no plain traffic
SHORT = LLAMA = ["off", "daemon", "classic"]   # llama-server's clients are this program


def workloads(arguments, nginx, llama):
    """name -> (server, watchers, load)."""
    seconds, calls = arguments.seconds, arguments.calls
    rows = {}
    for scheme, watchers in (("tls", ALL), ("plain", PLAIN)):
        for size, name in ((1024, "1k"), (65536, "64k")):
            if arguments.quick and (scheme, name) == ("plain", "64k"):
                continue
            rows["nginx-%s-%s" % (scheme, name)] = (
                nginx, SHORT if arguments.quick and size > 1024 else watchers,
                lambda scheme=scheme, size=size: nginx.run(scheme, size, seconds))
    rows["llama-tls-stream"] = (llama, LLAMA, lambda: llama.run(calls))
    return {name: row for name, row in rows.items() if arguments.only in name}


def measure(bench, name, server, work, client_exe):
    watcher = WATCHERS[name](bench, server, client_exe)
    try:
        return watcher.run(work)
    finally:
        watcher.close()


def median(cells, key):
    values = [cell[key] for cell in cells if key in cell]
    return statistics.median(values) if values else None


def ratio(cells, offs, key):
    """Median of the ratios to `off` of the same round: what disturbs a round disturbs both."""
    return statistics.median(cell[key] / off[key] for cell, off in zip(cells, offs))


def worst(cells, key):
    values = [cell[key] for cell in cells if key in cell]
    return max(values) if values else None


def show(value, form):
    return "-" if value is None else form % value


def print_table(results):
    titles = ("workload", "with", "req/s", "ratio", "p50 us", "ratio", "p99 us", "ratio", "cpu/s", "us/req",
              "rss MiB", "drain s", "lost ev", "lost bytes", "gaps", "rec/req")
    rows = [titles]
    for (workload, watcher), cells in results.items():
        offs = results[(workload, "off")]
        row = [workload, watcher]
        for key in ("rps", "p50_us", "p99_us"):
            row += ["%.0f" % median(cells, key), "%.2f" % ratio(cells, offs, key)]
        row += [show(median(cells, "cpu_per_s"), "%.2f"), show(median(cells, "cpu_us_per_request"), "%.0f"),
                show(worst(cells, "rss_mib"), "%.0f"), show(median(cells, "drain_s"), "%.1f"),
                show(worst(cells, "lost_events"), "%d"), show(worst(cells, "lost_bytes"), "%d"),
                show(worst(cells, "records_with_gaps"), "%d"), show(median(cells, "records_per_request"), "%.4f")]
        rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(titles))]
    for row in rows:
        print("  ".join(text.ljust(width) if i < 2 else text.rjust(width)
                        for i, (text, width) in enumerate(zip(row, widths))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="about a minute: proves that the benchmark works")
    parser.add_argument("--out", default=os.path.join(lab.ROOT, "build", "bench", "results.jsonl"))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=int, help="of wrk in each cell")
    parser.add_argument("--calls", type=int, help="streamed chats of each of the 4 clients")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument("--watch", default=",".join(ALL), help="which of " + ", ".join(ALL))
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    arguments.seconds = arguments.seconds or (1 if arguments.quick else 5)
    arguments.calls = arguments.calls or (25 if arguments.quick else 100)
    chosen = set(arguments.watch.split(",")) | {"off"}
    if os.geteuid() != 0:
        sys.exit("bench.py needs root: it attaches probes")
    if chosen - set(ALL):
        sys.exit("--watch: unknown %s" % ", ".join(sorted(chosen - set(ALL))))

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))   # children end with us
    os.makedirs(os.path.dirname(os.path.abspath(arguments.out)), exist_ok=True)
    bench = lab.Lab()
    results = {}
    try:
        programs = Programs(bench.folder)
        nginx, llama = Nginx(bench, programs), Llama(bench)
        with open(arguments.out, "a") as out:
            for workload, (server, watchers, work) in workloads(arguments, nginx, llama).items():
                order = [each for each in watchers if each in chosen]
                for each in order:
                    results[(workload, each)] = []
                work()   # warm: files, caches, connections
                for number in range(arguments.rounds):
                    for each in order[number % len(order):] + order[:number % len(order)]:
                        cell = measure(bench, each, server, work, programs.wrk)
                        cell.update(workload=workload, watcher=each, round=number, time=time.time(),
                                    kernel=platform.release(), cpus=len(os.sched_getaffinity(0)),
                                    load=os.getloadavg()[0])
                        results[(workload, each)].append(cell)
                        out.write(json.dumps(cell) + "\n")
                        out.flush()
                        print(".", end="", file=sys.stderr, flush=True)
    finally:
        print("", file=sys.stderr)
        bench.close()
    print("%s, kernel %s, %d CPUs, %d rounds; load average %.1f; each cell is in %s"
          % (time.strftime("%Y-%m-%d %H:%M"), platform.release(), len(os.sched_getaffinity(0)),
             arguments.rounds, os.getloadavg()[0], arguments.out))
    print_table(results)


if __name__ == "__main__":
    main()
