"""Exchanges that are under way go on when the daemon is killed and started again: each is recorded once, whole,
and what is kept meanwhile is on no disk. Also when the next daemon is built differently (IT_OTHER_BIN).
IT_RESTARTS: kills while answers stream (12; scripts/test --full takes 200)."""
import collections
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import threading
import time
import unittest

import lab
import test_secrets

KILLS = int(os.environ.get("IT_RESTARTS", "12"))


class Talk(threading.Thread):
    """Streamed chats, one after the other, on a connection that is kept if the server keeps it. Remembers what was said, by hash."""

    def __init__(self, name, port, tls, calls=None, **body):
        super().__init__(daemon=True)
        self.name, self.port, self.tls, self.calls, self.body = name, port, tls, calls, body
        self.stopped, self.said, self.error = False, [], None
        self.start()

    def run(self):
        try:
            while not self.over():
                with self.connect() as s, s.makefile("rb") as file:
                    kept = True
                    while kept and not self.over():
                        kept = self.chat(s, file)
        except Exception as error:   # pylint: disable=broad-except; the test shows it
            self.error = error

    def over(self):
        return self.stopped or len(self.said) == self.calls

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=120)
        if not self.tls:
            return s
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(s)

    def chat(self, s, file):
        """-> whether the server keeps the connection"""
        text = "%s, call %d: %s" % (self.name, len(self.said), test_secrets.PROMPT)
        body = json.dumps(dict({"model": "m", "stream": True, "messages": [{"role": "user", "content": text}]},
                               **self.body)).encode()
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
                  b"Content-Length: %d\r\n\r\n" % len(body) + body)
        status = file.readline()
        if b" 200 " not in status:
            raise AssertionError("call %d: %r" % (len(self.said), status))
        head = list(iter(file.readline, b"\r\n"))
        answer = b""
        while True:
            size = int(file.readline(), 16)
            answer += file.read(size)
            file.readline()
            if size == 0:
                break
        self.said.append((lab.sha256(body), lab.sha256(answer)))
        # llama-server ends a connection after a streamed answer, and does not say so before.
        return b"Connection: close\r\n" not in head and b"Server: llama.cpp\r\n" not in head


class Restart(test_secrets.Secrets):
    """Takes assert_clean() from there, and not its tests."""
    test_no_clear_secret_reaches_disk_log_or_terminal = None

    def setUp(self):
        super().setUp()
        self.pins = "/sys/fs/bpf/infertrail-e2e-%d" % os.getpid()
        self.config = self.lab.path("config.yaml")
        with open(self.config, "w") as file:
            file.write("targets: [auto, \"cmdline~=fastapi_server\"]\ncapture:\n  pin_dir: %s\n" % self.pins)
        self.addCleanup(self.detach)

    def detach(self):
        subprocess.run([os.path.join(lab.BIN, "infertraild"), "--detach", "--config", self.config], check=True,
                       capture_output=True)

    def daemon(self, programs=lab.BIN):
        daemon = lab.Daemon(self.lab.folder, "--config", self.config, programs=programs)
        self.addCleanup(daemon.stop, signal.SIGKILL)   # before the pins are removed; none when it has ended
        self.logs += [daemon]
        return daemon

    def end(self, daemon, number):
        daemon.process.send_signal(number)
        daemon.process.wait(lab.PATIENCE)
        with open(daemon.log, "rb") as file:
            self.assert_clean("the daemon's log", file.read())
        daemon.file.close()

    def check(self, daemon, said):
        """Every exchange that the clients saw stands in the trail once, whole and with the same bytes."""
        def chats():
            return [r for r in daemon.records() if r["kind"] in ("exchange", "undecoded") and
                    r.get("http", {}).get("path") == "/v1/chat/completions" or r["kind"] == "undecoded"]
        try:
            lab.wait_for("all records", lambda: len(chats()) >= len(said))
        except AssertionError:
            pass   # the comparison below says which
        records = chats()
        found = collections.Counter((r["request"].get("sha256"), r["response"].get("sha256")) for r in records)
        wanted = collections.Counter(said)
        self.assertEqual(set(wanted.values()), {1}, "the calls are all different")
        odd = [dict((k, r.get(k)) for k in ("kind", "index", "flow", "gaps", "complete", "time")) for r in records
               if (r["request"].get("sha256"), r["response"].get("sha256")) not in wanted]
        self.assertEqual((found - wanted, wanted - found, odd), (collections.Counter(), collections.Counter(), []),
                         "doubled or unknown; missing; of %d" % len(said))
        for record in records:
            self.assertTrue(record["complete"], record)
            self.assertEqual(record.get("gaps", []), [])
            self.assertIn(record["flow"]["bind"], ("fp_egress", "cgroup_skb"))
            self.assertNotEqual(record["process"].get("exe", ""), "")

    def check_disk(self, trail):
        files = 0
        for folder, _, names in os.walk(trail):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    self.assert_clean(name, file.read())
                files += 1
        self.assertGreater(files, 5)
        self.assert_clean("the records", lab.cli(None, "log", "--trail", trail, "--json", "--limit", "100000").stdout.encode())

    def test_streams_go_on_over_kills_and_hand_overs(self):
        self.go_on([lab.BIN], KILLS)

    def test_streams_go_on_over_upgrades_to_another_build_and_back(self):
        if not os.path.exists(os.path.join(lab.OTHER_BIN, "infertraild")):
            self.skipTest("no other build: scripts/build --asan makes one, or IT_OTHER_BIN names it")
        self.go_on([lab.BIN, lab.OTHER_BIN], max(4, KILLS // 2))

    def go_on(self, builds, kills):
        """Daemons of these builds in turn, each ended by a signal, while clients talk."""
        chance = random.Random(11)
        self.logs = []
        daemon = self.daemon()
        plain, plain_pid = self.lab.llama()
        tls, tls_pid = self.lab.llama(tls=True)
        echo, echo_pid = self.lab.fastapi()
        daemon.wait_targets(plain_pid, tls_pid, echo_pid)
        talks = [Talk("plain", plain, False, max_tokens=200), Talk("tls", tls, True, max_tokens=200)]
        # One answer that is longer than most daemons live, and one connection that says little.
        words = len(test_secrets.PROMPT.split(" ")) + 4
        talks += [Talk("long", echo, True, calls=2, pause=max(1.0, kills * 0.7 / words)),
                  Talk("seldom", echo, True, pause=0.05)]
        ends = collections.Counter()
        for number in range(kills):
            time.sleep(chance.uniform(0.2, 0.9))
            how = signal.SIGUSR2 if number % 4 == 3 else signal.SIGKILL
            self.end(daemon, how)
            ends[how.name] += 1
            time.sleep(chance.choice((0, 0, 0.5)))   # nobody is there
            daemon = self.daemon(builds[(number + 1) % len(builds)])
        for talk in talks:
            talk.stopped = True
        for talk in talks:
            talk.join(120)
            self.assertIsNone(talk.error, talk.name)
            self.assertFalse(talk.is_alive(), talk.name)
        said = [each for talk in talks for each in talk.said]
        self.check(daemon, said)
        carry = daemon.status()["carry"]
        self.assertEqual((carry.get("evictions", "0"), carry.get("without_room", "0")), ("0", "0"))
        reasons = [g["reason"] for r in daemon.records() for g in r.get("gaps", [])]
        self.assertEqual(reasons, [])
        trail = daemon.trail
        self.end(daemon, signal.SIGTERM)
        self.check_disk(trail)
        lab.cli(None, "verify", "--trail", trail)
        print("%s, %d exchanges on %d connections (%s), each once and whole" %
              (dict(ends), len(said), len(talks), ", ".join("%s %d" % (t.name, len(t.said)) for t in talks)))

    def test_a_stop_records_what_is_open(self):
        self.logs = []
        daemon = self.daemon()
        echo, pid = self.lab.fastapi(tls=False)
        daemon.wait_targets(pid)
        talk = Talk("open", echo, False, calls=1, pause=0.5)
        time.sleep(1.5)
        self.end(daemon, signal.SIGTERM)
        text = lab.cli(None, "log", "--trail", daemon.trail, "--json").stdout
        records = [json.loads(line) for line in text.splitlines()]
        cut = [r for r in records if r["kind"] == "exchange"]
        self.assertEqual([(r.get("complete", False), [g["reason"] for g in r["gaps"]]) for r in cut],
                         [(False, ["connection_reset"])])
        self.assertFalse(os.path.exists(self.pins) and os.listdir(self.pins), "everything is removed")
        talk.join(60)
        self.assertIsNone(talk.error)


if __name__ == "__main__":
    unittest.main()
