#!/usr/bin/env python3
"""`tidegate check` against KafkaSSE, the reader that EventStreams is made of, over a real Kafka.

    bench/setup.sh && bench/reference.py

Too slow to build for the tests, where a server with ids in its form stands in. Status 1 where the
check says anything but OK. Python's standard library only.
"""

import http.client
import json
import pathlib
import subprocess
import sys
import tempfile
import threading

from servers import ROOT, all_servers

TIDEGATE = ROOT / "target/release/tidegate"


def main():
    floor = ROOT / "bench/floor/target/release/tidegate-floor"
    server = next(s for s in all_servers(TIDEGATE, floor) if s.name == "kafkasse")
    if why := server.missing():
        sys.exit(f"run bench/setup.sh first: {why}")
    over = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        try:
            server.start(pathlib.Path(folder))
            writer = threading.Thread(target=write, args=(server.intake.port, over))
            writer.start()
            sys.exit(max(check(server.url()), check(server.url(), "--resume")))
        finally:
            over.set()
            server.stop()


def check(*words):
    return subprocess.run([TIDEGATE, "check", *words], timeout=120, check=False).returncode


def write(port, over):
    """Ten events a second."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    number = 0
    while not over.wait(0.1):
        number += 1
        event = json.dumps({"meta": {"stream": "bench"}, "number": number})
        connection.request("POST", "/v1/events", event, {"content-type": "application/json"})
        connection.getresponse().read()


if __name__ == "__main__":
    main()
