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

from load import Llama, Nginx, Programs, Sse, lab, run_ns
from watch import Peer, WATCHERS

ALL = ["off", "empty", "daemon", "daemon-both", "classic", "classic-both"]
PEER = ["peer", "peer-both"]                 # with --peer only
PLAIN = ["off", "daemon", "daemon-both"]     # the sniffer sees no plain traffic
SHORT = ONE = ["off", "daemon", "classic"]   # one end: llama-server's and the paced clients are this program


def workloads(arguments, bench, programs):
    """name -> (server, watchers, load). Servers start when the first load of theirs is chosen."""
    seconds, calls = arguments.seconds, arguments.calls
    servers = {}

    def server(name, make):
        def get():
            if name not in servers:
                servers[name] = make()
            return servers[name]
        return get

    nginx = server("nginx", lambda: Nginx(bench, programs))
    llama = server("llama", lambda: Llama(bench))
    uvicorn = server("uvicorn", lambda: Sse(bench, programs, "uvicorn"))
    node = server("node", lambda: Sse(bench, programs, "node"))
    rows = {}
    for scheme, watchers in (("tls", ALL), ("plain", PLAIN)):
        for size, name in ((1024, "1k"), (65536, "64k")):
            if arguments.quick and (scheme, name) == ("plain", "64k"):
                continue
            rows["nginx-%s-%s" % (scheme, name)] = (
                nginx, SHORT if arguments.quick and size > 1024 else watchers + (PEER if scheme == "tls" else []),
                lambda scheme=scheme, size=size: nginx().run(scheme, size, seconds))
    rows["uvicorn-tls-sse"] = (uvicorn, SHORT if arguments.quick else ALL, lambda: uvicorn().run(seconds))
    rows["node-tls-sse"] = (node, ONE, lambda: node().run(seconds))
    rows["llama-tls-stream"] = (llama, ONE, lambda: llama().run(calls))
    rows["uvicorn-tls-paced"] = (uvicorn, ONE, lambda: uvicorn().paced(seconds))
    return {name: row for name, row in rows.items() if arguments.only in name}


def measure(bench, name, server, work, client_exe):
    watcher = WATCHERS[name](bench, server, client_exe)

    def timed():
        before = run_ns(server.pid)
        result = work()
        result.setdefault("server_ns", run_ns(server.pid) - before)
        return result

    try:
        cell = watcher.run(timed)
    finally:
        watcher.close()
    cell["server_us"] = cell["server_ns"] / 1e3 / cell["requests"]
    return cell


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
    titles = ("workload", "with", "req/s", "ratio", "p50 us", "ratio", "p99 us", "ratio", "srv us", "more", "cpu/s",
              "us/req", "rss MiB", "drain s", "lost ev", "lost bytes", "gaps", "rec/req")
    rows = [titles]
    for (workload, watcher), cells in results.items():
        offs = results[(workload, "off")]
        row = [workload, watcher]
        for key in ("rps", "p50_us", "p99_us"):
            row += ["%.0f" % median(cells, key), "%.2f" % ratio(cells, offs, key)]
        more = statistics.median(cell["server_us"] - off["server_us"] for cell, off in zip(cells, offs))
        row += ["%.1f" % median(cells, "server_us"), "%+.1f" % more]
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
    parser.add_argument("--watch", default="", help="which of %s, empty-session, %s" % (", ".join(ALL), ", ".join(PEER)))
    parser.add_argument("--peer", help="the sniffer that peer.sh built")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    arguments.seconds = arguments.seconds or (1 if arguments.quick else 5)
    arguments.calls = arguments.calls or (25 if arguments.quick else 100)
    Peer.exe = arguments.peer
    chosen = set(arguments.watch.split(",") if arguments.watch else ALL + (PEER if arguments.peer else [])) | {"off"}
    if os.geteuid() != 0:
        sys.exit("bench.py needs root: it attaches probes")
    if chosen - set(WATCHERS):
        sys.exit("--watch: unknown %s" % ", ".join(sorted(chosen - set(WATCHERS))))

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))   # children end with us
    os.makedirs(os.path.dirname(os.path.abspath(arguments.out)), exist_ok=True)
    bench = lab.Lab()
    results = {}
    try:
        programs = Programs(bench.folder)
        with open(arguments.out, "a") as out:
            for workload, (make, watchers, work) in workloads(arguments, bench, programs).items():
                order = [each for each in watchers if each in chosen]
                if "empty-session" in chosen and "empty" in watchers:
                    order.append("empty-session")
                server = make()
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
