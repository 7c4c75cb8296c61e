"""curl_client.py BASE_URL COUNT CONCURRENCY TAG: calls with curl, two per process on one connection
(keep-alive) or one. Prints one JSON line per call: {tag, port, request_sha256, response_sha256}."""
import concurrent.futures
import hashlib
import json
import os
import subprocess
import sys
import tempfile

base, count, concurrency, tag = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]


def command(folder, number):
    name = "%s-%d" % (tag, number)
    body = json.dumps({"model": "tiny", "stream": number % 2 == 0,
                       "messages": [{"role": "user", "content": name + " please"}]})
    out = os.path.join(folder, str(number))
    arguments = ["-sSk", "--fail", "-o", out, "-w", "%{local_port}\n", base + "/v1/chat/completions",
                 "-H", "Content-Type: application/json", "-H", "Authorization: Bearer sk-curlAAAABBBB%d" % number,
                 "--data-binary", body]
    return name, body.encode(), out, arguments


def calls(numbers):
    with tempfile.TemporaryDirectory() as folder:
        made = [command(folder, number) for number in numbers]
        line = ["curl"]
        for position, (_, _, _, arguments) in enumerate(made):
            line += (["--next"] if position else []) + arguments
        ports = subprocess.run(line, check=True, capture_output=True, text=True).stdout.split()
        for (name, body, out, _), port in zip(made, ports):
            with open(out, "rb") as file:
                answer = file.read()
            # One write a line: print() makes two, and another thread's may come between.
            sys.stdout.write(json.dumps({"tag": name, "port": int(port),
                                         "request_sha256": hashlib.sha256(body).hexdigest(),
                                         "response_sha256": hashlib.sha256(answer).hexdigest()}) + "\n")


groups, at = [], 0
while at < count:
    size = 2 if len(groups) % 2 == 0 and at + 1 < count else 1
    groups.append(list(range(at, at + size)))
    at += size
with concurrent.futures.ThreadPoolExecutor(concurrency) as pool:
    for done in [pool.submit(calls, group) for group in groups]:
        done.result()
