"""The client of the server rows: http.client in threads; never a target. Takes order.py's arguments and
a KIND: app (POST /x), get (GET /?NAME), static (GET /small, /large or /huge), file FOLDER (GET of a link
of its own in FOLDER, which the server has as /static), llama."""
import http.client
import json
import os
import ssl
import sys
import urllib.parse

import order as orders

order = orders.Order(sys.argv[1:9])
kind = sys.argv[9]
folder = sys.argv[10] if len(sys.argv) > 10 else ""
base = urllib.parse.urlsplit(order.base)
context = ssl._create_unverified_context()


def connect():
    if base.scheme == "https":
        connection = http.client.HTTPSConnection(base.hostname, base.port, timeout=120, context=context)
    else:
        connection = http.client.HTTPConnection(base.hostname, base.port, timeout=120)
    connection.connect()
    return connection


def request_of(name):
    """-> method, path, body, headers"""
    size = "huge" if order.answer_max > 4000000 else "large" if order.answer_max > 100000 else "small"
    if kind == "get":
        return "GET", "/?" + name, b"", {}
    if kind == "static":
        return "GET", "/%s?%s" % (size, name), b"", {}
    if kind == "file":
        os.symlink(size, os.path.join(folder, name))
        return "GET", "/static/" + name, b"", {}
    if kind == "llama":
        text = name + " " + order.body(name).decode()
        body = json.dumps({"model": "m", "max_tokens": 4, "messages": [{"role": "user", "content": text}]})
        return "POST", "/v1/chat/completions?" + name, body.encode(), {"Content-Type": "application/json"}
    return "POST", order.path(name), order.body(name), {"Content-Type": "text/plain"}


def work(worker):
    connection, at = None, None
    for number, name, sure in order.steps(worker):
        if connection is None or number != at:
            if connection:
                connection.close()
            connection, at = connect(), number
        port = connection.sock.getsockname()[1]
        method, path, body, headers = request_of(name)
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        content = answer.read()
        order.say(worker, name, sure, port, body, content, path=path)
        if connection.sock is None or answer.will_close:
            connection = None
    if connection:
        connection.close()


orders.run_threads(order, work)
