#!/usr/bin/env python3
"""attach_race.py [--count N]: of N programs that nobody has seen before, how many had their first plaintext
captured, how long did each live (median), and how long was it held (median of the longest stop)? One process per copy of the file, three ways to select it:

    wildcard   exe=race*      probed when its first process executes
    prepared   exe=/path      probed before its first process
    stop       exe=name,stop  its first process waits for its probes

for a Go client (TLS inside) and for curl with libraries of its own (wildcard and stop). `declared`: calls that are
not recorded whole and whose connection the trail names (pre_attach, a gap, TLS NOT VISIBLE); `silent`: the others,
which must be 0. Needs root; go_peer_stripped in IT_BIN, curl."""
import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
import lab   # noqa: E402

PEER = os.path.join(lab.BIN, "go_peer_stripped")


def run_go(path, base, folder):
    done = subprocess.run([path, "role=client", "gate=0", "port=" + base, "conns=1", "requests=1"], check=True,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return int(re.search(r"local=(\d+)", done.stdout).group(1))


def run_curl(path, base, folder):
    libraries = os.path.join(folder, os.path.basename(path) + ".lib")
    os.makedirs(libraries)
    for name in ("libssl.so.3", "libcrypto.so.3"):
        shutil.copy("/usr/lib/x86_64-linux-gnu/" + name, libraries)
    started = time.monotonic()
    done = subprocess.run([path, "-sSk", "-o", "/dev/null", "-w", "%{local_port}", "https://127.0.0.1:%s/" % base], check=True,
                          capture_output=True, text=True, env=dict(os.environ, LD_LIBRARY_PATH=libraries))
    return int(done.stdout), time.monotonic() - started


def measure(laboratory, program, way, base, count):
    source, run = (PEER, run_go) if program == "go" else (shutil.which("curl"), run_curl)
    folder = laboratory.path("%s-%s" % (program, way))
    os.makedirs(folder)
    paths = [os.path.join(folder, "race%s%d" % (way, n)) for n in range(count)]
    for path in paths:
        shutil.copy(source, path)
    selectors = {"wildcard": ["exe=race*"], "prepared": ["exe=" + path for path in paths],
                 "stop": ["exe=%s,stop" % os.path.basename(path) for path in paths]}[way]
    daemon = laboratory.daemon(*[word for each in selectors for word in ("--target", each)],
                               trail=laboratory.path("trail-%s-%s" % (program, way)))
    ports, seconds = [], []
    for path in paths:
        started = time.monotonic()
        port = run(path, base, folder)
        ports.append(port[0] if program == "curl" else port)
        seconds.append(port[1] if program == "curl" else time.monotonic() - started)
    time.sleep(6)   # TLS NOT VISIBLE is told 3 s after
    whole, declared = set(), set()
    for record in daemon.records():
        client = record.get("flow", {}).get("client", "")
        if not client:
            continue
        port = int(client.rsplit(":", 1)[1])
        if record["kind"] == "exchange" and record["complete"] and not record["gaps"]:
            whole.add(port)
        elif record["kind"] in ("gap", "coverage", "undecoded") or record["gaps"] or record["flow"]["pre_attach"]:
            declared.add(port)
    missed = [port for port in ports if port not in whole]
    stops = daemon.status()["attach_stops"]
    held = [int(r["event"]["facts"]["longest_us"]) / 1000 for r in daemon.records()
            if r["kind"] == "target" and "longest_us" in r["event"]["facts"]]
    daemon.stop()
    laboratory.children.remove(daemon)
    return {"whole": count - len(missed), "declared": sum(port in declared for port in missed),
            "silent": sum(port not in declared for port in missed), "ms": statistics.median(seconds) * 1000,
            "stops": int(stops["stops"]), "held": statistics.median(held) if held else 0}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20)
    count = parser.parse_args().count
    laboratory = lab.Lab()
    try:
        server = laboratory.child("go-server", [PEER, "role=server", "gate=0"])
        go = lab.wait_for("the server", lambda: re.search(r"ready port=(\d+)", server.output())).group(1)
        python = str(laboratory.fastapi()[0])
        print("%d programs that nobody has seen before, each run once; kernel %s, load average %.1f" % (
            count, os.uname().release, os.getloadavg()[0]))
        print("%-6s %-10s %12s %9s %7s %6s %8s %10s %6s" % ("", "selected", "first whole", "declared", "silent", "stops", "held ms",
                                                 "life ms", "ratio"))
        silent = 0
        for program, base in (("go", go), ("curl", python)):
            first = None
            for way in ("wildcard", "prepared", "stop"):
                if (program, way) == ("curl", "prepared"):
                    continue   # its TLS is in a library, which is not looked up
                seen = measure(laboratory, program, way, base, count)
                first = first or seen["ms"]
                silent += seen["silent"]
                print("%-6s %-10s %9d/%-3d %8d %7d %6d %8.1f %10.1f %6.2f" % (program, way, seen["whole"], count, seen["declared"],
                                                                     seen["silent"], seen["stops"], seen["held"], seen["ms"], seen["ms"] / first))
        return 1 if silent else 0
    finally:
        laboratory.close()


if __name__ == "__main__":
    sys.exit(main())
