"""requests-sse: reconnects by itself and sends the last id back."""

import sys

from report import show
from requests_sse import EventSource

with EventSource(sys.argv[1], timeout=30) as source:
    for event in source:
        if event.type == "message":
            show(event.data)
