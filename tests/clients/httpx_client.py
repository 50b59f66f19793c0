"""httpx-sse: reads one response. Going on after its end is its user's part."""

import sys
import time

import httpx
from httpx_sse import connect_sse
from report import show

last_id = ""
with httpx.Client(timeout=30) as client:
    while True:
        headers = {"Last-Event-ID": last_id}
        try:
            with connect_sse(client, "GET", sys.argv[1], headers=headers) as source:
                for event in source.iter_sse():
                    if event.data:
                        show(event.data)
                        last_id = event.id
        except httpx.TransportError:
            pass
        time.sleep(0.1)
