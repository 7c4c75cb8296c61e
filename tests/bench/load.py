"""Servers and load of the benchmark: nginx with static bodies, uvicorn and node that stream events, all under
wrk; uvicorn under a paced load; llama-server under clients that stream.

The programs run as copies with a private copy of libssl: uprobes belong to the inode, so that nobody
else's probes on the system's library (and no other daemon's `exe=nginx`) slow what is measured."""
import asyncio
import http.client
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import lab   # noqa: E402

WORDS = ("the model answers with 42 tokens about a longer sentence and then it goes on in the same "
         "way until the body is full. ").split(" ")
UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


def body_of(size):
    """JSON with prose, as an inference server would answer; nothing to mask, all of it to scan."""
    head, tail = '{"object":"text_completion","model":"tiny","text":"', '"}'
    text, i = "", 0
    while len(text) < size:
        text += WORDS[i * 7 % len(WORDS)] + " "
        i += 1
    return (head + text)[:size - len(tail)] + tail


def linked(program, library):
    for line in subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.splitlines():
        if line.strip().startswith(library):
            return line.split("=>")[1].split()[0]
    raise AssertionError("%s is not linked with %s" % (program, library))


def run_ns(pid):
    """CPU time of a process so far, all its threads, exact (not counted in ticks)."""
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        try:
            with open("/proc/%d/task/%s/schedstat" % (pid, task)) as file:
                total += int(file.read().split()[0])
        except FileNotFoundError:
            pass   # a thread that has just ended
    return total


def wrk(programs, url, seconds, connections=8):
    begin = time.monotonic()
    done = subprocess.run([programs.wrk, "-t1", "-c%d" % connections, "-d%ds" % seconds, "--latency", url],
                          capture_output=True, text=True, check=True, env=programs.environment)
    wall = time.monotonic() - begin
    text = done.stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise AssertionError("wrk: " + text)

    def percentile(name):
        value, unit = re.search(r"^\s+%s%%\s+([\d.]+)(us|ms|s|m)\s*$" % name, text, re.M).groups()
        return float(value) * UNITS[unit]

    return {"requests": int(re.search(r"(\d+) requests in", text).group(1)), "wall_s": wall,
            "rps": float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)),
            "p50_us": percentile("50"), "p99_us": percentile("99")}


class Programs:
    """Copies of nginx, wrk, node and their TLS library in the lab's folder."""

    def __init__(self, folder):
        self.folder = os.path.join(folder, "programs")
        os.mkdir(self.folder)
        self.nginx = self.copy(self.which("nginx"), "bench-nginx")
        self.wrk = self.copy(self.which("wrk"), "bench-wrk")
        self.libssl = self.copy(linked(self.wrk, "libssl.so"), "libssl.so.3")
        self.libcrypto = self.copy(linked(self.wrk, "libcrypto.so"), "libcrypto.so.3")
        self.environment = dict(os.environ, LD_LIBRARY_PATH=self.folder)

    @staticmethod
    def which(name):
        found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if not found:
            raise AssertionError("%s is not installed" % name)
        return found

    def copy(self, path, name):
        return shutil.copy(os.path.realpath(path), os.path.join(self.folder, name))


class Nginx:
    def __init__(self, bench, programs):
        self.programs = programs
        self.ports = {"tls": lab.free_port(), "plain": lab.free_port()}
        key, cert = bench.certificate()
        root = bench.path("static")
        os.mkdir(root)
        os.chmod(bench.folder, 0o755)   # the worker is another user
        for size in (1024, 65536):
            with open(os.path.join(root, "%d.json" % size), "w") as file:
                file.write(body_of(size))
        config = bench.path("static.conf")
        with open(config, "w") as file:
            file.write("""
daemon off; worker_processes 1; pid %(folder)s/static.pid; error_log %(folder)s/static-error.log;
events { worker_connections 256; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; open_file_cache max=16;
  types { application/json json; }
  client_body_temp_path %(folder)s/sb; proxy_temp_path %(folder)s/sp; fastcgi_temp_path %(folder)s/sf;
  uwsgi_temp_path %(folder)s/su; scgi_temp_path %(folder)s/ss;
  server { listen 127.0.0.1:%(plain)d; root %(root)s; }
  server { listen 127.0.0.1:%(tls)d ssl; ssl_protocols TLSv1.3; ssl_certificate %(cert)s; ssl_certificate_key %(key)s; root %(root)s; }
}
""" % dict(self.ports, folder=bench.folder, root=root, cert=cert, key=key))
        child = bench.child("static", [programs.nginx, "-c", config, "-p", bench.folder],
                            env=programs.environment)
        lab.wait_for("nginx", lambda: lab.listens(self.ports["tls"]))
        self.pid = lab.descendant(child.pid, "bench-nginx")
        self.libssl = programs.libssl

    def run(self, scheme, size, seconds):
        url = "%s://127.0.0.1:%d/%d.json" % ("https" if scheme == "tls" else "http", self.ports[scheme], size)
        return wrk(self.programs, url, seconds)


class Sse:
    """Servers that stream events over TLS: `sse_server.py` (uvicorn) or `sse_server.mjs` (node)."""
    EVENTS = 100   # of one answer

    def __init__(self, bench, programs, name):
        self.programs = programs
        self.port = lab.free_port()
        here = os.path.dirname(os.path.abspath(__file__))
        if name == "node":
            self.libssl = programs.copy(programs.which("node"), "bench-node")   # OpenSSL is inside
            command = [self.libssl, os.path.join(here, "sse_server.mjs")]
        else:
            self.libssl = programs.libssl
            command = [lab.PYTHON, os.path.join(here, "sse_server.py")]
        child = bench.child("sse-" + name, command + [str(self.port)] + list(bench.certificate()),
                            env=programs.environment)
        child.end_signal = signal.SIGKILL   # uvicorn waits for its open streams
        lab.wait_for(name, lambda: lab.listens(self.port))
        self.pid = child.pid

    def run(self, seconds):
        return wrk(self.programs, "https://127.0.0.1:%d/sse/%d" % (self.port, self.EVENTS), seconds)

    def paced(self, seconds, streams=100, rate=200):
        """`streams` answers stay open, an event a second each, while `rate` requests a second come."""
        return asyncio.run(self.pace(seconds, streams, rate))

    async def pace(self, seconds, streams, rate):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

        async def connect():
            return await asyncio.open_connection("127.0.0.1", self.port, ssl=context)

        async def ask(connection, path):
            connection[1].write(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
            head = await connection[0].readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise AssertionError("uvicorn: %r" % head)
            return head

        async def listen(connection):
            while await connection[0].read(65536):
                pass

        opened = [await connect() for _ in range(streams)]
        for each in opened:
            await ask(each, "/slow/%d" % (seconds + 60))
        listeners = [asyncio.create_task(listen(each)) for each in opened]
        free = [await connect() for _ in range(8)]
        times, begin, cpu = [], time.monotonic(), run_ns(self.pid)

        async def request(planned):
            while not free:
                await asyncio.sleep(0.001)
            connection = free.pop()
            head = await ask(connection, "/one")
            await connection[0].readexactly(int(re.search(rb"content-length: (\d+)", head).group(1)))
            free.append(connection)
            times.append(time.monotonic() - planned)

        tasks = []
        for number in range(rate * seconds):
            planned = begin + number / rate
            await asyncio.sleep(max(0.0, planned - time.monotonic()))
            tasks.append(asyncio.create_task(request(planned)))
        await asyncio.gather(*tasks)
        wall, cpu = time.monotonic() - begin, run_ns(self.pid) - cpu
        for each in listeners:
            each.cancel()
        for _, writer in opened + free:
            writer.transport.abort()
        times.sort()
        return {"requests": len(times), "wall_s": wall, "rps": len(times) / wall, "p50_us": times[len(times) // 2] * 1e6,
                "p99_us": times[len(times) * 99 // 100] * 1e6, "server_ns": cpu, "server_cpu_percent": cpu / wall / 1e7}


class Llama:
    CLIENTS = 4

    def __init__(self, bench):
        self.port, self.pid = bench.llama(tls=True)
        with open("/proc/%d/maps" % self.pid) as file:
            paths = {line.split()[-1] for line in file if "libssl.so" in line}
        self.libssl = paths.pop()

    def run(self, calls):
        """`calls` streamed chats by each client, one after the other, each on its own connection: this
        server ends one after a stream."""
        times, errors = [], []
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        body = json.dumps({"model": "tiny", "stream": True, "max_tokens": 64,
                           "messages": [{"role": "user", "content": "a long story, please"}]})

        def client():
            try:
                for _ in range(calls):
                    begin = time.monotonic()
                    connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context,
                                                             timeout=60)
                    connection.request("POST", "/v1/chat/completions", body,
                                       {"Content-Type": "application/json"})
                    answer = connection.getresponse()
                    text = answer.read()
                    connection.close()
                    times.append(time.monotonic() - begin)
                    if answer.status != 200 or not text.rstrip().endswith(b"data: [DONE]"):
                        raise AssertionError("llama-server: %d %r" % (answer.status, text[-200:]))
            except Exception as problem:   # told by the caller, in the main thread
                errors.append(problem)

        threads = [threading.Thread(target=client) for _ in range(self.CLIENTS)]
        begin = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall = time.monotonic() - begin
        if errors:
            raise errors[0]
        times.sort()
        return {"requests": len(times), "wall_s": wall, "rps": len(times) / wall,
                "p50_us": times[len(times) // 2] * 1e6, "p99_us": times[len(times) * 99 // 100] * 1e6}
