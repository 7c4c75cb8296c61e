"""What stands beside the load: nothing, the daemon, the classic sniffer, probes that do nothing, or a peer's
sniffer; and what each of them used, lost and recorded."""
import glob
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time

import load
from load import lab

TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    with open("/proc/%d/stat" % pid) as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss_max_kib(pid):
    with open("/proc/%d/status" % pid) as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))


class Off:
    def __init__(self, bench, server, client_exe):
        pass

    def run(self, work):
        return work()

    def close(self):
        pass


class Watched:
    """Runs the load and adds the watcher's CPU seconds per wall second and its largest RSS."""
    child = None

    def run(self, work):
        before = cpu_seconds(self.child.pid)
        result = work()
        during = cpu_seconds(self.child.pid)
        result["cpu_per_s"] = (during - before) / result["wall_s"]
        result.update(self.settle(result))
        result["cpu_us_per_request"] = (self.cpu_at_end - before) * 1e6 / result["requests"]
        return result


class Daemon(Watched):
    """infertraild with the server selected; its trail goes when it is closed."""
    both = False

    def __init__(self, bench, server, client_exe):
        self.folder = bench.path("daemon")
        os.mkdir(self.folder)
        self.server = server
        selectors = ["--target", "pid=%d" % server.pid]
        if self.both:
            selectors += ["--target", "exe=" + client_exe]
        self.child = lab.Daemon(self.folder, *selectors, digests=False)
        try:
            self.child.wait_targets(server.pid)
        except AssertionError:
            self.close()
            raise

    def settle(self, result):
        """Until everything that was captured is decoded, durable and published."""
        end = time.monotonic()
        last, changed = None, end
        while time.monotonic() - changed < 0.7:
            status = self.child.status()
            now = [status.get(name) for name in ("events", "exchanges", "undecoded", "size", "published")]
            if now != last or status.get("size") != status.get("published"):
                last, changed = now, time.monotonic()
            if time.monotonic() - end > 300:
                raise AssertionError("the daemon does not settle: %s" % status)
            time.sleep(0.1)
        self.cpu_at_end = cpu_seconds(self.child.pid)
        rss = rss_max_kib(self.child.pid)
        losses = {each["kind"]: [int(each.get("events", 0)), int(each.get("bytes", 0))]
                  for each in self.child.status().get("losses", [])}
        self.child.stop()
        records, gaps = self.count_records()
        return {"rss_mib": rss / 1024, "drain_s": changed - end, "losses": losses,
                "lost_events": sum(each[0] for each in losses.values()),
                "lost_bytes": sum(each[1] for each in losses.values()),
                "records": records, "records_with_gaps": gaps,
                "records_per_request": records / result["requests"]}

    def count_records(self):
        """Of the server. Reads the index files: the daemon has ended."""
        records = incomplete = 0
        for path in glob.glob(os.path.join(self.folder, "trail", "index", "*.sqlite")):
            with sqlite3.connect(path) as database:
                row = database.execute("SELECT COUNT(*), SUM(complete = 0) FROM records WHERE pid = ? AND "
                                       "kind IN ('exchange', 'undecoded')", (self.server.pid,)).fetchone()
            records += row[0]
            incomplete += row[1] or 0
        return records, incomplete

    def close(self):
        self.child.stop()
        shutil.rmtree(self.folder)


class DaemonBoth(Daemon):
    both = True


class Classic(Watched):
    """classic_sniffer on the server's libssl, filtered to the server."""
    both = False

    def __init__(self, bench, server, client_exe):
        command = [os.path.join(lab.BIN, "classic_sniffer"), server.libssl]
        if not self.both:
            command.append(str(server.pid))
        self.child = bench.child("sniffer", command)
        lab.wait_for("the sniffer: " + self.child.output(), lambda: "ready\n" in self.child.output())

    def settle(self, result):
        self.cpu_at_end = cpu_seconds(self.child.pid)
        rss = rss_max_kib(self.child.pid)
        self.child.stop()
        counts = json.loads(self.child.output().splitlines()[-1])
        return {"rss_mib": rss / 1024, "sniffer": counts, "records": counts["records"],
                "lost_events": counts["dropped_records"],
                "lost_bytes": counts["dropped_bytes"] + counts["cut_bytes"]}

    def close(self):
        self.child.stop()


class ClassicBoth(Classic):
    both = True


class Empty:
    """The places of the daemon's probes, both ends, and programs that do nothing: the price of the hits."""
    mode = "pair"

    def __init__(self, bench, server, client_exe):
        files = [server.libssl]
        crypto = os.path.join(os.path.dirname(server.libssl), "libcrypto.so.3")
        if "libssl" in server.libssl and os.path.exists(crypto):
            files.append(crypto)
        self.children = []
        for number, file in enumerate(files):
            child = bench.child("empty-%d" % number, [os.path.join(lab.BIN, "empty_probes"), file, self.mode])
            lab.wait_for("empty_probes: " + child.output(), lambda child=child: "ready\n" in child.output())
            self.children.append(child)

    def run(self, work):
        return work()

    def close(self):
        for child in self.children:
            child.stop()


class EmptySession(Empty):
    mode = "session"


class Peer(Watched):
    """The sniffer that peer.sh built. It looks for the library by `ldconfig`, so that its namespace has ours there;
    what it prints is counted and thrown away."""
    both = False
    exe = None   # --peer

    def __init__(self, bench, server, client_exe):
        if not self.exe:
            raise AssertionError("the watcher needs --peer (see peer.sh)")
        paths = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True,
                               env=dict(os.environ, PATH=os.environ.get("PATH", "") + ":/sbin:/usr/sbin")).stdout
        system = next(line.split("=> ")[1] for line in paths.splitlines() if "libssl.so" in line)
        command = [self.exe, "--no-gnutls", "--no-nss"] + ([] if self.both else ["-p", str(server.pid)])
        self.child = bench.child("peer", ["unshare", "--mount", "--propagation", "private", "sh", "-c",
                                          'mount --bind "$0" "$1" && shift && exec "$@"', server.libssl, system] + command)
        with open(self.child.log, "rb"):
            time.sleep(1.5)   # it does not say when it is attached
        if self.child.process.poll() is not None:
            raise AssertionError("the peer ended: " + self.child.output())

    def settle(self, result):
        time.sleep(1)
        self.cpu_at_end = cpu_seconds(self.child.pid)
        rss = rss_max_kib(self.child.pid)
        self.child.stop(signal.SIGINT)
        with open(self.child.log, "rb") as file:
            records = sum(line.startswith(b"{") for line in file)
        return {"rss_mib": rss / 1024, "records": records, "records_per_request": records / result["requests"]}

    def close(self):
        self.child.stop(signal.SIGINT)


class PeerBoth(Peer):
    both = True


WATCHERS = {"off": Off, "empty": Empty, "empty-session": EmptySession, "peer": Peer, "peer-both": PeerBoth, "daemon": Daemon, "daemon-both": DaemonBoth, "classic": Classic,
            "classic-both": ClassicBoth}
