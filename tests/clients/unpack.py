"""Reads one compressed response with a Python library and says each event as it comes, and `whole`
after a clean end. Arguments: aiohttp or httpx, the URL, what to ask for."""

import asyncio
import sys

from report import show

library, url, encoding = sys.argv[1:]
headers = {"Accept-Encoding": encoding}


def lines(text, data):
    """Gives out the whole data lines; what is left."""
    *whole, rest = (text + data).split("\n")
    for line in whole:
        if line.startswith("data: "):
            show(line.removeprefix("data: "))
    return rest


async def with_aiohttp():
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_read=30)
    rest = ""
    async with aiohttp.ClientSession(timeout=timeout) as session:
        async with session.get(url, headers=headers) as response:
            assert response.headers["Content-Encoding"] == encoding, response.headers
            async for data in response.content.iter_any():
                rest = lines(rest, data.decode())


def with_httpx():
    import httpx

    rest = ""
    with httpx.stream("GET", url, headers=headers, timeout=30) as response:
        assert response.headers["Content-Encoding"] == encoding, response.headers
        for data in response.iter_text():
            rest = lines(rest, data)


if library == "aiohttp":
    asyncio.run(with_aiohttp())
else:
    with_httpx()
print("whole", flush=True)
