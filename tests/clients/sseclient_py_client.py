"""sseclient-py: reads one response. Going on after its end is its user's part."""

import sys
import time

import requests
import sseclient
from report import show

last_id = None
while True:
    headers = {"Accept": "text/event-stream"}
    if last_id:
        headers["Last-Event-ID"] = last_id
    try:
        response = requests.get(sys.argv[1], stream=True, headers=headers, timeout=30)
        response.raise_for_status()
        for event in sseclient.SSEClient(response).events():
            show(event.data)
            last_id = event.id
    except requests.RequestException:
        pass
    time.sleep(0.1)
