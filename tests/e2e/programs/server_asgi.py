"""server_asgi.py PORT LOOP [KEY CERT]: uvicorn on asyncio or uvloop; a memory BIO under TLS.
POST /hold/SIZE?NAME is answered after GET /release; GET /held says how many wait."""
import asyncio
import sys

import uvicorn

from order import answer_of

held, released = 0, None   # the event belongs to the loop that uvicorn makes


async def body_of(path):
    global held, released
    released = released or asyncio.Event()
    if path.startswith("/hold/"):
        held += 1
        await released.wait()
        return answer_of("/x/" + path[len("/hold/"):])
    if path.startswith("/release"):
        released.set()
        return b"released"
    return b"%d" % held if path.startswith("/held") else answer_of(path)


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while True:
        message = await receive()
        if not message.get("more_body"):
            break
    query = scope["query_string"].decode()
    body = await body_of(scope["path"] + "?" + query)
    headers = [(b"content-type", b"text/plain"), (b"x-port", b"%d" % scope["client"][1])]
    if len(body) % 2 == 0:
        headers.append((b"content-length", b"%d" % len(body)))   # else chunked
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for at in range(0, len(body), 50000):
        await send({"type": "http.response.body", "body": body[at:at + 50000], "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


if __name__ == "__main__":
    tls = {"ssl_keyfile": sys.argv[3], "ssl_certfile": sys.argv[4]} if len(sys.argv) > 3 else {}
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), loop=sys.argv[2], log_level="warning", backlog=1024,
                timeout_keep_alive=300, **tls)
