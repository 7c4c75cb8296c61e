// node's https client. order.py has the arguments.
import crypto from "node:crypto";
import fs from "node:fs";
import https from "node:https";

const [base, workers, connections, each, tag, requestMax, answerMax, midlife] = process.argv.slice(2);
const sha256 = (data) => crypto.createHash("sha256").update(data).digest();
let attached = false;
const answered = new Set();
if (midlife === "1") process.stdin.once("data", () => { attached = true; process.stdin.destroy(); });

function sizes(name) {
  const share = sha256(name);
  if (name.endsWith("-w0-c0-r0")) return [Number(requestMax), Number(answerMax)];
  return [1 + Math.floor(requestMax * share[0] / 255), 1 + Math.floor(answerMax * share[1] / 255)];
}

function call(agent, worker, name, sure) {
  const [size, wanted] = sizes(name);
  const body = Buffer.alloc(size, name + " ");
  const path = `/x/${wanted}?${name}`;
  return new Promise((resolve, reject) => {
    const request = https.request(base + path, {
      agent, method: "POST", rejectUnauthorized: false,
      headers: { "content-type": "text/plain", "content-length": body.length },
    }, (response) => {
      if (response.statusCode !== 200) reject(new Error("status " + response.statusCode));
      const pieces = [];
      response.on("data", (piece) => pieces.push(piece));
      response.on("error", reject);
      response.on("end", () => {
        fs.writeSync(1, JSON.stringify({
          path, sure, port: Number(response.headers["x-port"]), pid: process.pid,
          request: sha256(body).toString("hex"), answer: sha256(Buffer.concat(pieces)).toString("hex"),
        }) + "\n");
        if (midlife === "1" && !answered.has(worker)) {
          answered.add(worker);
          if (answered.size === Number(workers)) fs.writeSync(1, "busy\n");
        }
        resolve();
      });
    });
    request.on("error", reject);
    request.end(body);
  });
}

async function work(worker) {
  for (let connection = 0; connection < connections; connection++) {
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1, maxCachedSessions: 0 });
    const name = (what) => `${tag}-w${worker}-c${connection}-${what}`;
    for (let n = 0; midlife === "1" && !attached; n++) await call(agent, worker, name(`early${n}`), false);
    if (midlife === "1") await call(agent, worker, name("settle"), false);
    for (let n = 0; n < each; n++) await call(agent, worker, name(`r${n}`), true);
    agent.destroy();
  }
}

await Promise.all(Array.from({ length: Number(workers) }, (_, worker) => work(worker)));
