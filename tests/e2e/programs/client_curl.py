"""curl: a process per connection, with all its requests. order.py has the arguments; the pid said is
curl's. With MIDLIFE each process asks for /hold first, which is answered after the attach."""
import os
import subprocess
import sys
import tempfile

import order as orders

order = orders.Order(sys.argv[1:])


def names_of(worker, connection):
    """All requests of one process are known at its start."""
    if order.midlife:
        return [(order.name(worker, connection, what), False) for what in ("early0", "hold", "settle")] + \
               [(order.name(worker, connection, "r%d" % n), True) for n in range(order.each)]
    return [(order.name(worker, connection, "r%d" % n), True) for n in range(order.each)]


def run(worker, connection, folder):
    config, steps = [], []
    for number, (name, sure) in enumerate(names_of(worker, connection)):
        source, target = (os.path.join(folder, "%s%d" % (kind, number)) for kind in "io")
        with open(source, "wb") as file:
            file.write(order.body(name))
        path = ("/hold/%d?%s" if name.endswith("-hold") else "/x/%d?%s") % (order.sizes(name)[1], name)
        steps.append((name, sure, path, source, target))
        config.append('url = "%s"\ndata-binary = "@%s"\noutput = "%s"\nheader = "Content-Type: text/plain"\n'
                      'write-out = "%%{http_code} %%{local_port}\\n"\ninsecure\nsilent\nshow-error\nhttp1.1\nmax-time = 120\n'
                      % (order.base + path, source, target))
    with open(os.path.join(folder, "config"), "w") as file:
        file.write("next\n".join(config))
    process = subprocess.Popen(["curl", "--disable", "-K", file.name], stdout=subprocess.PIPE)
    lines = process.communicate()[0].decode().splitlines()
    if process.returncode != 0 or len(lines) != len(steps):
        raise AssertionError("curl: exit %d, %s" % (process.returncode, lines))
    for (name, sure, path, source, target), line in zip(steps, lines):
        status, port = line.split()
        if status != "200":
            raise AssertionError(path + ": " + line)
        with open(source, "rb") as sent, open(target, "rb") as heard:
            order.say(worker, name, sure, port, sent.read(), heard.read(), process.pid, path)
        os.unlink(source)
        os.unlink(target)


def work(worker):
    for connection in range(order.connections):
        with tempfile.TemporaryDirectory() as folder:
            run(worker, connection, folder)


orders.run_threads(order, work)
