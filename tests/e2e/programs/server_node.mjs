// server_node.mjs PORT KEY CERT: node's https server (OpenSSL inside the executable, a BIO of its own).
import fs from "node:fs";
import https from "node:https";

const [port, key, cert] = process.argv.slice(2);
const server = https.createServer({ key: fs.readFileSync(key), cert: fs.readFileSync(cert) }, (request, response) => {
  request.on("data", () => {});
  request.on("end", () => {
    const [size, name] = request.url.slice(3).split("?");
    const unit = Buffer.from([...name].reverse().join("") + "\n");
    const body = Buffer.alloc(Number(size), unit);
    response.writeHead(200, { "content-type": "text/plain", "content-length": body.length });
    response.end(body);
  });
});
server.keepAliveTimeout = 300000;
server.listen({ port: Number(port), host: "127.0.0.1", backlog: 1024 });
