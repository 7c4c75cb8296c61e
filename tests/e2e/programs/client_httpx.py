"""httpx async: a memory BIO under TLS. order.py has the arguments."""
import asyncio
import sys

import httpx

import order as orders

order = orders.Order(sys.argv[1:])
context = httpx.create_ssl_context(verify=False)


async def work(worker):
    client, at = None, None
    for number, name, sure in order.steps(worker):
        if number != at:
            if client:
                await client.aclose()
            client, at = httpx.AsyncClient(verify=context, timeout=120), number
        body = order.body(name)
        answer = await client.post(order.base + order.path(name), content=body, headers={"Content-Type": "text/plain"})
        answer.raise_for_status()
        order.say(worker, name, sure, answer.headers["x-port"], body, answer.content)
    await client.aclose()


async def main():
    await asyncio.gather(*[work(worker) for worker in range(order.workers)])


asyncio.run(main())
