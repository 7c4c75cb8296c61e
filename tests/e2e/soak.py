#!/usr/bin/python3
"""soak.py [MINUTES]: churn (new connections, new processes, containers that come and go), and what the
daemon holds meanwhile: map entries, file descriptors, resident memory, BPF programs. A line a minute; at the
end, when the churn has stopped, what must be back where it was, and is an error when it is not.

  sudo tests/e2e/soak.py 20        # what scripts/test --full runs; no other daemon may run"""
import json
import os
import subprocess
import sys
import threading
import time

import lab

# Of what lives as long as what it describes. The LRU maps are bounded by themselves.
MAPS = ("targets", "calls", "tls_objects", "small", "target_ports")


class Churn(threading.Thread):
    """One kind of coming and going, again and again until stopped; an error ends the soak."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self.work, self.rounds, self.stopped, self.error = work, 0, False, None

    def run(self):
        try:
            while not self.stopped:
                self.work(self.rounds)
                self.rounds += 1
        except Exception as error:   # told by the main thread
            self.error = error


def entries_of(pid):
    """{map name: entries} of the maps that this daemon holds."""
    listed = json.loads(subprocess.run(["bpftool", "-j", "map", "list"], capture_output=True, check=True).stdout)
    out = {}
    for each in listed:
        # Kernels without the task_file iterator do not say whose a map is; no other daemon may run.
        if each.get("name") not in MAPS or pid not in [p["pid"] for p in each.get("pids", [{"pid": pid}])]:
            continue
        dump = subprocess.run(["bpftool", "-j", "map", "dump", "id", str(each["id"])], capture_output=True)
        entries = json.loads(dump.stdout) if dump.returncode == 0 and dump.stdout else []
        if each["name"] == "calls":   # a thread keeps its entry until it ends; of kind 0 it is in no call
            out["threads_seen"] = len(entries)
            entries = [entry for entry in entries if entry["formatted"]["value"]["kind"]]
        out[each["name"]] = len(entries)
    return out


def held(daemon):
    with open("/proc/%d/status" % daemon.pid) as file:
        rss = int(next(line for line in file if line.startswith("VmRSS")).split()[1])
    return {"rss_kib": rss, "fds": len(os.listdir("/proc/%d/fd" % daemon.pid)),
            "threads": len(os.listdir("/proc/%d/task" % daemon.pid)), **entries_of(daemon.pid)}


def main():
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 20
    here = lab.Lab()
    try:
        plain, _ = here.llama()
        tls, _ = here.llama(tls=True)
        fastapi, _ = here.fastapi()
        daemon = here.daemon("--target", "auto", "--target", "port=%d" % fastapi, digests=False)
        bases = ["http://127.0.0.1:%d" % plain, "https://127.0.0.1:%d" % tls, "https://127.0.0.1:%d" % fastapi]

        def calls(number):   # a process and a connection each
            lab.chat(bases[number % 3], "soak %d" % number, stream=number % 2 == 0)

        def containers(number):
            inner = lab.Lab()
            try:
                port, _ = inner.llama_container()
                for each in range(3):
                    lab.chat("https://127.0.0.1:%d" % port, "container %d call %d" % (number, each))
            finally:
                inner.close()

        for number in range(6):
            calls(number)
        lab.wait_for("records of the first calls", lambda: len(daemon.exchanges()) >= 6)
        lab.wait_for("connections to end", lambda: entries_of(daemon.pid).get("calls", 0) == 0)
        before = held(daemon)
        print("before     %s" % before, flush=True)
        churns = [Churn(calls), Churn(calls), Churn(containers)]
        for churn in churns:
            churn.start()
        began, end = time.monotonic(), time.monotonic() + minutes * 60
        first_half_rss = 0
        while time.monotonic() < end:
            time.sleep(min(60, max(0, end - time.monotonic())))
            now = held(daemon)
            print("minute %3d %s calls=%d containers=%d" % ((time.monotonic() - began) // 60, now,
                  churns[0].rounds + churns[1].rounds, churns[2].rounds), flush=True)
            if time.monotonic() - began < minutes * 30:
                first_half_rss = max(first_half_rss, now["rss_kib"])
            for churn in churns:
                if churn.error:
                    raise churn.error
        for churn in churns:
            churn.stopped = True
        for churn in churns:
            churn.join(lab.PATIENCE * 3)

        def back():
            now = held(daemon)
            return all(now.get(name, 0) <= before.get(name, 0) for name in MAPS) and now["threads"] <= before["threads"]
        try:
            lab.wait_for("the maps to be as before", back, lab.PATIENCE * 3)
        finally:
            after = held(daemon)
            print("after      %s" % after, flush=True)
        status = daemon.status()
        records = len(daemon.exchanges())
        made = churns[0].rounds + churns[1].rounds + 3 * churns[2].rounds + 6
        print("calls %d, records of exchanges %d, lost %s" % (made, records, status.get("losses") or "nothing"))
        # Libraries of containers that are gone are let go after a while: descriptors may lag, not grow.
        if after["fds"] > before["fds"] + 40:
            raise AssertionError("file descriptors grew from %d to %d" % (before["fds"], after["fds"]))
        if records < made:
            raise AssertionError("%d calls, %d records" % (made, records))
        print("1 passed, 0 failed, 0 skipped")
    finally:
        here.close()


if __name__ == "__main__":
    main()
