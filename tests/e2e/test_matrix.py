"""Programs x rules: what every program of the table said and heard is in the trail, byte for byte, with
its own process and the right client port, over fresh connections, churn, large bodies, and connections
that were busy before the daemon came. 50 at once in every cell. The table is printed at the end.

IT_MATRIX=full takes the whole counts; the default is the same cells with fewer requests."""
import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import lab

FULL = os.environ.get("IT_MATRIX") == "full"
AT_ONCE = int(os.environ.get("IT_AT_ONCE", "50"))
HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = os.path.join(HERE, "programs")
BUILT = os.path.join(lab.ROOT, "build", "matrix")
PATIENCE = 240
GROUP = 4   # rows that are busy together when the daemon comes

# Cells that are not right yet: (program, cell or "*") -> why. They run, and may lose, but never be wrong.
KNOWN = {
    ("go client", "fresh"): "the first process of a file that was never probed may be faster than its probes; "
                            "with ,stop it is not: row go client stop",
}


def known(program, rule):
    return KNOWN.get((program, rule)) or KNOWN.get((program, "*"))


Rule = collections.namedtuple("Rule", "workers connections each request answer")
RULES = {   # bodies at most; in large the first request of all asks for 8 MB
    "fresh": Rule(AT_ONCE, 1, 40 if FULL else 4, 2000, 4000),
    "churn": Rule(AT_ONCE, 10 if FULL else 4, 1, 1000, 2000),
    "large": Rule(AT_ONCE if FULL else 10, 1, 2 if FULL else 1, 300000, 2000000),
    "8 MB": Rule(1, 1, 1, 8 << 20, 8 << 20),
    "midlife": Rule(AT_ONCE, 1, 10 if FULL else 3, 2000, 4000),
}


class Row:
    """A program: how it is driven, and which of the daemon's records are its own."""

    def __init__(self, name, direction, command, base, pid=None, extra=(), rules=tuple(RULES), requests=None):
        self.name, self.direction, self.command, self.base = name, direction, command, base
        self.pid, self.extra, self.rules, self.requests = pid, list(extra), rules, requests or {}
        self.calls, self.cells = {}, {}

    def order(self, rule):
        return self.requests.get(rule, RULES[rule])


class Run:
    """One run of a row's client under a rule."""

    def __init__(self, row, rule):
        self.row, self.rule, order = row, rule, row.order(rule)
        # Files, not pipes: nobody reads while the daemon starts, and nobody must have to wait for that.
        self.folder = tempfile.TemporaryDirectory()
        self.files = [open(os.path.join(self.folder.name, name), "ab") for name in ("out", "errors")]
        tag = "%s-%s" % ("".join(c for c in row.name if c.isalnum()), rule.replace(" ", ""))
        arguments = [row.base, order.workers, order.connections, order.each, tag, order.request, order.answer,
                     1 if rule == "midlife" else 0] + row.extra
        self.process = subprocess.Popen(row.command + [str(a) for a in arguments], stdin=subprocess.PIPE,
                                        stdout=self.files[0], stderr=self.files[1], text=True,
                                        env=dict(os.environ, NODE_TLS_REJECT_UNAUTHORIZED="0", NODE_NO_WARNINGS="1"))

    def problem(self):
        return "%s %s: %s" % (self.row.name, self.rule, self.said("errors")[-2000:])

    def said(self, name):
        with open(os.path.join(self.folder.name, name)) as file:
            return file.read()

    def lines(self):
        return self.said("out").splitlines()

    def wait_busy(self):
        def busy():
            if self.process.poll() is not None:
                raise AssertionError("ended early: " + self.problem())
            return "\nbusy\n" in self.said("out")
        lab.wait_for(self.row.name + " to be busy", busy, PATIENCE)

    def tell(self):
        try:
            self.process.stdin.write("attached\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise AssertionError("ended (%s) while the daemon came: %s" % (self.process.wait(), self.problem())) from None

    def finish(self):
        if self.process.wait(PATIENCE) != 0:
            raise AssertionError(self.problem())
        calls = [json.loads(line) for line in self.lines() if line != "busy"]
        order = self.row.order(self.rule)
        sure = sum(call["sure"] for call in calls)
        if sure != order.workers * order.connections * order.each:
            raise AssertionError("%s %s made %d calls" % (self.row.name, self.rule, sure))
        self.row.calls[self.rule] = calls
        return calls

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        try:
            self.process.stdin.close()
        except BrokenPipeError:   # it ended before it was told
            pass
        for file in self.files:
            file.close()
        self.folder.cleanup()


class Trail:
    """The daemon's exchanges, read on: a record is asked for once."""

    def __init__(self, daemon):
        self.daemon, self.next, self.by_path, self.rest = daemon, 0, {}, []

    def read(self):
        query = {"summary": True, "limit": 1000000}
        if self.next:
            query.update(after_set=True, after_index=self.next - 1)
        for record in self.daemon.records(**query):
            self.next = max(self.next, int(record["index"]) + 1)
            if record["kind"] == "exchange":
                self.by_path.setdefault(record["http"]["path"], []).append(record)
            elif record["kind"] in ("undecoded", "gap", "coverage"):
                self.rest.append(record)

    def of(self, row, call):
        return [r for r in self.by_path.get(call["path"], [])
                if r["flow"]["direction"] == row.direction and r["process"]["pid"] == (row.pid or call["pid"])]

    def wait(self, row, calls):
        """Until each sure call has a record; or nothing more comes."""
        last = [None, 0]

        def there():
            self.read()
            missing = sum(not self.of(row, call) for call in calls if call["sure"])
            if missing == 0:
                return True
            status = self.daemon.status()
            seen = (missing, status["exchanges"], status["bytes"])
            last[1] = last[1] + 1 if last[0] == seen else 0
            last[0] = seen
            # 8 s without a new byte or record: longer than the daemon holds anything back.
            return last[1] > (20 if known(row.name, "*") else 160)
        lab.wait_for("the records of " + row.name, there, PATIENCE)


# silent: calls that are not right, and of whose connection nothing says that something is missing.
Cell = collections.namedtuple("Cell", "right total wrong unresolved gaps silent examples")


def digest(body):
    """A message without a body has no digest."""
    return body["sha256"] or (lab.sha256(b"") if int(body["bytes"]) == 0 else "")


def of_port(record, port):
    return record.get("flow", {}).get("client", "").endswith(":%d" % port)


def judge(row, trail, calls):
    right = wrong = unresolved = gaps = silent = total = 0
    examples = []
    for call in calls:
        found = trail.of(row, call)
        good = 0
        for record in found:
            flow = record["flow"]
            unresolved += not flow["client"] or flow["bind"] == "unresolved"
            gaps += bool(record["gaps"]) and call["sure"]
            expected = {"request": call["request"], "answer": call["answer"]}
            got = {"request": digest(record["request"]), "answer": digest(record["response"])}
            port = int(flow["client"].rsplit(":", 1)[1]) if flow["client"] else 0
            if (flow["client"] and port != call["port"]) or (record["complete"] and got != expected):
                wrong += 1
                examples.append("wrong: %s recorded as %s" % (call, record))
            good += record["complete"] and port == call["port"] and got == expected and not record["gaps"]
        # Another process that claims the same call would be a wrong attribution too.
        others = [r for r in trail.by_path.get(call["path"], []) if r["flow"]["direction"] == row.direction and r not in found]
        wrong += len(others)
        examples += ["another process: %s" % r for r in others]
        if len(found) > 1:
            wrong += 1
            examples.append("recorded %d times: %s" % (len(found), call))
        if call["sure"]:
            total += 1
            right += good == 1
            if good != 1:
                near = [r for r in trail.rest if of_port(r, call["port"])]
                silent += not near and not any(of_port(r, call["port"]) and (r["gaps"] or r["flow"]["pre_attach"])
                                               for records in trail.by_path.values() for r in records)
                examples.append("not right: %s: %s; all of that path: %s; not exchanges: %s" % (
                    call, found, trail.by_path.get(call["path"]), near))
    return Cell(right, total, wrong, unresolved, gaps, silent, examples)


def build():
    """The programs that are not scripts. Go's and the C compiler's own caches make it quick."""
    os.makedirs(BUILT, exist_ok=True)
    commands = [["gcc", "-O2", "-Wall", "-Werror", "-D_GNU_SOURCE", "-o", "uring_server", "uring_server.c", "-luring"],
                ["gcc", "-O2", "-Wall", "-Werror", "-o", "server_microhttpd", "server_microhttpd.c", "-lmicrohttpd"]]
    commands += [["go", "build", "-o", name, name + ".go"] for name in ("server_go", "client_go")]
    for command in commands:
        at = command.index("-o") + 1
        target, source = os.path.join(BUILT, command[at]), os.path.join(PROGRAMS, command[at + 1])
        if os.path.exists(target) and os.path.getmtime(target) > os.path.getmtime(source):
            continue
        command[at:at + 2] = [target, source]
        subprocess.run(command, check=True, env=dict(os.environ, GO111MODULE="off", GOFLAGS=""))


class Servers:
    def __init__(self, laboratory):
        self.lab = laboratory
        self.key, self.cert = laboratory.certificate()

    def start(self, name, command, tls=True):
        """command with @PORT@. -> (base, pid)"""
        port = lab.free_port()
        child = self.lab.child(name, [word.replace("@PORT@", str(port)) for word in command], cwd=self.lab.folder)
        child.end_signal = 9
        lab.wait_for(name + ": " + child.output(), lambda: lab.listens(port))
        return "http%s://127.0.0.1:%d" % ("s" if tls else "", port), child.pid

    def script(self, name, *arguments):
        interpreter = "node" if name.endswith(".mjs") else lab.PYTHON
        return [interpreter, os.path.join(PROGRAMS, name), *arguments]

    def asgi(self, name, loop, tls=True):
        return self.start(name, self.script("server_asgi.py", "@PORT@", loop, *([self.key, self.cert] if tls else [])), tls)

    def files(self):
        folder = self.lab.path("static")
        if not os.path.isdir(folder):
            os.makedirs(folder)
            os.chmod(self.lab.folder, 0o755)   # nginx's worker is another user
            for name, size in (("small", 3000), ("large", 2000000), ("huge", 8 << 20)):
                with open(os.path.join(folder, name), "wb") as file:
                    file.write(os.urandom(4096) * (size // 4096) + os.urandom(size % 4096))
        return folder

    def nginx_static(self):
        """-> (base, pid of the worker); by sendfile"""
        port, folder = lab.free_port(), self.files()
        config = self.lab.path("static.conf")
        with open(config, "w") as file:
            file.write("""
daemon off; worker_processes 1; pid %(at)s/static.pid; error_log %(at)s/static-error.log;
events { worker_connections 1024; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_timeout 300s; keepalive_requests 100000;
  client_body_temp_path %(at)s/sb; proxy_temp_path %(at)s/sp; fastcgi_temp_path %(at)s/sf;
  uwsgi_temp_path %(at)s/su; scgi_temp_path %(at)s/ss;
  server { listen 127.0.0.1:%(port)d backlog=1024; root %(folder)s; }
}
""" % {"at": self.lab.folder, "folder": folder, "port": port})
        child = self.lab.child("nginx-static", ["nginx", "-c", config, "-p", self.lab.folder])
        lab.wait_for("nginx", lambda: lab.listens(port))
        return "http://127.0.0.1:%d" % port, lab.wait_for("the worker", lambda: lab.descendant(child.pid, "nginx"))


def server_rows(servers, laboratory):
    driver = [lab.PYTHON, os.path.join(PROGRAMS, "driver.py")]

    def row(name, where, kind="app", prefix=None, **more):
        return Row(name, "served", driver, where[0], where[1], [kind] + ([prefix] if prefix else []), **more)

    upstream = servers.asgi("upstream", "uvloop", tls=False)
    nginx = laboratory.nginx(int(upstream[0].rsplit(":", 1)[1]))
    yield row("nginx tls", ("https://127.0.0.1:%d" % nginx[0], nginx[1]))
    yield row("uvicorn asyncio", servers.asgi("asyncio", "asyncio"))
    yield row("uvicorn uvloop", servers.asgi("uvloop", "uvloop"))
    yield row("http.server threads", servers.start("threads", servers.script("server_threaded.py", "@PORT@", servers.key, servers.cert)))
    yield row("node https", servers.start("node", servers.script("server_node.mjs", "@PORT@", servers.key, servers.cert)))
    # s_server takes one connection at a time, and one request on it.
    once = {"fresh": Rule(AT_ONCE, 1, 1, 0, 3000), "large": Rule(AT_ONCE if FULL else 10, 1, 1, 0, 2000000)}
    s_server = ["openssl", "s_server", "-quiet", "-accept", "127.0.0.1:@PORT@", "-key", servers.key, "-cert", servers.cert]
    yield row("openssl s_server -www", servers.start("www", s_server + ["-www"]), "get", rules=("fresh", "churn"), requests=once)
    yield row("openssl s_server -WWW", servers.start("WWW", s_server + ["-WWW"]), "file", servers.files(),
              rules=("fresh", "churn", "large", "8 MB"), requests=once)
    port, pid = laboratory.llama(tls=True, arguments=["--threads-http", str(AT_ONCE + 4)])
    small = {"fresh": Rule(AT_ONCE, 1, 4 if FULL else 2, 500, 0), "churn": Rule(AT_ONCE, 10 if FULL else 2, 1, 500, 0),
             "large": Rule(AT_ONCE if FULL else 10, 1, 2 if FULL else 1, 300000, 0), "midlife": Rule(AT_ONCE, 1, 2, 500, 0)}
    yield row("llama-server", ("https://127.0.0.1:%d" % port, pid), "llama", rules=("fresh", "churn", "large", "midlife"), requests=small)
    # GnuTLS: libmicrohttpd, and GnuTLS's own server, which answers each connection once.
    yield row("libmicrohttpd (GnuTLS)", servers.start("microhttpd", [os.path.join(BUILT, "server_microhttpd"), "@PORT@", servers.key, servers.cert]))
    yield row("gnutls-serv", servers.start("gnutls-serv", ["gnutls-serv", "--quiet", "--http", "--port=@PORT@", "--x509keyfile=" + servers.key,
              "--x509certfile=" + servers.cert]), "get", rules=("fresh", "churn"), requests={"fresh": once["fresh"]})
    go = os.path.join(BUILT, "server_go")
    yield row("go net/http tls", servers.start("go-tls", [go, "@PORT@", servers.key, servers.cert]))
    yield row("go net/http plain", servers.start("go", [go, "@PORT@"], tls=False))
    yield row("io_uring plain", servers.start("uring", [os.path.join(BUILT, "uring_server"), "@PORT@"], tls=False))
    yield row("nginx sendfile", servers.nginx_static(), "static")


def client_rows(base):
    stopped = os.path.join(BUILT, "client_go_stop")   # another file: the daemon sees it for the first time
    shutil.copy(os.path.join(BUILT, "client_go"), stopped)
    script = {"requests": "client_requests.py", "httpx async": "client_httpx.py", "aiohttp": "client_aiohttp.py",
              "curl": "client_curl.py", "pycurl (GnuTLS)": "client_pycurl.py"}
    for name, file in script.items():
        yield Row(name, "called", [lab.PYTHON, os.path.join(PROGRAMS, file)], base)
    get = {rule: order._replace(request=0) for rule, order in RULES.items()}
    yield Row("wget (GnuTLS)", "called", [lab.PYTHON, os.path.join(PROGRAMS, "client_wget.py")], base,
              rules=("fresh", "churn", "large", "8 MB"), requests=get)
    yield Row("node client", "called", ["node", os.path.join(PROGRAMS, "client_node.mjs")], base)
    yield Row("go client", "called", [os.path.join(BUILT, "client_go")], base)
    yield Row("go client stop", "called", [stopped], base, rules=("fresh", "churn", "large", "8 MB"))


class Matrix(unittest.TestCase):
    """The cells are filled once; each row is a test that looks at its own."""

    @classmethod
    def setUpClass(cls):
        build()
        cls.lab = lab.Lab()
        cls.addClassCleanup(cls.lab.close)
        servers = Servers(cls.lab)
        reference, cls.reference_pid = servers.asgi("reference", "uvloop")
        cls.rows = list(server_rows(servers, cls.lab)) + list(client_rows(reference))
        only = os.environ.get("IT_ROWS")
        if only:
            cls.rows = [row for row in cls.rows if any(part in row.name for part in only.split(","))]
        cls.losses = []
        cls.reference = reference
        cls.fill_after_start()
        cls.fill_midlife()
        cls.print_table()

    @classmethod
    def daemon(cls, name):
        targets = ["--target", "exe=client_go_stop,stop", "--target", "cmdline~=/client_", "--target", "exe=curl",
                   "--target", "exe=wget"]
        # The clients' server too: both ends of a connection on one host, and its library is known before
        # the first client of all lives.
        pids = sorted({row.pid for row in cls.rows if row.pid} | {cls.reference_pid})
        for pid in pids:
            targets += ["--target", "pid=%d" % pid]
        daemon = cls.lab.daemon(*targets, trail=cls.lab.path("trail-" + name))
        daemon.wait_targets(*pids)
        return daemon

    @classmethod
    def close(cls, daemon):
        # A Go Write that was under way when its probes came is declared; its cell says whether it mattered.
        cls.losses += [loss for loss in daemon.status()["losses"] if loss["kind"] != "entered_before"]
        daemon.stop()
        cls.lab.children.remove(daemon)

    @classmethod
    def fill_after_start(cls):
        daemon = cls.daemon("start")
        trail = Trail(daemon)
        for row in cls.rows:
            for rule in row.rules:
                if rule == "midlife":
                    continue
                run = Run(row, rule)
                try:
                    calls = run.finish()
                finally:
                    run.end()
                trail.wait(row, calls)
                row.cells[rule] = judge(row, trail, calls)
        if os.environ.get("IT_DUMP"):
            with open(os.environ["IT_DUMP"] + "start", "w") as file:
                file.writelines(json.dumps(record) + "\n" for record in daemon.records(summary=True))
                file.write(json.dumps(daemon.status()) + "\n" + daemon.output())
        cls.close(daemon)

    @classmethod
    def fill_midlife(cls):
        """In groups: a daemon for each row would take longer than all calls."""
        rows = [row for row in cls.rows if "midlife" in row.rules]
        for at in range(0, len(rows), GROUP):
            cls.fill_group(rows[at:at + GROUP], str(at))

    @classmethod
    def fill_group(cls, rows, name):
        runs = [Run(row, "midlife") for row in rows]
        try:
            for run in runs:
                if run.row.name == "curl":
                    lab.wait_for("curl to be held", lambda: int(cls.ask("/held")) >= AT_ONCE)
                else:
                    run.wait_busy()
            daemon = cls.daemon(name)
            for run in runs:
                run.tell()
            if any(run.row.name == "curl" for run in runs):
                cls.ask("/release")   # for good: nobody is held after this
            for run in runs:
                run.finish()
        finally:
            for run in runs:
                run.end()
        trail = Trail(daemon)
        for row in rows:
            trail.wait(row, row.calls["midlife"])
            row.cells["midlife"] = judge(row, trail, row.calls["midlife"])
        if os.environ.get("IT_DUMP"):   # for whoever looks for the cause
            with open(os.environ["IT_DUMP"] + name, "w") as file:
                file.writelines(json.dumps(record) + "\n" for record in daemon.records())
        cls.close(daemon)

    @classmethod
    def ask(cls, path):
        return subprocess.run(["curl", "-sSk", cls.reference + path], check=True, capture_output=True, text=True).stdout

    @classmethod
    def print_table(cls):
        print("\nright/total, wrong w, unresolved u, records with gaps g, not right and nothing says so s", file=sys.stderr)
        print("%-22s" % "" + "".join("%-21s" % rule for rule in RULES), file=sys.stderr)
        for row in cls.rows:
            text = "%-22s" % row.name
            for rule in RULES:
                cell = row.cells.get(rule)
                shown = "-" if cell is None else "%d/%d %dw %du %dg %ds" % cell[:6]
                text += "%-21s" % shown
            print(text, file=sys.stderr)

    def test_every_cell(self):
        for row in self.rows:
            for rule, cell in row.cells.items():
                with self.subTest(program=row.name, rule=rule):
                    self.assertEqual(cell.wrong, 0, "\n".join(cell.examples[:5]))
                    if cell.right == cell.total and cell.unresolved == 0:
                        continue
                    self.assertEqual(cell.silent, 0, "\n".join(cell.examples[:5]))
                    reason = known(row.name, rule)
                    if reason:
                        lab.skip("%s, %s: %d of %d: %s" % (row.name, rule, cell.right, cell.total, reason))
                        self.skipTest(reason)
                    self.fail("%d of %d right, %d unresolved, %d gaps\n%s" % (cell.right, cell.total, cell.unresolved,
                                                                           cell.gaps, "\n".join(cell.examples[:5])))

    def test_nothing_was_lost(self):
        self.assertEqual(self.losses, [])


if __name__ == "__main__":
    unittest.main()
