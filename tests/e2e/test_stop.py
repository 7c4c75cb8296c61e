"""Stop until attached: a program that nobody has seen before is recorded from its first byte, the trail says that
it was stopped and for how long, and nobody waits for a daemon that does not come."""
import json
import os
import re
import shutil
import signal
import subprocess
import unittest

import lab

PEER = os.path.join(lab.BIN, "go_peer_stripped")


class Stop(unittest.TestCase):
    def setUp(self):
        self.lab = lab.Lab()
        self.addCleanup(self.lab.close)
        self.fresh = 0

    def program(self, source):
        """A copy under a name of its own: a file that was never probed."""
        self.fresh += 1
        path = self.lab.path("%s_fresh%d" % (os.path.basename(source)[:6], self.fresh))
        shutil.copy(source, path)
        return path

    def go_server(self):
        server = self.lab.child("go-server", [PEER, "role=server", "gate=0"])
        return lab.wait_for("the server", lambda: re.search(r"ready port=(\d+)", server.output())).group(1)

    @unittest.skipUnless(os.path.exists(PEER), "built without go")
    def test_the_first_process_of_a_go_program_is_recorded_whole_and_its_stops_too(self):
        port = self.go_server()
        daemon = self.lab.daemon("--target", "comm=nobody")
        paths = [self.program(PEER) for _ in range(5)]
        for path in paths:
            lab.cli(daemon, "target", "add", "exe=%s,stop" % os.path.basename(path))
            subprocess.run([path, "role=client", "gate=0", "port=" + port, "conns=4", "requests=2", "request=3000",
                            "response=4000"], check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=lab.PATIENCE * 3)
        total = len(paths) * 8
        records = lab.wait_for("the records", lambda: (lambda found: found if len(found) >= total else None)(daemon.exchanges()))
        self.assertEqual(len(records), total)
        for record in records:
            self.assertEqual((record["complete"], record["gaps"], record["flow"]["pre_attach"]), (True, [], False), record)
        told = {r["event"]["facts"]["exe"]: r["event"]["facts"] for r in daemon.records()
                if r["kind"] == "target" and r["event"]["what"].startswith("stopped")}
        self.assertEqual(sorted(told), sorted(paths))
        for facts in told.values():
            self.assertEqual(facts["stops"], "1", "the program itself; it maps nothing else")
            self.assertGreater(int(facts["stopped_us"]), 0)
        status = daemon.status()["attach_stops"]
        self.assertEqual((status["on"], status["stops"], status["held_now"], status["overdue"], status["refused"]),
                         (True, str(len(paths)), "0", "0", "0"))
        self.assertIn("stops     %d until attached, 0 held now" % len(paths), lab.cli(daemon, "status").stdout)
        self.assertRegex(lab.cli(daemon, "doctor", check=False).stdout, r"stop until attached +.*%d stops" % len(paths))

    def test_a_library_that_nobody_has_mapped_before(self):
        """Mapped by the dynamic linker long after the exec; with it, curl's very first call is whole."""
        port = self.lab.fastapi()[0]
        daemon = self.lab.daemon("--target", "exe=curl,stop")
        for number in range(3):
            folder = self.lab.path("libraries%d" % number)
            os.makedirs(folder)
            for name in ("libssl.so.3", "libcrypto.so.3"):
                shutil.copy("/usr/lib/x86_64-linux-gnu/" + name, folder)
            subprocess.run(["curl", "-sSk", "https://127.0.0.1:%d/" % port], check=True, capture_output=True,
                           env=dict(os.environ, LD_LIBRARY_PATH=folder), timeout=lab.PATIENCE)
            lab.wait_for("call %d" % number, lambda: len(daemon.exchanges()) == number + 1)
        for record in daemon.exchanges():
            self.assertEqual((record["complete"], record["gaps"], record["flow"]["pre_attach"]), (True, [], False), record)
        self.assertEqual(daemon.status()["attach_stops"]["overdue"], "0")

    def test_nobody_waits_for_a_daemon_that_does_not_come(self):
        daemon = self.lab.daemon("--target", "exe=curl,stop")
        port = self.lab.fastapi(tls=False)[0]
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            subprocess.run(["curl", "-sS", "http://127.0.0.1:%d/" % port], check=True, capture_output=True, timeout=lab.PATIENCE)
        finally:
            daemon.process.send_signal(signal.SIGCONT)
        gap = lab.wait_for("the gap", lambda: [r for r in daemon.records() if r["kind"] == "gap" and
                                               r["event"]["facts"].get("reason") == "attach_late"])
        facts = gap[0]["event"]["facts"]
        self.assertGreater(int(facts["went_on_early"]) + int(facts["not_stopped"]), 0)

    def test_what_cannot_be_known_at_exec_is_refused_with_a_way_out(self):
        config = self.lab.path("config.yaml")
        for selector, why in (("port=80,stop", "exe="), ("auto,stop", "exe="), ("exe=/usr/bin/py*,stop", "without * and ?"),
                              ("cmdline~=x,stop", ",[s]top")):
            with open(config, "w") as file:
                file.write("targets: [%s]\n" % json.dumps(selector))
            done = subprocess.run([os.path.join(lab.BIN, "infertraild"), "--check", "--config", config], capture_output=True,
                                  text=True, timeout=lab.PATIENCE)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(why, done.stderr)
        daemon = self.lab.daemon("--target", "comm=nobody")
        done = lab.cli(daemon, "target", "add", "port=80,stop", check=False)
        self.assertEqual((done.returncode, len(done.stderr.splitlines())), (2, 1), done.stderr)


if __name__ == "__main__":
    unittest.main()
