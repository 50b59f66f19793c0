#!/usr/bin/env python3
"""`tidegate check` and `tidegate tail` against KafkaSSE, the reader that EventStreams is made of, over
a real Kafka.

    bench/setup.sh && bench/reference.py

Too slow to build for the tests, where a server with ids in its form stands in. Status 1 where the
check says anything but OK, or the tail misses an event or gives one twice. Python's standard library only.
"""

import http.client
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

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
            folder = pathlib.Path(folder)
            server.start(folder)
            writer = threading.Thread(target=write, args=(server.intake.port, over))
            writer.start()
            bad = [check(server.url()), check(server.url(), "--resume"), tail(server, folder)]
            sys.exit(max(bad))
        finally:
            over.set()
            server.stop()


def check(*words):
    return subprocess.run([TIDEGATE, "check", *words], timeout=120, check=False).returncode


def tail(server, folder):
    """Follows it through a cut, and again from the state that the first one kept."""
    numbers = []
    for is_cut in (True, False):
        command = [TIDEGATE, "tail", server.url(), "--quiet", "--state", folder / "state.json"]
        follower = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        time.sleep(5)
        if is_cut:
            server.cut(folder)
            time.sleep(10)
        follower.send_signal(signal.SIGINT)
        said, _ = follower.communicate(timeout=30)
        numbers += [json.loads(line)["number"] for line in said.splitlines()]
    all_of_them = list(range(numbers[0], numbers[-1] + 1)) if numbers else [0]
    missed, again = len(set(all_of_them) - set(numbers)), len(numbers) - len(set(numbers))
    print(f"tail: {len(numbers)} events, {missed} missed, {again} twice", flush=True)
    return int(numbers != all_of_them)


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
