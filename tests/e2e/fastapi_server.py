"""A small OpenAI-like server on Debian's fastapi and uvicorn: asyncio TLS, no socket under the SSL
object. fastapi_server.py PORT LOOP [KEY CERT]. The answer repeats the prompt, so that it is different
for every request, and streams it word by word when asked, with "pause" seconds between them."""
import asyncio
import json
import sys

import uvicorn
from fastapi import FastAPI, Request
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse, StreamingResponse

app = FastAPI()
app.add_middleware(GZipMiddleware, minimum_size=20)   # only for clients that ask for it


@app.post("/v1/chat/completions")
async def chat(request: Request):
    body = await request.json()
    text = "You said: " + body["messages"][-1]["content"]
    model = body.get("model", "echo")
    if not body.get("stream"):
        return JSONResponse({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model,
                             "choices": [{"index": 0, "finish_reason": "stop",
                                          "message": {"role": "assistant", "content": text}}],
                             "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}})

    async def events():
        for word in text.split(" "):
            delta = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model,
                     "choices": [{"index": 0, "delta": {"content": word + " "}, "finish_reason": None}]}
            yield "data: " + json.dumps(delta) + "\n\n"
            await asyncio.sleep(body.get("pause", 0))
        last = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model,
                "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        yield "data: " + json.dumps(last) + "\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


if __name__ == "__main__":
    options = {}
    if len(sys.argv) > 3:
        options = {"ssl_keyfile": sys.argv[3], "ssl_certfile": sys.argv[4]}
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), loop=sys.argv[2], log_level="warning", **options)
