"""What clients said and heard is what the trail says: every exchange, byte for byte, with the right
client port and process, on real servers and clients, plain and over TLS, on this kernel."""
import json
import os
import subprocess
import unittest

import lab

# Requests in all, and clients at once. A guest under emulation takes fewer.
REQUESTS = int(os.environ.get("IT_REQUESTS", "200"))
CLIENTS = int(os.environ.get("IT_CLIENTS", "20"))
HERE = os.path.dirname(os.path.abspath(__file__))


def run_clients(servers, clients, requests, at_once):
    """Every client against every server; -> {tag: call with "server"}"""
    jobs = []
    share = -(-requests // (len(servers) * len(clients)))
    each = -(-at_once // (len(servers) * len(clients)))
    for name, (base, _) in servers.items():
        for client, command in clients.items():
            tag = "tag-%s-%s" % (name, client)
            jobs.append((name, client, subprocess.Popen(
                command + [base, str(share), str(each), tag], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                env=dict(os.environ, IT_NPM=lab.NPM, NODE_TLS_REJECT_UNAUTHORIZED="0", NODE_NO_WARNINGS="1"))))
    calls = {}
    for name, client, process in jobs:
        out, errors = process.communicate(timeout=300)
        if process.returncode != 0:
            raise AssertionError("%s against %s: %s" % (client, name, errors[-3000:]))
        lines = [json.loads(line) for line in out.splitlines()]
        if len(lines) != share:
            raise AssertionError("%s against %s made %d of %d calls" % (client, name, len(lines), share))
        for call in lines:
            call["server"] = name
            calls[call["tag"]] = call
    return calls


def tag_of(record):
    for message in record.get("inference", {}).get("messages", []):
        if message["content"].startswith("tag-"):
            return message["content"].split(" ")[0]
    return None


class Exchanges(unittest.TestCase):
    def setUp(self):
        self.lab = lab.Lab()
        self.addCleanup(self.lab.close)

    def compare(self, calls, records, servers):
        by_tag = {}
        for record in records:
            by_tag.setdefault(tag_of(record), []).append(record)
        wrong = []
        for tag, call in calls.items():
            pid = servers[call["server"]][1]
            found = [r for r in by_tag.get(tag, []) if r["process"]["pid"] == pid and r["flow"]["direction"] == "served"]
            # A kept-alive connection that the server closed under the client's request: the client
            # tried again, and the trail has both, the first without an answer.
            found = [r for r in found if r["http"]["status"] != 0] or found
            if len(found) != 1:
                wrong.append("%s: %d records" % (tag, len(found)))
                continue
            record = found[0]
            expected = {"complete": True, "status": 200, "port": call["port"], "request": call["request_sha256"],
                        "response": call["response_sha256"], "gaps": []}
            got = {"complete": record["complete"], "status": record["http"]["status"],
                   "port": int(record["flow"]["client"].rsplit(":", 1)[1]), "request": record["request"]["sha256"],
                   "response": record["response"]["sha256"], "gaps": record["gaps"]}
            if got != expected:
                wrong.append("%s: expected %s, recorded %s" % (tag, expected, got))
        self.assertEqual(wrong, [], "%d of %d exchanges are not right" % (len(wrong), len(calls)))

    def test_200_requests_by_20_clients_are_recorded_whole(self):
        daemon = self.lab.daemon("--target", "auto", "--target", "cmdline~=fastapi_server", "--target", "exe=nginx")
        plain_port, plain_pid = self.lab.llama()
        container_port, container_pid = self.lab.llama_container(tls=True)
        fastapi_port, fastapi_pid = self.lab.fastapi()
        nginx_port, nginx_pid = self.lab.nginx(plain_port)
        servers = {"plain": ("http://127.0.0.1:%d" % plain_port, plain_pid),
                   "container": ("https://127.0.0.1:%d" % container_port, container_pid),
                   "fastapi": ("https://127.0.0.1:%d" % fastapi_port, fastapi_pid),
                   "nginx": ("https://127.0.0.1:%d" % nginx_port, nginx_pid)}
        daemon.wait_targets(*[pid for _, pid in servers.values()])
        clients = {"curl": [lab.PYTHON, os.path.join(HERE, "curl_client.py")],
                   "httpx": [lab.PYTHON, os.path.join(HERE, "python_client.py")]}
        if os.path.isdir(os.path.join(lab.NPM, "node_modules", "openai")):
            clients["openai"] = ["node", os.path.join(HERE, "openai_client.mjs")]
        else:
            self.fail("node's openai package is not in %s: run scripts/test" % lab.NPM)
        calls = run_clients(servers, clients, REQUESTS, CLIENTS)
        lab.wait_for("all records", lambda: sum(tag_of(r) in calls for r in daemon.exchanges()
                                                if r["flow"]["direction"] == "served") >= len(calls))
        records = daemon.exchanges()
        self.compare(calls, records, servers)
        self.assertEqual(daemon.status()["losses"], [])

        with self.subTest("TLS records are bound to their socket by the fingerprint"):
            binds = {r["flow"]["bind"] for r in records if r["flow"]["tls"]}
            self.assertEqual(binds, {"fp_egress"})
        with self.subTest("nginx: both legs are recorded"):
            tags = [t for t, c in calls.items() if c["server"] == "nginx"]
            for tag in tags:
                legs = sorted((r["process"]["pid"], r["flow"]["direction"], r["flow"]["tls"]) for r in records if tag_of(r) == tag)
                self.assertEqual(legs, sorted([(nginx_pid, "served", True), (nginx_pid, "called", False),
                                               (plain_pid, "served", False)]), tag)
        with self.subTest("the container is named by its cgroup"):
            ids = {r["process"]["container_id"] for r in records if r["process"]["pid"] == container_pid}
            self.assertEqual(ids, {"a" * 64})
        with self.subTest("the peer process of a local client is named"):
            exes = {os.path.basename(r["peer"]["exe"]) for r in records if (tag_of(r) or "").startswith("tag-container-curl")}
            self.assertEqual(exes, {"curl"})
        with self.subTest("an API key is a fingerprint, the same for the same key"):
            for r in records:
                if (tag_of(r) or "").startswith("tag-container"):
                    self.assertEqual(r["principal"]["kind"], "api_key")
                    self.assertRegex(r["principal"]["id"], "^hmac-sha256:[0-9a-f]{32}$")


if __name__ == "__main__":
    unittest.main()
