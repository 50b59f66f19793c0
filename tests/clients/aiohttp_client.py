"""aiohttp-sse-client: goes on by itself after a whole end, and raises after a cut."""

import asyncio
import sys

import aiohttp
from aiohttp_sse_client.client import EventSource
from report import show


async def main():
    last_id = ""
    while True:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        timeout = aiohttp.ClientTimeout(total=None, sock_read=30)
        try:
            async with EventSource(sys.argv[1], headers=headers, timeout=timeout) as source:
                async for event in source:
                    show(event.data)
                    last_id = event.last_event_id
        except (aiohttp.ClientError, ConnectionError):
            await asyncio.sleep(0.1)


asyncio.run(main())
