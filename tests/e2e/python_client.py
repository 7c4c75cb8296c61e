"""python_client.py BASE_URL COUNT CONCURRENCY TAG: calls with httpx (async: a memory BIO under TLS).
Prints one JSON line per call: {tag, port, request_sha256, response_sha256}."""
import asyncio
import hashlib
import json
import sys

import httpx

base, count, concurrency, tag = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]


async def call(client, number):
    name = "%s-%d" % (tag, number)
    body = json.dumps({"model": "tiny", "stream": number % 2 == 0,
                       "messages": [{"role": "user", "content": name + " please"}]}).encode()
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-pyAAAABBBBCCCC%d" % number,
               "Accept-Encoding": "identity"}
    for attempt in range(4):
        try:
            return await once(client, name, body, headers)
        except (httpx.RemoteProtocolError, httpx.ReadError):   # a kept-alive connection that the server closed
            if attempt == 3:
                raise


async def once(client, name, body, headers):
    async with client.stream("POST", base + "/v1/chat/completions", content=body, headers=headers) as answer:
        answer.raise_for_status()
        port = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
        digest = hashlib.sha256()
        async for piece in answer.aiter_raw():
            digest.update(piece)
    print(json.dumps({"tag": name, "port": port, "request_sha256": hashlib.sha256(body).hexdigest(),
                      "response_sha256": digest.hexdigest()}), flush=True)


async def worker(numbers):
    client = httpx.AsyncClient(verify=False, timeout=60)
    for number in numbers:
        if number % 4 >= 2:                       # half of the calls on a connection of their own
            async with httpx.AsyncClient(verify=False, timeout=60) as once:
                await call(once, number)
        else:
            await call(client, number)
    await client.aclose()


async def main():
    await asyncio.gather(*[worker(range(first, count, concurrency)) for first in range(concurrency)])


asyncio.run(main())
