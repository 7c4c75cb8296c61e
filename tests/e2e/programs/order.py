"""What every client program of the matrix is told, and what it says (the Go and node ones do the same).

  BASE WORKERS CONNECTIONS EACH TAG REQUEST_MAX ANSWER_MAX MIDLIFE

WORKERS at once, each makes CONNECTIONS one after the other with EACH requests on each. With MIDLIFE=1
a worker has one connection and makes requests on it until a line comes on stdin; then one more, so
that no call is inside the library since before, and then EACH that are "sure".
Says "busy" when each worker has had its first answer (MIDLIFE only), and one JSON line per request."""
import hashlib
import json
import os
import sys
import threading


class Order:
    def __init__(self, arguments):
        self.base, self.tag = arguments[0], arguments[4]
        self.workers, self.connections, self.each = (int(a) for a in arguments[1:4])
        self.request_max, self.answer_max = int(arguments[5]), int(arguments[6])
        self.midlife = arguments[7] == "1"
        self.attached = threading.Event()
        self.lock = threading.Lock()
        self.answered = set()
        if self.midlife:
            threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        sys.stdin.readline()
        self.attached.set()

    def steps(self, worker):
        """(connection, name, sure) of each request of a worker; asked for one at a time."""
        for connection in range(self.connections):
            number = 0
            while self.midlife and not self.attached.is_set():
                yield connection, self.name(worker, connection, "early%d" % number), False
                number += 1
            if self.midlife:
                yield connection, self.name(worker, connection, "settle"), False
            for number in range(self.each):
                yield connection, self.name(worker, connection, "r%d" % number), True

    def name(self, worker, connection, request):
        return "%s-w%d-c%d-%s" % (self.tag, worker, connection, request)

    def sizes(self, name):
        """Different for each request, the same in every run; the first asks for the most."""
        share = hashlib.sha256(name.encode()).digest()
        if name.endswith("-w0-c0-r0"):
            return self.request_max, self.answer_max
        return 1 + self.request_max * share[0] // 255, 1 + self.answer_max * share[1] // 255

    def body(self, name):
        size = self.sizes(name)[0]
        return ((name + " ") * (size // (len(name) + 1) + 1)).encode()[:size]

    def path(self, name):
        return "/x/%d?%s" % (self.sizes(name)[1], name)

    def say(self, worker, name, sure, port, request, answer, pid=None, path=None):
        line = json.dumps({"path": path or self.path(name), "sure": sure, "port": int(port), "pid": pid or os.getpid(),
                           "request": hashlib.sha256(request).hexdigest(), "answer": hashlib.sha256(answer).hexdigest()})
        with self.lock:
            os.write(1, line.encode() + b"\n")
            if self.midlife and worker not in self.answered:
                self.answered.add(worker)
                if len(self.answered) == self.workers:
                    os.write(1, b"busy\n")


def run_threads(order, work):
    """work(worker) in a thread each; the first exception ends the program."""
    def guarded(worker):
        try:
            work(worker)
        except BaseException as problem:
            sys.stderr.write("worker %d: %r\n" % (worker, problem))
            os._exit(1)
    threads = [threading.Thread(target=guarded, args=(worker,)) for worker in range(order.workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def answer_of(path):
    """What a server of the matrix answers to /x/SIZE?NAME."""
    size, _, name = path[3:].partition("?")
    unit = (name[::-1] + "\n").encode()
    return (unit * (int(size) // len(unit) + 1))[:int(size)]
