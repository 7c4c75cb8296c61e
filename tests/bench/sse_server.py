"""A uvicorn server of the benchmark, without a framework: sse_server.py PORT [KEY CERT]

GET /sse/N        N server-sent events of a chat stream, one write each
GET /slow/N       the same, one event a second
anything else     1 KiB of JSON"""
import asyncio
import json
import sys

import uvicorn

EVENT = b"data: " + json.dumps({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                                "choices": [{"index": 0, "delta": {"content": "token "},
                                             "finish_reason": None}]}).encode() + b"\n\n"
BODY = json.dumps({"object": "text_completion", "model": "m", "text": "word " * 190}).encode()


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    kind, _, count = scope["path"].strip("/").partition("/")
    if kind not in ("sse", "slow"):
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]})
        await send({"type": "http.response.body", "body": BODY})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for _ in range(int(count)):
        await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        await asyncio.sleep(1 if kind == "slow" else 0)
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


if __name__ == "__main__":
    options = {"ssl_keyfile": sys.argv[2], "ssl_certfile": sys.argv[3]} if len(sys.argv) > 3 else {}
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), loop="asyncio", http="h11", log_level="warning",
                access_log=False, lifespan="off", **options)
