"""The way of ircstream: an own reader over aiohttp, which makes its id of the last event's `meta`,
without the other partitions and without stepping over that event.
"""

import asyncio
import json
import sys

import aiohttp
from report import show


async def read(session, url, last_id):
    """One response; the id behind its last event."""
    headers = {"Accept": "text/event-stream"}
    if last_id:
        headers["Last-Event-ID"] = last_id
    try:
        async with session.get(url, headers=headers) as response:
            if response.status != 200:
                return last_id
            async for line in response.content:
                if line.startswith(b"data: ") and line.endswith(b"\n"):
                    meta = json.loads(line[6:])["meta"]
                    show(line[6:])
                    place = {key: meta[key] for key in ("topic", "partition", "offset")}
                    last_id = json.dumps([place], separators=(",", ":"))
    except aiohttp.ClientError:
        pass
    return last_id


async def main():
    last_id = ""
    timeout = aiohttp.ClientTimeout(total=None, sock_read=30)
    async with aiohttp.ClientSession(timeout=timeout, read_bufsize=2**20) as session:
        while True:
            last_id = await read(session, sys.argv[1], last_id)
            await asyncio.sleep(0.1)


asyncio.run(main())
