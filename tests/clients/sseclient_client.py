"""sseclient: reconnects by itself and sends the last id back.

After a cut it puts what it had of the half event before the new response, and gives that out as an
event without data; so its users pass over what cannot be read.
"""

import sys

import report
from sseclient import SSEClient

for event in SSEClient(sys.argv[1]):
    if event.event == "message":
        try:
            report.show(event.data)
        except ValueError:
            continue
