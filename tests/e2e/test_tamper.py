"""Whatever is changed in a trail is named by `verify`, and by a verifier that is not ours."""
import os
import random
import shutil
import subprocess
import unittest

import lab


class Tamper(unittest.TestCase):
    def setUp(self):
        self.lab = lab.Lab()
        self.addCleanup(self.lab.close)

    def recorded(self):
        port, _ = self.lab.llama()
        daemon = self.lab.daemon()
        for number in range(5):
            lab.chat("http://127.0.0.1:%d" % port, "call %d" % number, number % 2 == 0)
        lab.wait_for("records", lambda: len(daemon.exchanges()) >= 5)
        daemon.wait_published()
        self.assertEqual(daemon.stop(), 0)
        return daemon.trail

    def goverify(self, trail):
        binary = self.lab.path("goverify")
        if not os.path.exists(binary):
            source = os.path.join(lab.ROOT, "tests", "interop", "goverify.go")
            environment = dict(os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode", GOFLAGS="",
                               GOCACHE=self.lab.path("gocache"))
            subprocess.run(["go", "build", "-o", binary, source], check=True, env=environment, capture_output=True)
        return subprocess.run([binary, os.path.join(trail, "log.vkey"), trail], capture_output=True, text=True)

    def test_verify_and_goverify_accept_the_trail_and_a_flipped_byte_is_named(self):
        trail = self.recorded()
        good = lab.cli(None, "verify", "--trail", trail)
        self.assertIn("root", good.stdout)
        go = self.goverify(trail)
        self.assertEqual(go.returncode, 0, go.stdout + go.stderr)
        chance = random.Random(11)
        copy = self.lab.path("copy")
        named = 0
        for folder, _, names in os.walk(trail):
            place = os.path.relpath(folder, trail)
            if place.split(os.sep)[0] in ("keys", "index"):
                continue
            for name in names:
                if name == "lock":
                    continue
                size = os.path.getsize(os.path.join(folder, name))
                for offset in {0, size - 1, *(chance.randrange(size) for _ in range(6))}:
                    shutil.rmtree(copy, ignore_errors=True)
                    shutil.copytree(trail, copy)
                    path = os.path.join(copy, place, name)
                    with open(path, "r+b") as file:
                        file.seek(offset)
                        byte = file.read(1)[0]
                        file.seek(offset)
                        file.write(bytes([byte ^ (1 << chance.randrange(8))]))
                    done = lab.cli(None, "verify", "--trail", copy, check=False)
                    self.assertEqual(done.returncode, 1, "%s byte %d: %s" % (name, offset, done.stdout))
                    # log.vkey is the key that everything is checked against: then the checkpoint differs from it.
                    culprit = ("log.vkey", "checkpoint") if name == "log.vkey" else (os.path.normpath(os.path.join(place, name)),)
                    self.assertTrue(any(c in done.stderr for c in culprit), "%s byte %d: %s" % (name, offset, done.stderr))
                    named += 1
        self.assertGreater(named, 30)

    def test_a_damaged_segment_stops_the_daemon_with_its_name_and_loses_nothing(self):
        trail = self.recorded()
        segments = os.path.join(trail, "segments")
        path = os.path.join(segments, sorted(os.listdir(segments))[0])
        with open(path, "rb") as file:
            before = file.read()
        with open(path, "wb") as file:
            file.write(before[:200] + bytes([before[200] ^ 1]) + before[201:])
        daemon = lab.Daemon(self.lab.folder, trail=trail, ready=False)
        code = daemon.process.wait(lab.PATIENCE)
        self.assertEqual(code, 1, daemon.output())
        daemon.stop()
        self.assertIn(os.path.basename(path), daemon.output())
        self.assertEqual(daemon.output().count("infertraild: "), 1, daemon.output())
        with open(path, "wb") as file:
            file.write(before)
        lab.cli(None, "verify", "--trail", trail)


if __name__ == "__main__":
    unittest.main()
