#!/usr/bin/env python3
"""What one address that takes all it can get costs the others.

    bench/setup.sh
    bench/greedy.py [--rounds N]

In each round a gateway that gives each client 64 streams is started. 200 readers of 200 addresses
come and go (2 s each) while events are written: first alone, then while one more address keeps 10,000
connects under way without a pause. Results go to bench/results/greedy.json and greedy.md.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

from looks import private_kb
from run import conditions, load, value
from servers import ROOT, Tidegate

PER_CLIENT = 64
READERS = ("-n 200 --sources 200 --from 127.99.0.1 --connect-rate 100 --stay 2 --again --write 20 "
           "--size 1200 --write-early --seconds {seconds}")
GREEDY = ("-n 10000 --sources 1 --from 127.66.0.1 --connect-rate 1000000 --connecting 10000 "
          "--again --seconds {seconds}")
ROWS = (
    ("connects.first_byte_us.p50", "the 200: first byte, p50, µs"),
    ("connects.first_byte_us.p99", "the 200: first byte, p99, µs"),
    ("latency_us.p50", "the 200: events, p50, µs"),
    ("latency_us.p99", "the 200: events, p99, µs"),
    ("connects.opened", "the 200: streams opened"),
    ("connects.turned_away", "the 200: streams refused or failed"),
    ("deliveries.lost", "the 200: events lost"),
    ("server.cpu_s", "the gateway: CPU s in the measured time"),
    ("server.private_open_kb", "the gateway: private memory at the end, KB"),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--note")
    parser.add_argument("--tidegate", type=pathlib.Path, default=ROOT / "target/release/tidegate")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench/results")
    args = parser.parse_args()
    args.shrink = 1
    said = conditions(args) | {"command": f"bench/greedy.py --rounds {args.rounds}"}
    rounds = []
    for number in range(args.rounds):
        rounds.append(one(args))
        first_byte = [rounds[-1][when]["connects"]["first_byte_us"]["p99"]
                      for when in ("before", "during")]
        print(f"{number + 1}/{args.rounds}: first byte p99 {first_byte} µs, "
              f"{rounds[-1]['greedy']['connects']['refused']}", flush=True)
        results = {"conditions": said, "rounds": rounds}
        (args.out / "greedy.json").write_text(json.dumps(results, indent=1) + "\n")
        (args.out / "greedy.md").write_text(markdown(results))


def one(args):
    server = Limited(args.tidegate)
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        server.start(pathlib.Path(folder))
        try:
            readers = READERS.format(seconds=args.seconds)
            before = load(readers, server, server.url(), None, args)
            words = [str(args.tidegate), "load", server.url(),
                     *GREEDY.format(seconds=args.seconds + 8).split()]
            greedy = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                      text=True)
            time.sleep(2)
            during = load(readers, server, server.url(), None, args)
            there = greedy.poll() is None
            greedy = json.loads(greedy.communicate(timeout=120)[0])
            if not there:
                raise RuntimeError("the greedy address had left before the others")
            time.sleep(3)
            after_kb = private_kb(server.pids())
        finally:
            server.stop()
    for run in (before, during):
        connects = run["connects"]
        connects["turned_away"] = sum((connects["refused"] | connects["failed"]).values())
    return {"before": before, "during": during, "greedy": greedy, "after_kb": after_kb}


class Limited(Tidegate):
    """The gateway as it is by default, but for how fast a client may come."""

    limits = f"streams_per_client = {PER_CLIENT}\nopens_per_client_s = 0\n"


def markdown(results):
    rounds = results["rounds"]

    def spread(found):
        return f"{statistics.median(found):,.6g} ({min(found):,.6g}–{max(found):,.6g})"
    lines = ["# greedy", ""]
    lines += [f"* {key}: {said}" for key, said in results["conditions"].items()]
    lines += ["", f"A gateway of which each client may hold {PER_CLIENT} streams. 200 readers from "
              "200 addresses come and go, 2 s each, 20 events/s of 1.2 KB; then the same while one "
              "more address keeps 10,000 connects under way without a pause. All share the two "
              "cores. Median of the rounds (least–most).", "",
              "| | alone | with the greedy address |", "|---|--:|--:|"]
    for key, title in ROWS:
        cells = [spread([value(r[when], key) for r in rounds]) for when in ("before", "during")]
        lines.append(f"| {title} | {cells[0]} | {cells[1]} |")
    refused = spread([r["greedy"]["connects"]["refused"].get("429", 0) for r in rounds])
    opened = spread([r["greedy"]["connects"]["opened"] for r in rounds])
    after = spread([r["after_kb"] for r in rounds])
    lines += ["", f"The greedy address: {opened} streams opened, {refused} times 429. Private "
              f"memory of the gateway 3 s after it had gone: {after} KB.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
