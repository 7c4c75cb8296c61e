"""TLS behind a PROXY header, as real proxies and servers have it: haproxy sends it (v1, v2), nginx takes it. What nginx
says and hears is recorded with its socket, and the header as what it is: a connection's plain beginning."""
import shutil
import subprocess
import unittest

import lab

HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"


@unittest.skipUnless(shutil.which(HAPROXY), "haproxy is not installed")
class TlsStart(unittest.TestCase):
    def setUp(self):
        self.lab = lab.Lab()
        self.addCleanup(self.lab.close)

    def nginx(self):
        port = lab.free_port()
        key, cert = self.lab.certificate()
        config = self.lab.path("start.conf")
        with open(config, "w") as file:
            file.write("""
daemon off; worker_processes 1; pid %(at)s/start.pid; error_log %(at)s/start-error.log;
events { worker_connections 1024; }
http {
  access_log off; client_body_temp_path %(at)s/nb; proxy_temp_path %(at)s/np; fastcgi_temp_path %(at)s/nf;
  uwsgi_temp_path %(at)s/nu; scgi_temp_path %(at)s/ns;
  server {
    listen 127.0.0.1:%(port)d ssl proxy_protocol; ssl_certificate %(cert)s; ssl_certificate_key %(key)s;
    location / { default_type text/plain; return 200 "from $proxy_protocol_port: $arg_n\\n"; }
  }
}
""" % {"at": self.lab.folder, "port": port, "cert": cert, "key": key})
        child = self.lab.child("nginx", ["nginx", "-c", config, "-p", self.lab.folder])
        lab.wait_for("nginx", lambda: lab.listens(port))
        return port, lab.wait_for("the worker", lambda: lab.descendant(child.pid, "nginx"))

    def haproxy(self, behind):
        """-> ports of the frontends that send v1 and v2"""
        ports = lab.free_port(), lab.free_port()
        config = self.lab.path("haproxy.cfg")
        with open(config, "w") as file:
            file.write("global\n  nbthread 1\ndefaults\n  mode tcp\n  timeout connect 30s\n  timeout client 60s\n  timeout server 60s\n")
            for port, send in zip(ports, ("send-proxy", "send-proxy-v2")):
                file.write("listen l%d\n  bind 127.0.0.1:%d\n  server s 127.0.0.1:%d %s\n" % (port, port, behind, send))
        child = self.lab.child("haproxy", [HAPROXY, "-db", "-f", config])
        child.end_signal = 9
        for port in ports:
            lab.wait_for("haproxy: " + child.output(), lambda: lab.listens(port))
        return ports

    def test_behind_a_proxy_header(self):
        port, worker = self.nginx()
        frontends = self.haproxy(port)
        daemon = self.lab.daemon("--target", "pid=%d" % worker)
        daemon.wait_targets(worker)
        for version, frontend in zip((1, 2), frontends):
            names = ["v%dn%d" % (version, n) for n in range(20)]
            subprocess.run(["curl", "-sSk", "--fail", "--parallel"] +
                           [word for name in names for word in ("-o", "/dev/null", "https://127.0.0.1:%d/?n=%s" % (frontend, name))],
                           check=True, timeout=lab.PATIENCE)
            for name in names:
                def found():
                    return [r for r in daemon.exchanges() if r["http"]["path"] == "/?n=" + name]
                record = lab.wait_for("the record of " + name, found)[0]
                self.assertEqual((record["complete"], record["gaps"], record["flow"]["bind"], record["flow"]["tls"]),
                                 (True, [], "fp_egress", True), record)
                self.assertEqual(record["process"]["pid"], worker)
        self.assertEqual(daemon.status()["losses"], [])


if __name__ == "__main__":
    unittest.main()
