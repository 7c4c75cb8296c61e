"""wget (Debian's is built on GnuTLS): a process per connection, with all its requests, without bodies. order.py has
the arguments; the pid said is wget's; the port is the one that the server tells (x-port)."""
import os
import subprocess
import sys
import tempfile

import order as orders

order = orders.Order(sys.argv[1:])


def work(worker):
    for connection in range(order.connections):
        with tempfile.TemporaryDirectory() as folder:
            names = [order.name(worker, connection, "r%d" % n) for n in range(order.each)]
            process = subprocess.Popen(["wget", "-q", "--no-config", "--no-check-certificate", "--save-headers", "--tries=1",
                                        "--timeout=120", "-P", folder] + [order.base + order.path(name) for name in names],
                                       stderr=subprocess.PIPE)
            problem = process.communicate()[1]
            if process.returncode != 0:
                raise AssertionError("wget: exit %d, %s" % (process.returncode, problem))
            for name in names:
                size = order.path(name)[3:]
                with open(os.path.join(folder, size), "rb") as file:   # SIZE?NAME
                    head, _, body = file.read().partition(b"\r\n\r\n")
                port = [line for line in head.split(b"\r\n") if line.lower().startswith(b"x-port:")][0].split(b":")[1]
                order.say(worker, name, True, port, b"", body, process.pid)


orders.run_threads(order, work)
