// A node server of the benchmark: sse_server.mjs PORT KEY CERT
// GET /sse/N: N server-sent events of a chat stream, one write each, one turn of the event loop each.
import https from "node:https";
import fs from "node:fs";

const [port, key, cert] = process.argv.slice(2);
const event = "data: " + JSON.stringify({id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "m",
  choices: [{index: 0, delta: {content: "token "}, finish_reason: null}]}) + "\n\n";

function stream(answer, left) {
  if (answer.destroyed) return;
  if (left === 0) return answer.end("data: [DONE]\n\n");
  answer.write(event);
  setImmediate(stream, answer, left - 1);
}

https.createServer({key: fs.readFileSync(key), cert: fs.readFileSync(cert)}, (request, answer) => {
  answer.writeHead(200, {"Content-Type": "text/event-stream"});
  stream(answer, Number(request.url.split("/")[2]));
}).listen(Number(port), "127.0.0.1");
