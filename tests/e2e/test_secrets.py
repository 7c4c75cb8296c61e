"""No clear card, mail or key is anywhere on disk, in the log or in what the command line prints."""
import os
import time
import unittest

import lab

CARD, MAIL, KEY = "4012 8888 8888 1881", "walter.white@graymatter.example", "sk-proj-Zz9Yy8Xx7Ww6Vv5Uu4Tt3Ss2Rr1"
SSN, ADDRESS, HEADER_KEY = "536-22-1234", "93.184.216.34", "tok_5f2b8c1d9e3a7f60"
# What llama-server's model says by itself.
SPOKEN = ["jane.doe@example.com", "4111 1111-1111-1111", "sk-test-0123456789abcdef"]
SECRETS = [CARD, CARD.replace(" ", ""), MAIL, KEY, SSN, ADDRESS, HEADER_KEY] + SPOKEN
PROMPT = "think: card %s, mail %s, key %s, ssn %s, host %s" % (CARD, MAIL, KEY, SSN, ADDRESS)


class Secrets(unittest.TestCase):
    def setUp(self):
        self.lab = lab.Lab()
        self.addCleanup(self.lab.close)

    def assert_clean(self, name, data):
        for secret in SECRETS:
            for form in {secret, secret.replace("@", "%40").replace(" ", "%20"), secret.replace("@", "\\u0040")}:
                at = data.find(form.encode())
                self.assertEqual(at, -1, "%s stands in %s: …%r…" % (form, name, data[max(0, at - 200):at + 60]))

    def test_no_clear_secret_reaches_disk_log_or_terminal(self):
        with open(self.lab.path("config.yaml"), "w") as file:
            file.write("log_level: debug\ntargets: [auto, \"cmdline~=fastapi_server\"]\n")
        daemon = self.lab.daemon("--config", self.lab.path("config.yaml"),
                                 "--policy", os.path.join(lab.ROOT, "policies", "mask-default.yaml"))
        self.assertEqual(daemon.status()["selectors"], ["auto", "cmdline~=fastapi_server"])   # of the file
        plain, _ = self.lab.llama()
        tls, _ = self.lab.llama(tls=True)
        echo, _ = self.lab.fastapi()
        bases = ["http://127.0.0.1:%d" % plain, "https://127.0.0.1:%d" % tls, "https://127.0.0.1:%d" % echo]
        headers = ["Authorization: Bearer " + KEY, "X-Api-Key: " + HEADER_KEY]
        calls = 0
        for base in bases:
            for stream in (False, True):
                lab.chat(base, PROMPT, stream, headers)
                lab.chat(base, "tell me more", stream)
                calls += 2
        # The answer repeats the prompt word by word: each secret is split over events. And compressed.
        lab.chat(bases[2], PROMPT, True, headers + ["Accept-Encoding: gzip"])
        lab.chat(bases[2], PROMPT, False, headers + ["Accept-Encoding: gzip"])
        # In the target, and in bytes that are not HTTP at all.
        lab.chat(bases[2], PROMPT, False, [], "/v1/chat/completions?key=%s&mail=%s" % (HEADER_KEY, MAIL.replace("@", "%40")))
        calls += 3
        import socket
        with socket.create_connection(("127.0.0.1", plain)) as s:
            s.sendall(b"\x00\x01 not http, but %s %s\r\n\r\n" % (MAIL.encode(), CARD.encode()))
            s.settimeout(2)
            try:
                s.recv(1000)
            except OSError:
                pass
        def chats():
            return [r for r in daemon.exchanges() if r["inference"]["operation"] == "chat"]   # not /health
        lab.wait_for("all records", lambda: len(chats()) >= calls)
        lab.wait_for("the undecoded one", lambda: [r for r in daemon.records() if r["kind"] == "undecoded"])
        records = chats()
        self.assertEqual(len(records), calls)
        for record in records:
            self.assertTrue(record["complete"], record)

        for name in ("log", "log --json", "status", "target list", "doctor"):
            done = lab.cli(daemon, *name.split())
            self.assert_clean("`infertrail %s`" % name, (done.stdout + done.stderr).encode())
        for record in records:
            done = lab.cli(daemon, "show", record["id"], "--bodies")
            self.assert_clean("`infertrail show`", (done.stdout + done.stderr).encode())
        daemon.stop()
        self.assert_clean("the daemon's log", daemon.output().encode())
        files = 0
        for folder, _, names in os.walk(daemon.trail):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    self.assert_clean(name, file.read())
                files += 1
        self.assertGreater(files, 5)

        # The search above would find them if they were there: the segments are compressed, so the
        # records themselves are looked at too; and what stands in their place is a placeholder.
        text = lab.cli(None, "log", "--trail", daemon.trail, "--json", "--limit", "1000").stdout
        self.assert_clean("the records", text.encode())
        for kind in ("CARD", "EMAIL", "API_KEY", "US_SSN", "IP", "CREDENTIAL"):
            self.assertIn("[[%s:" % kind, text)
        echoed = [r for r in records if r["inference"]["output_text"].startswith("You said: think")]
        self.assertGreaterEqual(len(echoed), 5)
        for record in echoed:
            for kind in ("CARD", "EMAIL", "API_KEY", "US_SSN", "IP"):
                self.assertIn("[[%s:1]]" % kind, record["inference"]["output_text"], record["http"]["path"])


if __name__ == "__main__":
    unittest.main()
