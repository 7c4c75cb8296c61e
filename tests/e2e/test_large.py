"""64 MiB each way through rings of the default size, of the server alone and of both ends (capture.md trap 13).

With `strict`, so that every byte is in the records whatever else the machine does meanwhile. With `count` nothing
waits: what the daemon gets no processor for in time is missing, and the records say which bytes."""
import random
import subprocess
import sys
import time
import unittest

import lab

SIZE = (8 if lab.IN_GUEST else 64) << 20

SERVER = """
import socket, ssl, sys
port, answer, certificate = int(sys.argv[1]), open(sys.argv[2], "rb").read(), sys.argv[3:]
listener = socket.create_server(("127.0.0.1", port))
if certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
while True:
    c = listener.accept()[0]
    try:
        if certificate: c = context.wrap_socket(c, server_side=True)
    except OSError:
        continue   # the test asks whether we listen
    head = b""
    while b"\\r\\n\\r\\n" not in head:
        part = c.recv(65536)
        if not part: break
        head += part
    if not head: continue
    head, begun = head.split(b"\\r\\n\\r\\n", 1)
    left = int([l for l in head.split(b"\\r\\n") if l.lower().startswith(b"content-length")][0].split(b":")[1]) - len(begun)
    into = memoryview(bytearray(1 << 20))
    while left > 0: left -= c.recv_into(into)
    c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Type: application/octet-stream\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(answer))
    c.sendall(answer)
    c.close()
"""
CLIENT = """
import hashlib, socket, ssl, sys
port, body, tls = int(sys.argv[1]), open(sys.argv[2], "rb").read(), sys.argv[3] == "tls"
if tls:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
print("loaded", flush=True)
sys.stdin.readline()
c = socket.create_connection(("127.0.0.1", port))
if tls: c = context.wrap_socket(c)
c.sendall(b"POST /large HTTP/1.1\\r\\nHost: x\\r\\nContent-Type: application/octet-stream\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body))
c.sendall(body)
got = bytearray()
while True:
    part = c.recv(1 << 20)
    if not part: break
    got += part
print("answer", hashlib.sha256(got.split(b"\\r\\n\\r\\n", 1)[1]).hexdigest(), flush=True)
"""


class Large(unittest.TestCase):
    def setUp(self):
        self.lab = lab.Lab()
        self.addCleanup(self.lab.close)
        made = random.Random(13)
        self.sha = {}
        for name in ("request", "response"):
            body = made.randbytes(SIZE)
            self.sha[name] = lab.sha256(body)
            with open(self.lab.path(name), "wb") as file:
                file.write(body)

    def end(self, client):
        if client.poll() is None: client.kill()
        client.wait()
        for pipe in (client.stdin, client.stdout): pipe.close()

    def exchange(self, tls, both, mode):
        """-> the records of a request and an answer of SIZE bytes, and the daemon"""
        port = lab.free_port()
        certificate = list(self.lab.certificate()) if tls else []
        server = self.lab.child("server", [lab.PYTHON, "-c", SERVER, str(port), self.lab.path("response")] + certificate)
        lab.wait_for("the server", lambda: lab.listens(port))
        client = subprocess.Popen([lab.PYTHON, "-c", CLIENT, str(port), self.lab.path("request"), "tls" if tls else "plain"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.end, client)
        self.assertEqual(client.stdout.readline(), "loaded\n")
        pids = [server.pid] + ([client.pid] if both else [])
        with open(self.lab.path("c.yaml"), "w") as file:
            file.write("capture:\n  backpressure: %s\n" % mode)
        daemon = self.lab.daemon("--config", self.lab.path("c.yaml"),
                                 *[word for pid in pids for word in ("--target", "pid=%d" % pid)])
        daemon.wait_targets(*pids)
        answer, _ = client.communicate("go\n", lab.PATIENCE * 6)
        self.assertEqual(answer, "answer %s\n" % self.sha["response"])
        lab.wait_for("the exchanges", lambda: int(daemon.status().get("exchanges", 0)) == len(pids), lab.PATIENCE * 6)

        def records():   # each look reads all of them
            time.sleep(1)
            found = daemon.exchanges()
            return len(found) == len(pids) and found
        records = lab.wait_for("the records", records, lab.PATIENCE * 6)
        self.assertEqual({r["flow"]["direction"] for r in records}, {"served", "called"} if both else {"served"})
        return records, daemon

    def expect_whole(self, record):
        self.assertEqual(record["gaps"], [])
        self.assertTrue(record["complete"])
        for name in ("request", "response"):
            self.assertEqual(int(record[name]["bytes"]), SIZE)
            self.assertEqual(record[name]["sha256"], self.sha[name])

    def strict(self, tls, both):
        records, daemon = self.exchange(tls, both, "strict")
        for record in records:
            self.expect_whole(record)
        status = daemon.status()
        self.assertEqual(status["losses"], [])
        pressure = status["backpressure"]
        self.assertEqual(int(pressure.get("unprotected", 0)), 0)
        print("(%s stops, %s segments repeated) " % (pressure.get("stops", 0), pressure.get("repeats", 0)), end="",
              file=sys.stderr, flush=True)

    def count(self, tls):
        """Nobody waits: what the daemon gets no processor for in time is missing, and the records say which bytes."""
        records, _ = self.exchange(tls, True, "count")
        lost = 0
        for record in records:
            missing = {"request": 0, "response": 0}
            for gap in record["gaps"]:
                self.assertIn(gap["reason"], ("ring_full", "lost_segment"))
                missing[gap["direction"]] += int(gap["to"]) - int(gap["from"])
            if not record["gaps"]:
                self.expect_whole(record)
            for name in missing:
                self.assertEqual(int(record[name]["bytes"]) + missing[name], SIZE)
            lost += sum(missing.values())
        print("(%d of %d bytes declared lost) " % (lost, 4 * SIZE), end="", file=sys.stderr, flush=True)

    def test_Trap13_plain_both_ends_counted(self):
        self.count(tls=False)

    def test_Trap13_tls_both_ends_counted(self):
        self.count(tls=True)

    def test_Trap13_plain(self):
        self.strict(tls=False, both=False)

    def test_Trap13_plain_both_ends(self):
        self.strict(tls=False, both=True)

    def test_Trap13_tls(self):
        self.strict(tls=True, both=False)

    def test_Trap13_tls_both_ends(self):
        self.strict(tls=True, both=True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
