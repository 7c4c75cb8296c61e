"""aiohttp: asyncio TLS. order.py has the arguments."""
import asyncio
import sys

import aiohttp

import order as orders

order = orders.Order(sys.argv[1:])


async def work(worker):
    session, at = None, None
    for number, name, sure in order.steps(worker):
        if number != at:
            if session:
                await session.close()
            connector = aiohttp.TCPConnector(ssl=False)
            session, at = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(120)), number
        body = order.body(name)
        async with session.post(order.base + order.path(name), data=body, headers={"Content-Type": "text/plain"}) as answer:
            answer.raise_for_status()
            content = await answer.read()
            port = answer.headers["x-port"]
        order.say(worker, name, sure, port, body, content)
    await session.close()


async def main():
    await asyncio.gather(*[work(worker) for worker in range(order.workers)])


asyncio.run(main())
