"""Traps that need the whole product (tests/TRAPS.md has the list)."""
import base64
import os
import re
import subprocess
import unittest

import lab

PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs")


class Traps(unittest.TestCase):
    def setUp(self):
        self.lab = lab.Lab()
        self.addCleanup(self.lab.close)

    def server(self, tls=True):
        port = lab.free_port()
        key, cert = self.lab.certificate()
        child = self.lab.child("asgi", [lab.PYTHON, os.path.join(PROGRAMS, "server_asgi.py"), str(port), "asyncio"] +
                               ([key, cert] if tls else []))
        lab.wait_for("uvicorn", lambda: lab.listens(port))
        return "http%s://127.0.0.1:%d" % ("s" if tls else "", port), child.pid

    def test_Trap15_every_byte_value_survives(self):
        for tls in (False, True):
            base, pid = self.server(tls)
            daemon = self.lab.daemon("--target", "pid=%d" % pid, trail=self.lab.path("trail%d" % tls))
            daemon.wait_targets(pid)
            body = bytes(range(256))
            with open(self.lab.path("body"), "wb") as file:
                file.write(body)
            subprocess.run(["curl", "-sSk", "--fail", base + "/x/10?bytes", "--data-binary", "@" + file.name,
                            "-H", "Content-Type: application/octet-stream"], check=True, capture_output=True)
            lab.wait_for("the record", daemon.exchanges)
            record, = daemon.exchanges()
            self.assertEqual(record["request"]["sha256"], lab.sha256(body))
            self.assertEqual(base64.b64decode(record["request"]["body_binary"]), body)
            daemon.stop()
            self.lab.children.remove(daemon)

    def test_Trap16_a_target_is_never_run(self):
        """A program called node that leaves a line whenever it starts: once, by us."""
        program, marker = self.lab.path("node"), self.lab.path("started")
        source = self.lab.path("node.c")
        with open(source, "w") as file:
            file.write('#include <stdio.h>\n#include <unistd.h>\nint main(void) { FILE *f = fopen("%s", "a"); '
                       'fputs("started\\n", f); fclose(f); for (;;) pause(); }\n' % marker)
        subprocess.run(["gcc", "-o", program, source, "-Wl,--no-as-needed", "-lssl", "-lcrypto"], check=True)
        child = self.lab.child("marker", [program])
        child.end_signal = 9
        lab.wait_for("the program", lambda: os.path.exists(marker))
        daemon = self.lab.daemon("--target", "exe=node", "--target", "auto")
        daemon.wait_targets(child.pid)
        lab.cli(daemon, "status")
        lab.cli(daemon, "doctor", check=False)
        with open(marker) as file:
            self.assertEqual(file.read(), "started\n")

    def test_Trap34_records_are_reserved_without_flags(self):
        folder = os.path.join(lab.ROOT, "bpf")
        found = 0
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name)) as file:
                text = file.read()
            for at in re.finditer(r"bpf_ringbuf_reserve\(", text):
                depth, end = 1, at.end()
                while depth:
                    depth += {"(": 1, ")": -1}.get(text[end], 0)
                    end += 1
                call = text[at.end():end - 1]
                self.assertEqual(call.rsplit(",", 1)[1].strip(), "0", "%s: %s" % (name, call))
                found += 1
        self.assertGreater(found, 3)


if __name__ == "__main__":
    unittest.main()
