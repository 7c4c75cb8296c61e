// openai_client.mjs BASE_URL COUNT CONCURRENCY TAG: calls with the real openai package. Its transport is
// node's https or http, so that each call's local port and raw bytes are known. Prints one JSON line
// per call: {tag, port, request_sha256, response_sha256}.
import crypto from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const require = createRequire(pathToFileURL(path.join(process.env.IT_NPM, 'index.js')));
const OpenAI = (await import(pathToFileURL(require.resolve('openai')))).default;
const [base, count, concurrency, tag] = [process.argv[2], +process.argv[3], +process.argv[4], process.argv[5]];
const secure = base.startsWith('https');
const library = secure ? https : http;
const keepAlive = new library.Agent({ keepAlive: true, maxSockets: concurrency, rejectUnauthorized: false });
const oneShot = new library.Agent({ keepAlive: false, rejectUnauthorized: false });
const sha = (buffer) => crypto.createHash('sha256').update(buffer).digest('hex');

function transport(agent, note) {
  return (url, init) => new Promise((resolve, reject) => {
    const body = Buffer.from(init.body ?? '');
    const headers = Object.fromEntries(new Headers(init.headers));
    headers['content-length'] = String(body.length);
    const request = library.request(url, { method: init.method, headers, agent }, (response) => {
      note.port = response.socket.localPort;
      note.request_sha256 = sha(body);
      const hash = crypto.createHash('sha256');
      const stream = new ReadableStream({
        start(controller) {
          response.on('data', (piece) => { hash.update(piece); controller.enqueue(piece); });
          response.on('end', () => { note.response_sha256 = hash.digest('hex'); controller.close(); note.done(); });
          response.on('error', (error) => controller.error(error));
        },
      });
      resolve(new Response(stream, { status: response.statusCode, headers: response.headers }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

async function call(i) {
  const note = { tag: `${tag}-${i}` };
  const finished = new Promise((resolve) => { note.done = resolve; });
  const client = new OpenAI({ baseURL: base + '/v1', apiKey: 'sk-nodeAAAABBBBCCCC' + i, maxRetries: 3,
    fetch: transport(i % 4 < 2 ? keepAlive : oneShot, note) });
  const stream = i % 2 === 0;
  const answer = await client.chat.completions.create({ model: 'tiny', stream,
    messages: [{ role: 'user', content: `${note.tag} please` }] });
  let text = '';
  if (stream) for await (const part of answer) text += part.choices[0]?.delta?.content ?? '';
  else text = answer.choices[0].message.content;
  await finished;
  if (!text) throw new Error('empty answer');
  const { done, ...line } = note;
  console.log(JSON.stringify(line));
}

let next = 0;
await Promise.all(Array.from({ length: concurrency }, async () => { while (next < count) await call(next++); }));
keepAlive.destroy();
