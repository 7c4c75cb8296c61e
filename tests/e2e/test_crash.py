"""A record that `log` has shown is never lost or changed, whenever the daemon is killed.
IT_KILLS: how many times (20; scripts/test --full takes 1000)."""
import json
import os
import random
import re
import signal
import subprocess
import threading
import time
import unittest

import lab

KILLS = int(os.environ.get("IT_KILLS", "20"))


PINS = "/sys/fs/bpf/infertrail"


def attached():
    """What of ours the kernel holds: programs, maps, links."""
    def listed(kind):
        done = subprocess.run(["bpftool", "-j", kind, "list"], capture_output=True, text=True, check=True)
        return json.loads(done.stdout or "[]")
    ours = [p["id"] for p in listed("prog")
            if p.get("name") in ("tls_enter", "tls_exit", "flow_in", "flow_out", "process_exec", "socket_state")]
    names = {"data_ring", "control_ring", "tls_objects", "target_notes", ".data.shared"}
    found = [("prog", id) for id in ours]
    found += [("map", m["id"]) for m in listed("map") if m.get("name") in names]
    return found + [("link", each["id"]) for each in listed("link") if each.get("prog_id") in ours]


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
        self.lab.kills = True
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
        # Each call says its own number to its own server: how often each was recorded.
        numbers = [(r["process"]["pid"], number) for r in kept.values() if r["kind"] == "exchange"
                   for number in re.findall(r"call (\d+) of ", json.dumps(r["inference"]))]
        self.assertEqual(len(numbers), len(set(numbers)), "no call is recorded twice")
        print("%d kills, %d calls, %d records acknowledged, 0 lost; %d calls recorded" %
              (KILLS, sum(load.calls for load in loads), len(acknowledged), len(numbers)))

    def end(self, daemon, number):
        daemon.process.send_signal(number)
        daemon.process.wait(lab.PATIENCE)
        daemon.file.close()
        return daemon.process.returncode

    def say_while_no_daemon_runs(self, rounds, number):
        """Each round: a daemon, its end by the signal, calls, the next daemon. -> records of the starts"""
        plain, plain_pid = self.lab.llama()
        tls, tls_pid = self.lab.llama(tls=True)
        bases = ["http://127.0.0.1:%d" % plain, "https://127.0.0.1:%d" % tls]
        daemon = lab.Daemon(self.lab.folder)
        daemon.wait_targets(plain_pid, tls_pid)
        said = []
        for number_of in range(rounds):
            code = self.end(daemon, number)
            self.assertEqual(code, -signal.SIGKILL if number == signal.SIGKILL else 0)
            for base in bases:
                for stream in (False, True):
                    said.append("nobody listens %d %s %s." % (number_of, base[:5], stream))
                    lab.chat(base, said[-1], stream)
            daemon = lab.Daemon(self.lab.folder)
            self.lab.children.append(daemon)

            def recorded():
                texts = [json.dumps(r) for r in daemon.exchanges()]
                return [sum(each in text for text in texts) for each in said] == [1] * len(said)
            lab.wait_for("each call of the downtime, once", recorded)
        for record in daemon.exchanges():
            if any(each in json.dumps(record) for each in said):
                self.assertTrue(record["complete"], record)
                self.assertEqual(record["gaps"], [], record)
                self.assertEqual(record["process"]["pid"] in (plain_pid, tls_pid), True, record)
        starts = [r["event"]["facts"] for r in daemon.records(kind="capture.start")]
        self.assertEqual(daemon.status().get("losses", []), [])
        self.assertEqual(daemon.stop(), 0, daemon.output())
        self.assertFalse(os.path.exists(PINS), "a clean stop leaves no pins")
        return starts

    def test_what_is_said_after_kill_9_is_recorded_by_the_next_daemon(self):
        starts = self.say_while_no_daemon_runs(5, signal.SIGKILL)
        self.assertEqual([s["adopted"] for s in starts], ["no"] + ["yes"] * 5)
        for facts in starts[1:]:
            self.assertEqual(facts["previous_end"], "killed")
            self.assertGreater(int(facts["unread_records"]), 0)
            self.assertIn("no_daemon_ms", facts)

    def test_a_daemon_that_hands_over_leaves_the_capture_to_the_next(self):
        starts = self.say_while_no_daemon_runs(2, signal.SIGUSR2)
        self.assertEqual([s.get("previous_end") for s in starts], [None, "handed over", "handed over"])

    def test_what_a_dead_daemon_left_is_removed_on_request(self):
        detach = [os.path.join(lab.BIN, "infertraild"), "--detach"]
        daemon = lab.Daemon(self.lab.folder)
        refused = subprocess.run(detach, capture_output=True, text=True)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("another infertraild", refused.stderr)
        os.makedirs(self.lab.path("second"))
        second = lab.Daemon(self.lab.path("second"), ready=False)
        self.assertEqual(second.process.wait(lab.PATIENCE), 1, "two daemons share pins")
        second.file.close()
        self.assertIn("capture.pin_dir", second.output())
        self.end(daemon, signal.SIGKILL)
        self.assertTrue(os.path.exists(PINS))
        removed = subprocess.run(detach, capture_output=True, text=True, check=True)
        self.assertRegex(removed.stdout, r"removed %s/v\w+: \d+ links, \d+ maps" % PINS)
        self.assertFalse(os.path.exists(PINS))
        lab.wait_for("everything detached", lambda: not attached())
        again = subprocess.run(detach, capture_output=True, text=True, check=True)
        self.assertIn("nothing is left", again.stdout)

    def test_a_restart_leaves_nothing_attached_and_goes_on_in_the_same_log(self):
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
        self.assertFalse(os.path.exists(PINS))
        self.assertGreater(sizes[1], sizes[0])


if __name__ == "__main__":
    unittest.main()
