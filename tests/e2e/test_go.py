"""A server and a client in Go (net/http over crypto/tls, stripped): both are recorded whole, each call
with the right client port, found by the descriptor inside the connection."""
import os
import re
import subprocess
import unittest

import lab

PEER = os.path.join(lab.BIN, "go_peer_stripped")
CONNECTIONS, REQUESTS = 8, 5
REQUEST, RESPONSE = 20000, 50000


def pattern(size, seed):
    return bytes((i * 7 + (i >> 8) + (i >> 16) + seed) & 255 for i in range(size))


@unittest.skipUnless(os.path.exists(PEER), "built without go")
class Go(unittest.TestCase):
    def setUp(self):
        self.lab = lab.Lab()
        self.addCleanup(self.lab.close)

    def test_a_go_server_and_a_go_client_are_recorded_whole(self):
        daemon = self.lab.daemon("--target", "exe=go_peer_stripped")
        server = self.lab.child("server", [PEER, "role=server", "gate=0"])
        port = lab.wait_for("the server", lambda: re.search(r"ready port=(\d+)", server.output())).group(1)
        daemon.wait_targets(server.pid)
        client = subprocess.run([PEER, "role=client", "gate=0", "port=" + port, "conns=%d" % CONNECTIONS,
                                 "requests=%d" % REQUESTS, "request=%d" % REQUEST, "response=%d" % RESPONSE],
                                capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=lab.PATIENCE * 3)
        self.assertEqual(client.returncode, 0, client.stderr)
        ports = {int(each) for each in re.findall(r"^conn .*local=(\d+)", client.stdout, re.M)}
        pid = int(re.search(r"^conn pid=(\d+)", client.stdout, re.M).group(1))
        total = CONNECTIONS * REQUESTS
        records = lab.wait_for("the records", lambda: (lambda found: found if len(found) >= 2 * total else None)(
            daemon.exchanges()))
        answer = lab.sha256(pattern(RESPONSE, 3))
        bodies = [lab.sha256(pattern(REQUEST, seed)) for seed in range(CONNECTIONS + REQUESTS)]
        for direction, owner in (("served", server.pid), ("called", pid)):
            ours = [r for r in records if r["flow"]["direction"] == direction]
            self.assertEqual(len(ours), total)
            seeds = []
            for record in ours:
                self.assertEqual((record["complete"], record["gaps"], record["http"]["status"]), (True, [], 200), record)
                self.assertEqual(record["process"]["pid"], owner)
                self.assertEqual(record["flow"]["bind"], "go_fd")
                self.assertIn(int(record["flow"]["client"].rsplit(":", 1)[1]), ports)
                self.assertEqual(record["response"]["sha256"], answer)
                seeds.append(bodies.index(record["request"]["sha256"]))
            self.assertEqual(sorted(seeds), sorted(i + k for i in range(CONNECTIONS) for k in range(REQUESTS)))
        # Both ends of one call name one port.
        self.assertEqual({(r["flow"]["client"], r["request"]["sha256"]) for r in records if r["flow"]["direction"] == "served"},
                         {(r["flow"]["client"], r["request"]["sha256"]) for r in records if r["flow"]["direction"] == "called"})
        problems = [p["problems"] for p in daemon.status()["processes"] if p.get("problems")]
        self.assertEqual(problems, [])


if __name__ == "__main__":
    unittest.main()
