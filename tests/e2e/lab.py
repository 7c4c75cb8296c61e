"""What the end-to-end tests share: the daemon, real servers, real clients, and the records.

Everything is started as a child and ended by pid. Paths come from the environment:
IT_BIN (folder of infertraild and infertrail), IT_OTHER_BIN (the same, built differently), IT_LLAMA (tree of scripts/llama_root.sh), IT_NPM
(folder with node_modules/openai). Standard library only; the servers use Debian's python packages."""
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("IT_BIN", os.path.join(ROOT, "build", "bin"))
OTHER_BIN = os.environ.get("IT_OTHER_BIN", os.path.join(ROOT, "build-asan", "bin"))
LLAMA = os.environ.get("IT_LLAMA", os.path.join(ROOT, "build", "llama"))
NPM = os.environ.get("IT_NPM", os.path.join(ROOT, "build", "npm"))
PYTHON = "/usr/bin/python3"     # Debian's packages are its packages
IN_GUEST = os.environ.get("VM") == "1"
PATIENCE = 60 if IN_GUEST else 20


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, condition, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError("timed out waiting for " + what)


def healthy(port, tls):
    """llama-server listens before its model is loaded, and answers 503 until then."""
    done = subprocess.run(["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5",
                           "http%s://127.0.0.1:%d/health" % ("s" if tls else "", port)], capture_output=True, text=True)
    return done.stdout == "200"


def listens(port):
    with socket.socket() as s:
        s.settimeout(0.5)
        return s.connect_ex(("127.0.0.1", port)) == 0


class Child:
    """A process of ours; its output goes to a file."""

    def __init__(self, folder, name, command, **kwargs):
        self.log = os.path.join(folder, name + ".log")
        self.file = open(self.log, "wb")
        self.process = subprocess.Popen(command, stdout=self.file, stderr=subprocess.STDOUT,
                                        stdin=subprocess.DEVNULL, start_new_session=True, **kwargs)
        self.pid = self.process.pid

    def output(self):
        with open(self.log, errors="replace") as file:
            return file.read()

    def stop(self, number=signal.SIGTERM, seconds=PATIENCE):
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                self.file.close()
                raise AssertionError("did not end: " + self.output()[-2000:])
        self.file.close()
        if self.process.stdout:
            self.process.stdout.close()
        return self.process.returncode


def cli(daemon, *arguments, check=True):
    """infertrail against the daemon (None: without). -> CompletedProcess with text output"""
    command = [os.path.join(BIN, "infertrail")]
    if daemon is not None:
        command += ["--socket", daemon.socket]
    done = subprocess.run(command + list(arguments), capture_output=True, text=True, timeout=PATIENCE * 3)
    if check and done.returncode != 0:
        raise AssertionError("infertrail %s: exit %d: %s%s" % (" ".join(arguments), done.returncode, done.stdout, done.stderr))
    return done


def chat(base, text, stream=False, headers=(), path="/v1/chat/completions", model="m"):
    """One call with curl. -> the answer's bytes"""
    body = json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]})
    command = ["curl", "-sSk", "--fail", base + path, "-H", "Content-Type: application/json", "--data-binary", body]
    for header in headers:
        command += ["-H", header]
    return subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE).stdout


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)


class Daemon(Child):
    def __init__(self, folder, *arguments, trail=None, digests=True, ready=True, programs=BIN):
        self.trail = trail or os.path.join(folder, "trail")
        self.socket = os.path.join(folder, "control.sock")
        command = [os.path.join(programs, "infertraild"), "--trail", self.trail, "--socket", self.socket]
        if digests:
            command.append("--plaintext-digests")
        if os.path.exists("/etc/infertrail/config.yaml") and "--config" not in arguments:
            raise AssertionError("/etc/infertrail/config.yaml exists: the tests want defaults")
        super().__init__(folder, "daemon", command + list(arguments))
        if ready:
            wait_for("the daemon: " + self.output(), self.is_ready)

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError("the daemon ended: " + self.output())
        return "\nready\n" in "\n" + self.output()

    def call(self, method, path, body=None):
        connection = UnixConnection(self.socket)
        connection.request(method, path, json.dumps(body) if body is not None else None)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status != 200:
            raise AssertionError("%s %s: %d %s" % (method, path, answer.status, text.decode()))
        return text

    def status(self):
        return json.loads(self.call("GET", "/v1/status"))

    def records(self, **query):
        query.setdefault("limit", 100000)
        lines = self.call("POST", "/v1/log", query).splitlines()
        return [json.loads(line) for line in lines if line.strip()]

    def exchanges(self):
        return [r for r in self.records() if r["kind"] == "exchange"]

    def wait_targets(self, *pids):
        """Until each pid is a target whose libraries were looked at."""
        def seen():
            known = {p["process"]["pid"]: p for p in self.status()["processes"]}
            return all(pid in known for pid in pids)
        wait_for("targets %s" % (pids,), seen)

    def wait_published(self):
        def published():
            status = self.status()
            return status["published"] == status["size"]
        wait_for("a checkpoint over everything", published)


class Lab:
    """A folder, and children that all end with it."""

    def __init__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="infertrail-e2e-")
        self.folder = self.temporary.name
        self.kills = False   # True: a daemon of this test is killed, and may leave pins
        self.children = []

    def close(self):
        problems = []
        for child in reversed(self.children):
            try:
                child.stop(getattr(child, "end_signal", signal.SIGTERM))
            except AssertionError as problem:
                problems.append(str(problem))
        self.temporary.cleanup()
        left = subprocess.run([os.path.join(BIN, "infertraild"), "--detach"], capture_output=True, text=True)
        if "removed" in left.stdout and not self.kills:
            problems.append("a daemon that was not killed left: " + left.stdout)
        if problems:
            raise AssertionError("\n".join(problems))

    def path(self, name):
        return os.path.join(self.folder, name)

    def child(self, name, command, **kwargs):
        child = Child(self.folder, name, command, **kwargs)
        self.children.append(child)
        return child

    def daemon(self, *arguments, **kwargs):
        daemon = Daemon(self.folder, *arguments, **kwargs)
        self.children.append(daemon)
        return daemon

    def certificate(self):
        key, cert = self.path("key.pem"), self.path("cert.pem")
        if not os.path.exists(cert):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                            "-nodes", "-days", "30", "-subj", "/CN=localhost", "-addext",
                            "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert],
                           check=True, capture_output=True)
        return key, cert

    def llama(self, tls=False, arguments=()):
        """llama-server on the host's namespaces, in its own root by chroot. -> (port, pid)"""
        port = free_port()
        command = ["chroot", LLAMA, "/usr/bin/llama-server", "-m", "/srv/m/tiny.gguf", "--host", "127.0.0.1",
                   "--port", str(port), "-c", "4096", "-np", "2", "-t", "1", "--jinja", "--no-webui", "--threads-http", "32"]
        if tls:
            command += ["--ssl-key-file", "/srv/m/key.pem", "--ssl-cert-file", "/srv/m/cert.pem"]
        child = self.child("llama-%d" % port, command + list(arguments))
        child.end_signal = signal.SIGKILL   # its clean-up waits for connections
        wait_for("llama-server", lambda: healthy(port, tls))
        return port, child.pid

    def llama_container(self, tls=True):
        """llama-server as a container: own root, mount, pid and uts namespace, own cgroup."""
        port = free_port()
        command = [os.path.join(ROOT, "scripts", "llama_container.py"), LLAMA, str(port)]
        if tls:
            command += ["--ssl-key-file", "/srv/m/key.pem", "--ssl-cert-file", "/srv/m/cert.pem"]
        child = self.child("container-%d" % port, command)
        child.end_signal = signal.SIGKILL
        wait_for("llama-server in its container", lambda: healthy(port, tls))
        return port, descendant(child.pid, "llama-server")

    def fastapi(self, tls=True, loop="asyncio"):
        port = free_port()
        command = [PYTHON, os.path.join(ROOT, "tests", "e2e", "fastapi_server.py"), str(port), loop]
        if tls:
            command += list(self.certificate())
        child = self.child("fastapi-%d" % port, command)
        wait_for("uvicorn", lambda: listens(port))
        return port, child.pid

    def nginx(self, upstream):
        """TLS in front of a plain server. -> (port, pid of the worker)"""
        port = free_port()
        key, cert = self.certificate()
        config = self.path("nginx.conf")
        with open(config, "w") as file:
            file.write("""
daemon off; worker_processes 1; pid %(folder)s/nginx.pid; error_log %(folder)s/nginx-error.log;
events { worker_connections 1024; }
http {
  access_log off; proxy_buffering off; client_max_body_size 0;
  client_body_temp_path %(folder)s/nb; proxy_temp_path %(folder)s/np; fastcgi_temp_path %(folder)s/nf;
  uwsgi_temp_path %(folder)s/nu; scgi_temp_path %(folder)s/ns;
  server {
    listen 127.0.0.1:%(port)d ssl; ssl_certificate %(cert)s; ssl_certificate_key %(key)s;
    location / { proxy_pass http://127.0.0.1:%(upstream)d; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
""" % {"folder": self.folder, "port": port, "cert": cert, "key": key, "upstream": upstream})
        child = self.child("nginx", ["nginx", "-c", config, "-p", self.folder])
        wait_for("nginx", lambda: listens(port))   # the master listens before it has a worker
        return port, wait_for("nginx's worker", lambda: descendant(child.pid, "nginx"))


def children_of(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
        return [int(word) for word in file.read().split()]


def descendant(pid, comm):
    """The deepest descendant with that name."""
    found = None
    queue = [pid]
    while queue:
        at = queue.pop(0)
        try:
            for child in children_of(at):
                queue.append(child)
                with open("/proc/%d/comm" % child) as file:
                    if file.read().strip() == comm:
                        found = child
        except OSError:
            continue
    return found


def skip(reason):
    """A test that cannot run here says why; the runner counts it."""
    print("SKIP: " + reason, file=sys.stderr)
