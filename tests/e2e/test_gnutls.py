"""GnuTLS's own client and server, and git over https (libcurl on GnuTLS), as they are installed: what they said and
heard is recorded whole, and nobody calls GnuTLS a library that cannot be read. Many connections, large bodies and
attaching in mid-life: rows with GnuTLS in test_matrix."""
import os
import shutil
import subprocess
import unittest

import lab


@unittest.skipUnless(shutil.which("gnutls-cli") and shutil.which("gnutls-serv"), "gnutls-bin is not installed")
class GnuTls(unittest.TestCase):
    def setUp(self):
        self.lab = lab.Lab()
        self.addCleanup(self.lab.close)

    def serv(self, *targets):
        """gnutls-serv, the library probed. -> daemon, port, pid"""
        key, cert = self.lab.certificate()
        port = lab.free_port()
        daemon = self.lab.daemon("--target", "exe=gnutls-serv", *targets)
        server = self.lab.child("serv", ["gnutls-serv", "--quiet", "--http", "--port=%d" % port, "--x509keyfile=" + key,
                                         "--x509certfile=" + cert])
        server.end_signal = 9
        lab.wait_for("gnutls-serv", lambda: lab.listens(port))
        daemon.wait_targets(server.pid)
        return daemon, port, server.pid

    def assert_whole(self, record):
        self.assertEqual((record["complete"], record["gaps"], record["flow"]["bind"]), (True, [], "fp_egress"), record)

    def test_gnutls_cli_and_gnutls_serv(self):
        daemon, port, server = self.serv("--target", "exe=gnutls-cli")
        calls = 6
        for call in range(calls):
            request = "GET /call-%d HTTP/1.0\r\nHost: me\r\n\r\n" % call
            version = "NORMAL:-VERS-ALL:+VERS-TLS1.%d" % (2 + call % 2)
            client = subprocess.Popen(["gnutls-cli", "--insecure", "--logfile=/dev/null", "--priority=" + version,
                                       "--port=%d" % port, "127.0.0.1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            client.stdin.write(request.encode())
            client.stdin.flush()   # its end would be gnutls-cli's
            heard = client.stdout.read()
            client.stdin.close()
            client.stdout.close()
            client.wait(lab.PATIENCE)
            self.assertIn(b"GnuTLS", heard)
            for direction, pid in (("called", client.pid), ("served", server)):
                def found():
                    return [r for r in daemon.exchanges() if r["flow"]["direction"] == direction and
                            r["http"]["path"] == "/call-%d" % call]
                records = lab.wait_for("the %s record" % direction, found)
                self.assertEqual(len(records), 1)
                self.assert_whole(records[0])
                self.assertEqual(records[0]["process"]["pid"], pid)
                self.assertIn(lab.sha256(heard[heard.index(b"\r\n\r\n") + 4:]), records[0]["response"]["sha256"])
        status = daemon.status()
        self.assertEqual(status["losses"], [])
        self.assertNotIn("GnuTLS", str([p.get("unreadable") for p in status["processes"]]))

    @unittest.skipUnless(os.path.exists("/usr/lib/git-core/git-remote-https"), "git is not installed")
    def test_git_over_https(self):
        linked = subprocess.run(["ldd", "/usr/lib/git-core/git-remote-https"], capture_output=True, text=True).stdout
        if "gnutls" not in linked:
            lab.skip("this git does not use GnuTLS")
            self.skipTest("this git does not use GnuTLS")
        port, _ = self.lab.fastapi(tls=True)
        daemon, _, _ = self.serv("--target", "exe=git-remote-http", "--target", "exe=git-remote-https")
        url = "https://127.0.0.1:%d/repository" % port
        git = subprocess.run(["git", "-c", "http.sslVerify=false", "ls-remote", url], capture_output=True, text=True,
                             env=dict(os.environ, GIT_TERMINAL_PROMPT="0"))
        self.assertNotEqual(git.returncode, 0)   # there is no repository: the server says 404
        def found():
            return [r for r in daemon.exchanges() if r["http"]["path"].startswith("/repository/info/refs")]
        for record in lab.wait_for("git's request", found):
            self.assert_whole(record)
            self.assertEqual((record["flow"]["direction"], record["http"]["status"]), ("called", 404))


if __name__ == "__main__":
    unittest.main()
