"""A record that `log` has shown is never lost or changed, whenever the daemon is killed.
IT_KILLS: how many times (20; scripts/test --full takes 1000)."""
import json
import os
import random
import signal
import subprocess
import threading
import time
import unittest

import lab

KILLS = int(os.environ.get("IT_KILLS", "20"))


class Load(threading.Thread):
    """Calls without end, on new connections and kept ones. Never fails because of the recorder."""

    def __init__(self, base):
        super().__init__(daemon=True)
        self.base, self.stopped, self.calls, self.failed = base, False, 0, []

    def run(self):
        while not self.stopped:
            try:
                lab.chat(self.base, "call %d of jane.doe@example.com" % self.calls, self.calls % 2 == 0)
                self.calls += 1
            except subprocess.CalledProcessError as error:
                self.failed.append(error.stderr.decode())


class Crash(unittest.TestCase):
    def setUp(self):
        self.lab = lab.Lab()
        self.addCleanup(self.lab.close)

    def test_kill_9_under_load_loses_no_acknowledged_record(self):
        chance = random.Random(7)
        plain, _ = self.lab.llama()
        tls, _ = self.lab.llama(tls=True)
        loads = [Load("http://127.0.0.1:%d" % plain), Load("https://127.0.0.1:%d" % tls)]
        for load in loads:
            load.start()
        acknowledged = {}   # index -> the record's line, as an outsider saw it
        daemon = None
        for _ in range(KILLS):
            daemon = lab.Daemon(self.lab.folder)
            end = time.monotonic() + chance.uniform(0.2, 1.2)
            while time.monotonic() < end:
                query = {"limit": 1000}
                if acknowledged:
                    query.update(after_set=True, after_index=str(max(acknowledged)), limit=100000)
                for record in daemon.records(**query):
                    acknowledged[int(record["index"])] = record
            daemon.process.send_signal(signal.SIGKILL)
            daemon.process.wait()
            daemon.file.close()
        for load in loads:
            load.stopped = True
        for load in loads:
            load.join(lab.PATIENCE)
        self.assertEqual([f for load in loads for f in load.failed], [], "the recorder's death broke a call")
        verified = lab.cli(None, "verify", "--trail", daemon.trail, check=False)
        # The last daemon died: what it had not published is checked all the same.
        self.assertEqual(verified.returncode, 0, verified.stdout + verified.stderr)
        final = lab.Daemon(self.lab.folder)
        kept = {int(r["index"]): r for r in final.records()}
        final.stop()
        lost = [index for index in acknowledged if index not in kept]
        changed = [index for index in acknowledged if index in kept and kept[index] != acknowledged[index]]
        self.assertEqual((lost, changed), ([], []), "of %d acknowledged" % len(acknowledged))
        self.assertEqual(sorted(kept), list(range(len(kept))), "indexes are contiguous")
        self.assertGreater(sum(r["kind"] == "exchange" for r in acknowledged.values()), KILLS)
        lab.cli(None, "verify", "--trail", final.trail)
        print("%d kills, %d calls, %d records acknowledged, 0 lost" %
              (KILLS, sum(load.calls for load in loads), len(acknowledged)))

    def test_a_restart_leaves_nothing_attached_and_goes_on_in_the_same_log(self):
        def attached():
            links = subprocess.run(["bpftool", "-j", "prog", "list"], capture_output=True, text=True, check=True)
            names = {"tls_enter", "flow_in", "flow_out", "process_exec", "socket_state"}
            return [p["name"] for p in json.loads(links.stdout) if p.get("name") in names]
        before = attached()
        port, _ = self.lab.llama()
        sizes = []
        for _ in range(2):
            daemon = lab.Daemon(self.lab.folder)
            daemon.wait_targets()
            lab.chat("http://127.0.0.1:%d" % port, "hello")
            lab.wait_for("a record", lambda: daemon.exchanges())
            self.assertEqual(daemon.stop(), 0, daemon.output())
            sizes.append(int(lab.cli(None, "verify", "--trail", daemon.trail).stdout.split("size")[1].split()[0]))
        lab.wait_for("everything detached", lambda: attached() == before)
        self.assertGreater(sizes[1], sizes[0])


if __name__ == "__main__":
    unittest.main()
