"""What is missing is said, to the byte; what is not seen raises an alarm; and strict loses nothing."""
import json
import os
import signal
import socket
import ssl
import subprocess
import time
import unittest

import lab

SERVER = """
import socket, ssl, sys, threading
def serve(c):
    if len(sys.argv) > 3:
        c = context.wrap_socket(c, server_side=True)
    data = b""
    while b"\\r\\n\\r\\n" not in data: data += c.recv(65536)
    head, body = data.split(b"\\r\\n\\r\\n", 1)
    left = int([l for l in head.split(b"\\r\\n") if l.lower().startswith(b"content-length")][0].split(b":")[1]) - len(body)
    while left > 0: left -= len(c.recv(65536))
    c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"); c.close()
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain(sys.argv[3], sys.argv[2])
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=50)
while True: threading.Thread(target=serve, args=(listener.accept()[0],)).start()
"""
SIZE = (8 if lab.IN_GUEST else 48) << 20


class Ledger(unittest.TestCase):
    def setUp(self):
        self.lab = lab.Lab()
        self.addCleanup(self.lab.close)

    def config(self, text):
        with open(self.lab.path("c.yaml"), "w") as file:
            file.write(text)
        return self.lab.path("c.yaml")

    def server(self, tls):
        port = lab.free_port()
        arguments = list(self.lab.certificate()) if tls else []
        child = self.lab.child("server-%d" % port, [lab.PYTHON, "-c", SERVER, str(port)] + arguments)
        lab.wait_for("the server", lambda: lab.listens(port))
        return port, child

    def post(self, port, tls, daemon):
        """One request; the daemon sleeps through most of its body. -> nothing: the answer was right"""
        sock = socket.create_connection(("127.0.0.1", port))
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            sock = context.wrap_socket(sock)
        sock.sendall(b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % SIZE + b"a" * 1000)
        time.sleep(0.5)
        part, left, naps = b"b" * 65536, SIZE - 1000, 4
        for nap in range(naps):
            daemon.process.send_signal(signal.SIGSTOP)
            try:
                self.resume_after(daemon, 0.4)
                share = left if nap == naps - 1 else min(left, SIZE // naps)
                while share > 0:
                    sent = min(share, len(part))
                    sock.sendall(part[:sent])
                    share -= sent
                    left -= sent
            finally:
                self.waker.wait()
            time.sleep(0.3)
        self.assertIn(b"200 OK", sock.recv(4096))
        sock.close()

    def resume_after(self, daemon, seconds):
        self.waker = subprocess.Popen(["sh", "-c", "sleep %s; kill -CONT %d" % (seconds, daemon.pid)])

    def exchange(self, daemon):
        return lab.wait_for("the record", lambda: [r for r in daemon.exchanges() if r["flow"]["direction"] == "served"])

    def overload(self, tls):
        port, child = self.server(tls)
        daemon = self.lab.daemon("--target", "pid=%d" % child.pid, "--config",
                                 self.config("capture:\n  data_ring_bytes: 1MiB\n"))
        daemon.wait_targets(child.pid)
        self.post(port, tls, daemon)
        record = self.exchange(daemon)[0]
        self.assertFalse(record["complete"])
        gaps = [g for g in record["gaps"] if g["direction"] == "request"]
        missing = sum(int(g["to"]) - int(g["from"]) for g in gaps)
        self.assertGreater(missing, SIZE // 20)
        self.assertEqual(int(record["request"]["bytes"]) + missing, SIZE)
        self.assertEqual({g["reason"] for g in gaps} - {"ring_full"}, set())
        text = lab.cli(daemon, "status").stdout
        self.assertIn("lost      ring_full: ", text)
        self.assertNotIn("lost      nothing", text)

    def test_overload_plain_is_accounted_to_the_byte(self):
        self.overload(False)

    def test_overload_tls_is_accounted_to_the_byte(self):
        self.overload(True)

    def strict(self, tls):
        port, child = self.server(tls)
        daemon = self.lab.daemon("--target", "pid=%d" % child.pid, "--config", self.config(
            "capture:\n  data_ring_bytes: 1MiB\n  backpressure: strict\n"))
        daemon.wait_targets(child.pid)
        return port, child, daemon

    def loses_nothing(self, tls, held_by):
        port, child, daemon = self.strict(tls)
        self.post(port, tls, daemon)
        record = self.exchange(daemon)[0]
        self.assertTrue(record["complete"], record["gaps"])
        self.assertEqual(int(record["request"]["bytes"]), SIZE)
        self.assertEqual(record["request"]["sha256"], lab.sha256(b"a" * 1000 + b"b" * (SIZE - 1000)))
        status = daemon.status()
        self.assertEqual(status["losses"], [])
        self.assertEqual(status["backpressure"]["mode"], "strict")
        self.assertEqual(int(status["backpressure"].get("unprotected", 0)), 0)
        self.assertGreater(int(status["backpressure"][held_by]), 0)
        self.assertIn("(backpressure: strict)", lab.cli(daemon, "status").stdout)

    def test_strict_loses_nothing_of_tls(self):
        self.loses_nothing(True, "stops")

    def test_strict_loses_nothing_of_plain_tcp(self):
        self.loses_nothing(False, "repeats")

    def test_strict_plain_tcp_goes_on_when_the_daemon_is_killed(self):
        port, child, daemon = self.strict(False)
        sock = socket.create_connection(("127.0.0.1", port))
        self.addCleanup(sock.close)
        sock.sendall(b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % SIZE)
        daemon.process.send_signal(signal.SIGSTOP)
        sock.settimeout(0.2)
        sent = 0
        try:
            while sent < SIZE: sent += sock.send(b"b" * min(65536, SIZE - sent))
        except TimeoutError:
            pass
        self.assertLess(sent, SIZE, "nobody waited for the daemon that stands still")
        self.lab.kills = True
        daemon.process.kill()
        daemon.process.wait()
        sock.settimeout(lab.PATIENCE)
        while sent < SIZE: sent += sock.send(b"b" * min(65536, SIZE - sent))
        self.assertIn(b"200 OK", sock.recv(4096))

    def test_Trap38_a_killed_daemon_leaves_nobody_stopped(self):
        port, child, daemon = self.strict(True)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port)))
        sock.settimeout(lab.PATIENCE)
        sock.sendall(b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % SIZE)

        def state():
            with open("/proc/%d/stat" % child.pid) as file:
                return file.read().rsplit(")", 1)[1].split()[0]
        daemon.process.send_signal(signal.SIGSTOP)
        sock.settimeout(0.2)
        sent = 0
        try:
            while sent < SIZE and state() != "T":
                sent += sock.send(b"b" * 65536)
        except (TimeoutError, ssl.SSLError):
            pass
        lab.wait_for("the server to be held", lambda: state() == "T")
        self.lab.kills = True
        daemon.process.kill()
        daemon.process.wait()
        self.addCleanup(sock.close)
        lab.wait_for("the server to go on", lambda: state() != "T", 5)

    def test_tls_that_nobody_reads_is_an_alarm_and_its_end_is_told(self):
        # TLS that no probe of ours knows is played by a target that only passes TLS on.
        port = lab.free_port()
        upstream, child = self.server(True)
        proxy = self.lab.child("proxy", [lab.PYTHON, "-c", PROXY, str(port), str(upstream)])
        lab.wait_for("the proxy", lambda: lab.listens(port))
        daemon = self.lab.daemon("--target", "pid=%d" % proxy.pid)
        daemon.wait_targets(proxy.pid)
        began = time.monotonic()
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port)))
        sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
        lab.wait_for("the alarm", lambda: [r for r in daemon.records(kind="gap") if r["event"]["what"] == "TLS NOT VISIBLE"], 5)
        self.assertLess(time.monotonic() - began, 6)
        text = lab.cli(daemon, "status").stdout
        self.assertIn("TLS NOT VISIBLE on ", text)
        doctor = lab.cli(daemon, "doctor", check=False)
        self.assertEqual(doctor.returncode, 1)
        self.assertIn("TLS connections whose plaintext was not seen", doctor.stdout)
        sock.close()
        lab.wait_for("its end", lambda: int(daemon.status()["coverage"]["dark_now"]) == 0)

    def test_the_canary_sees_a_probe_that_is_detached_behind_our_back(self):
        port, child = self.server(True)
        daemon = self.lab.daemon("--target", "pid=%d" % child.pid, "--config",
                                 self.config("capture:\n  canary_interval: 5s\n"))
        lab.wait_for("the canary", lambda: daemon.status()["canary"]["state"] == "seen")
        self.assertIn("canary    seen ", lab.cli(daemon, "status").stdout)
        self.assertEqual(daemon.exchanges(), [])
        self.assertEqual([r for r in daemon.records() if r["kind"] in ("undecoded", "gap")], [])
        ours = subprocess.run(["bpftool", "-j", "link"], capture_output=True, text=True, check=True)
        mine = self.program_ids(daemon.pid)
        links = [l["id"] for l in json.loads(ours.stdout)
                 if l.get("attach_type") in ("cgroup_inet_egress", "inet_egress", "egress") and l["prog_id"] in mine]
        self.assertEqual(len(links), 1, ours.stdout)
        subprocess.run(["bpftool", "link", "detach", "id", str(links[0])], check=True)
        record = lab.wait_for("the alarm", lambda: [r for r in daemon.records(kind="gap")
                                                    if r["event"]["facts"].get("reason") == "canary"], lab.PATIENCE + 10)[0]
        self.assertIn("which connection an object belongs to", record["event"]["facts"]["missing"])
        self.assertIn("canary    NOT SEEN", lab.cli(daemon, "status").stdout)

    def program_ids(self, pid):
        """Programs that this process holds, by /proc."""
        out = set()
        for number in os.listdir("/proc/%d/fdinfo" % pid):
            with open("/proc/%d/fdinfo/%s" % (pid, number)) as file:
                out |= {int(l.split()[1]) for l in file if l.startswith("prog_id:")}
        return out

    def test_discover_says_what_is_monitored(self):
        port, pid = self.lab.fastapi(tls=False)
        daemon = self.lab.daemon("--target", "comm=nothing-has-this-name")
        found = json.loads(lab.cli(daemon, "target", "discover", "--json").stdout)["processes"]
        for process in found:
            self.assertEqual(process["coverage"], "not monitored")


PROXY = """
import socket, sys, threading
def pump(a, b):
    try:
        while True:
            data = a.recv(65536)
            if not data: break
            b.sendall(data)
    except OSError: pass
    for s in (a, b):
        try: s.shutdown(socket.SHUT_RDWR)
        except OSError: pass
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    a = listener.accept()[0]; b = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    threading.Thread(target=pump, args=(a, b)).start(); threading.Thread(target=pump, args=(b, a)).start()
    del a, b
"""

if __name__ == "__main__":
    unittest.main(verbosity=2)
