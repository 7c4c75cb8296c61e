"""Bad input gets one clear error with its place and a way out; nothing crashes, nothing is lost."""
import os
import socket
import subprocess
import unittest

import lab


class Errors(unittest.TestCase):
    def setUp(self):
        self.lab = lab.Lab()
        self.addCleanup(self.lab.close)

    def refused(self, code, *arguments, trail=None, command=()):
        """The daemon does not start; -> its one line."""
        line = list(command) + [os.path.join(lab.BIN, "infertraild"), "--trail", trail or self.lab.path("trail"),
                                "--socket", self.lab.path("s")]
        done = subprocess.run(line + list(arguments), capture_output=True, text=True, timeout=lab.PATIENCE)
        self.assertEqual(done.returncode, code, done.stderr)
        errors = [l for l in done.stderr.splitlines() if l.startswith("infertraild: ")]
        self.assertEqual(len(errors), 1, done.stderr)
        self.assertNotIn("ready", done.stderr.splitlines())
        return done.stderr

    def write(self, name, text):
        with open(self.lab.path(name), "w") as file:
            file.write(text)
        return self.lab.path(name)

    def test_unknown_selector(self):
        self.assertIn('selector "prot=80": no such selector; did you mean port=?', self.refused(2, "--target", "prot=80"))
        self.assertIn("a port is a number from 1 to 65535", self.refused(2, "--target", "port=70000"))
        self.assertIn("regular expression", self.refused(2, "--target", "cmdline~=("))

    def test_unknown_argument_names_the_nearest(self):
        self.assertIn("did you mean --target?", self.refused(2, "--taget", "auto"))
        self.assertIn("--target wants a value", self.refused(2, "--target"))

    def test_configuration_errors_have_line_and_column(self):
        path = self.write("c.yaml", "log_level: debug\ncapture:\n  worker: 3\n")
        self.assertIn(path + ":3:3: Capture has no field \"worker\"; did you mean \"workers\"?", self.refused(2, "--config", path))
        path = self.write("d.yaml", "plaintext_digests: yes\n")
        self.assertIn(path + ":1:20:", self.refused(2, "--config", path))
        self.assertIn("nowhere.yaml", self.refused(2, "--config", self.lab.path("nowhere.yaml")))

    def test_policy_errors_have_line_and_column(self):
        path = self.write("p.yaml", "name: x\nmasking:\n  detectors: [EMIAL]\n")
        self.assertIn("EMIAL", self.refused(2, "--policy", path))
        path = self.write("q.yaml", "name: x\nrules: []\n")
        self.assertIn(path + ":2:1: Policy has no field \"rules\"", self.refused(2, "--policy", path))

    def test_no_root(self):
        os.chmod(self.lab.folder, 0o777)
        error = self.refused(1, command=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
                             trail=self.lab.path("other"))
        self.assertIn("root", error)

    def test_no_btf(self):
        # The file is hidden in a mount namespace of the daemon's own.
        script = "mount --bind /dev/null /sys/kernel/btf/vmlinux && mount -o remount,bind,ro /sys/kernel/btf/vmlinux; umount /sys/kernel/btf/vmlinux; mount -t tmpfs none /sys/kernel/btf && exec \"$0\" \"$@\""
        error = self.refused(1, command=["unshare", "--mount", "--propagation", "private", "bash", "-c", script])
        self.assertIn("BTF", error)

    def test_trail_directory_not_writable(self):
        error = self.refused(1, trail="/proc/nowhere/trail")
        self.assertIn("/proc/nowhere", error)

    def test_a_second_daemon_on_the_same_trail_or_socket(self):
        daemon = self.lab.daemon()
        self.assertIn("lock", self.refused(1, trail=daemon.trail))
        os.makedirs(self.lab.path("b"))
        with open(self.lab.path("b/config.yaml"), "w") as config:
            config.write("capture:\n  pin_dir: \"\"\n")   # else the capture's own lock is met first
        done = subprocess.run([os.path.join(lab.BIN, "infertraild"), "--config", self.lab.path("b/config.yaml"), "--trail",
                               self.lab.path("b/trail"), "--socket", daemon.socket],
                              capture_output=True, text=True, timeout=lab.PATIENCE)
        self.assertEqual(done.returncode, 1)
        self.assertIn("another infertraild answers here", done.stderr)
        self.assertTrue(daemon.status()["origin"])

    def test_key_that_others_can_read(self):
        daemon = lab.Daemon(self.lab.folder)
        daemon.stop()
        key = os.path.join(daemon.trail, "keys", "log.key")
        os.chmod(key, 0o644)
        error = self.refused(1, trail=daemon.trail)
        self.assertIn(key, error)
        self.assertIn("chmod", error)

    def test_command_line_without_a_daemon(self):
        done = subprocess.run([os.path.join(lab.BIN, "infertrail"), "--socket", self.lab.path("none"), "status"],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 3)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn(self.lab.path("none"), done.stderr)

    def test_garbage_on_a_captured_port_is_recorded_and_the_next_call_too(self):
        port, pid = self.lab.llama()
        daemon = self.lab.daemon()
        daemon.wait_targets(pid)
        sent = [bytes(range(256)) * 40, b"GET / HTTP/9.9\r\n" + b"A" * 300000, b"\x16\x03\x01\x00\x05hello", b"\r\n\r\n\r\n",
                b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}"]
        for garbage in sent:
            with socket.create_connection(("127.0.0.1", port)) as s:
                s.settimeout(3)
                try:
                    s.sendall(garbage)
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(65536):
                        pass
                except OSError:
                    pass
        lab.chat("http://127.0.0.1:%d" % port, "still there?")
        lab.wait_for("the call", lambda: any(r["http"]["status"] == 200 for r in daemon.exchanges()))
        binary = lab.wait_for("the garbage", lambda: [r for r in daemon.records() if r["kind"] == "undecoded"])
        self.assertEqual(int(binary[0]["request"]["bytes"]), len(sent[0]))
        self.assertIsNone(daemon.process.poll())


if __name__ == "__main__":
    unittest.main()
