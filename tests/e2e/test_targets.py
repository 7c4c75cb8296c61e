"""Which processes are recorded: every selector, given at start or at run time, and processes that come
later, with their children, from their first byte."""
import json
import os
import signal
import subprocess
import sys
import time
import unittest

import lab

SERVER = """
import http.server, os, signal, ssl, sys, time
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain(sys.argv[3], sys.argv[2])
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


class Selecting(unittest.TestCase):
    def setUp(self):
        self.lab = lab.Lab()
        self.addCleanup(self.lab.close)

    def server(self, name="server", tls=False, command=(lab.PYTHON,), **kwargs):
        port = lab.free_port()
        arguments = [str(port)] + (list(self.lab.certificate()) if tls else [])
        child = self.lab.child("%s-%d" % (name, port), list(command) + ["-c", SERVER] + arguments, **kwargs)
        lab.wait_for(name, lambda: lab.listens(port))
        return port, child

    def post(self, port, text, tls=False):
        answer = subprocess.run(["curl", "-sSk", "--fail", "http%s://127.0.0.1:%d/x" % ("s" if tls else "", port),
                                 "--data-binary", "@-"], input=text, check=True, capture_output=True, text=True)
        self.assertEqual(answer.stdout, text)

    def bodies(self, daemon):
        # Served ones: with exe=python3* the test itself is a target, and so is the curl that it starts.
        return [r["request"]["body"] for r in daemon.exchanges()
                if r["flow"]["direction"] == "served" or r["process"]["exe"] != "/usr/bin/curl" or not self.served_only]

    served_only = False

    def assert_recorded(self, daemon, text):
        lab.wait_for(text, lambda: text in self.bodies(daemon))

    def test_selectors_added_and_removed_at_run_time(self):
        self.served_only = True
        daemon = self.lab.daemon("--target", "comm=nothing-has-this-name")
        port, child = self.server()
        group = os.path.join(next(l.split()[1] for l in open("/proc/mounts") if l.split()[2] == "cgroup2"), "infertrail-select.service")
        os.makedirs(group, exist_ok=True)
        self.addCleanup(os.rmdir, group)
        self.addCleanup(child.stop, signal.SIGKILL)
        with open(os.path.join(group, "cgroup.procs"), "w") as file:
            file.write(str(child.pid))
        selectors = ["pid=%d" % child.pid, "exe=" + os.path.realpath(lab.PYTHON), "exe=python3*", "comm=python3*",
                     "cmdline~=BaseHTTP.*%d" % port, "cgroup=/infertrail-select.service", "port=%d" % port,
                     "unit=infertrail-select.service", "unit=infertrail-select"]
        for number, selector in enumerate(selectors):
            with self.subTest(selector):
                self.post(port, "before %d" % number)
                lab.cli(daemon, "target", "add", selector)
                listed = json.loads(daemon.call("GET", "/v1/targets"))
                self.assertIn(selector, listed["selectors"])
                self.assertIn(child.pid, [p["process"]["pid"] for p in listed["processes"]])
                self.post(port, "with %d" % number)
                self.assert_recorded(daemon, "with %d" % number)
                lab.cli(daemon, "target", "remove", selector)
                self.post(port, "after %d" % number)
        time.sleep(0.5)
        self.assertEqual(sorted(self.bodies(daemon)), sorted("with %d" % n for n in range(len(selectors))))
        changes = [r["event"]["facts"]["selector"] for r in daemon.records() if r["kind"] == "target"]
        self.assertEqual(len(changes), 2 * len(selectors), "each change is in the trail")
        done = lab.cli(daemon, "target", "remove", "comm=never-added", check=False)
        self.assertEqual((done.returncode, len(done.stderr.splitlines())), (1, 1), done.stderr)

    def test_a_process_that_matches_later_is_captured_from_its_first_byte(self):
        daemon = self.lab.daemon("--target", "cmdline~=BaseHTTP")
        for round in range(5):
            for tls in (False, True):
                text = "first byte %d %s" % (round, tls)
                port, child = self.server(tls=tls)
                self.post(port, text, tls)
                self.assert_recorded(daemon, text)
                child.stop(signal.SIGKILL)
        for record in daemon.exchanges():
            self.assertTrue(record["complete"], record)
            self.assertFalse(record["flow"]["pre_attach"], record)

    def test_children_are_captured_also_when_they_execute_something_else(self):
        daemon = self.lab.daemon("--target", "comm=parent-of-it*")
        script = self.lab.path("parent-of-it")
        with open(script, "w") as file:
            file.write("#!/bin/sh\n\"$@\" &\nwait\n")
        os.chmod(script, 0o755)
        port, child = self.server(command=(script, lab.PYTHON))
        self.post(port, "from the child")
        self.assert_recorded(daemon, "from the child")
        record = daemon.exchanges()[0]
        self.assertNotEqual(record["process"]["pid"], child.pid)
        self.assertEqual(record["process"]["ppid"], child.pid)
        os.kill(record["process"]["pid"], signal.SIGKILL)

    def test_a_client_can_be_the_monitored_process(self):
        port, child = self.server(tls=True)
        daemon = self.lab.daemon("--target", "exe=/usr/bin/curl")

        def ours():   # others on this host use curl, too
            return [r for r in daemon.exchanges() if r["flow"]["server"].endswith(":%d" % port)]

        def warm():   # the first users of a library may be gone before it is probed; with ,stop they are not: test_stop
            self.post(port, "warm the library", tls=True)
            return ours()
        lab.wait_for("the library to be known", warm)
        for number in range(5):
            self.post(port, "called %d" % number, tls=True)
            self.assert_recorded(daemon, "called %d" % number)
        for record in ours():
            self.assertEqual(record["flow"]["direction"], "called")
            self.assertEqual(record["peer"]["pid"], child.pid)
        child.stop(signal.SIGKILL)

    def test_node_with_openssl_in_its_executable_or_beside_it(self):
        daemon = self.lab.daemon("--target", "cmdline~=createServer")
        port = lab.free_port()
        key, cert = self.lab.certificate()
        script = ("const fs=require('fs'),https=require('https');https.createServer({key:fs.readFileSync('%s'),"
                  "cert:fs.readFileSync('%s')},(q,s)=>{const b=[];q.on('data',d=>b.push(d));"
                  "q.on('end',()=>s.end(Buffer.concat(b)))}).listen(%d,'127.0.0.1')" % (key, cert, port))
        child = self.lab.child("node", ["node", "-e", script])
        lab.wait_for("node", lambda: lab.listens(port))
        texts = ["hello node", "x" * 300000]
        for text in texts:
            self.post(port, text, tls=True)
        lab.wait_for("both calls", lambda: len(daemon.exchanges()) == 2)
        for record, text in zip(daemon.exchanges(), texts):
            self.assertTrue(record["complete"], record["gaps"])
            self.assertEqual((record["request"]["sha256"], record["response"]["sha256"]), (lab.sha256(text.encode()),) * 2)
            self.assertEqual((record["flow"]["bind"], record["process"]["pid"]), ("fp_egress", child.pid))
        child.stop(signal.SIGKILL)

    def test_auto_finds_known_servers_and_discover_lists_them(self):
        port, pid = self.lab.llama()
        other, child = self.server()
        daemon = self.lab.daemon()
        daemon.wait_targets(pid)
        self.post(other, "not an inference server")
        lab.chat("http://127.0.0.1:%d" % port, "hello")
        lab.wait_for("the call", lambda: daemon.exchanges())
        self.assertEqual({r["process"]["pid"] for r in daemon.exchanges()}, {pid})
        found = json.loads(daemon.call("GET", "/v1/discover"))["processes"]
        self.assertIn((pid, "auto: llama.cpp"), [(p["process"]["pid"], p["selector"]) for p in found])
        child.stop(signal.SIGKILL)

    def test_follow_shows_calls_as_they_happen(self):
        port, _ = self.lab.llama()
        daemon = self.lab.daemon()
        follow = subprocess.Popen([os.path.join(lab.BIN, "infertrail"), "--socket", daemon.socket, "log", "--follow", "--json",
                                   "--kind", "exchange"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(follow.stdout.close)
        for number in range(3):
            lab.chat("http://127.0.0.1:%d" % port, "follow %d" % number)
            record = json.loads(follow.stdout.readline())
            while record["inference"]["operation"] != "chat":
                record = json.loads(follow.stdout.readline())
            self.assertEqual(record["inference"]["messages"][0]["content"], "follow %d" % number)
        follow.send_signal(signal.SIGINT)
        self.assertEqual(follow.wait(lab.PATIENCE), 0)


if __name__ == "__main__":
    unittest.main()
