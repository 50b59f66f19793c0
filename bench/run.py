#!/usr/bin/env python3
"""Measures servers side by side with `tidegate load`, and writes what came out.

    bench/setup.sh
    bench/run.py --name NAME [--only SCENARIO,…] [--servers SERVER,…] [--rounds N]

In every round each server is started, measured and ended, one after the other (A B C A B C …).
A ratio is taken between neighbours of one round, and the median of the rounds' ratios is what
counts. Results go to bench/results/NAME.json and NAME.md. Python's standard library only.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from looks import KernelMemory, private_kb, settled
from scenarios import SCENARIOS
from servers import ROOT, all_servers

# Not worth a word.
NOT_ABOUT_IT = "it is not about it"
# How long a load may take beyond the time that it measures.
PATIENCE_S = 600
KEPT = ("count", "p50", "p99", "p999", "max")


def main():
    args = arguments()
    servers = [s for s in all_servers(args.tidegate, args.floor)
               if not args.servers or s.name in args.servers.split(",")]
    for server in list(servers):
        if why := server.missing():
            say(f"without {server.name}: {why}")
            servers.remove(server)
    names = [s.name for s in SCENARIOS]
    wanted = args.only.split(",") if args.only else names
    if unknown := set(wanted) - set(names):
        sys.exit(f"no such scenario: {', '.join(sorted(unknown))}; there are: {', '.join(names)}")
    if not servers or not os.access(args.tidegate, os.X_OK):
        sys.exit("nothing can be measured: run bench/setup.sh first")
    # Those that are started inherit it.
    _, descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    results = {"conditions": conditions(args), "scenarios": {}}
    for scenario in (s for s in SCENARIOS if s.name in wanted):
        runs = measure(scenario, servers, args)
        results["scenarios"][scenario.name] = {
            "what": scenario.what, "load": scenario.load, "floor": scenario.floor,
            "load after": round(os.getloadavg()[0], 2), "runs": runs}
        write(results, args)
    say(f"written: {args.out / args.name}.json and .md")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--name", required=True, help="of the results' files")
    parser.add_argument("--only", help="scenarios, comma separated; all: left out")
    parser.add_argument("--servers", help="servers, comma separated; all: left out")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, help="of each measurement, for all scenarios")
    parser.add_argument("--shrink", type=int, default=1, metavar="K",
                        help="a K-th of the streams and replayed events, to try the bench out")
    parser.add_argument("--note", help="what else has to be known of the conditions")
    parser.add_argument("--tidegate", type=pathlib.Path,
                        default=ROOT / "target/release/tidegate")
    parser.add_argument("--floor", type=pathlib.Path,
                        default=ROOT / "bench/floor/target/release/tidegate-floor")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench/results")
    return parser.parse_args()


def measure(scenario, servers, args):
    """All rounds; a list of runs for each server."""
    runs = {}
    for number in range(args.rounds):
        for server in servers:
            if why := unfit(scenario, server, args):
                if number == 0 and why != NOT_ABOUT_IT:
                    say(f"{scenario.name} without {server.name}: {why}")
                continue
            try:
                run = one(scenario, server, args)
            except (RuntimeError, subprocess.SubprocessError, json.JSONDecodeError) as error:
                run = {"error": str(error)}
            runs.setdefault(server.name, []).append(run)
            told = run.get("error") or ", ".join(
                f"{m.title} {short(value(run, m.key))}" for m in scenario.metrics)
            say(f"{scenario.name} {number + 1}/{args.rounds} {server.name}: {told}")
    return runs


def unfit(scenario, server, args):
    """Why a server is left out of a scenario; empty: it is not."""
    if scenario.servers and server.name not in scenario.servers:
        return NOT_ABOUT_IT
    if scenario.replay and not server.keeps_history:
        return "it keeps no history"
    if scenario.gzip and not server.compresses:
        return "it does not compress"
    streams = int(option(scenario.load, "-n")) // args.shrink
    return f"{streams} are too many for it" if streams > server.streams_max else ""


def one(scenario, server, args):
    """One server, started for it, through one scenario."""
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        folder = pathlib.Path(folder)
        server.settings, server.with_demo = scenario.settings, scenario.demo
        server.rate = option(scenario.load, "--write")
        try:
            server.start(folder)
            if scenario.replay:
                return replay(scenario, server, folder, args)
            without = None
            if scenario.without:
                without = delivered(scenario.without, server, scenario, args)
                server.stop()
                (folder / "again").mkdir()
                server.start(folder / "again")
            stalled = int(option(scenario.load, "--stall") or 0) // args.shrink
            before_kb = settled(lambda: private_kb(server.pids())) if scenario.crowds else 0
            for _ in range(scenario.crowds):
                crowd = scenario.load + " --write 5 --size 1200 --seconds 2"
                load(crowd, server, server.url(), None, args)
            kept_kb = settled(lambda: private_kb(server.pids())) if scenario.crowds else 0
            kernel = KernelMemory(server.port, stalled)
            try:
                text = scenario.load + " --gzip" * scenario.gzip
                summary = delivered(text, server, scenario, args, "?encoding=gzip" * scenario.gzip)
            finally:
                bytes_per_stalled = kernel.result()
            if scenario.crowds:
                against(summary, before_kb, kept_kb)
            summary["kernel"] = {"bytes_per_stalled": bytes_per_stalled}
            if without:
                summary["without"] = compared(summary, without)
            return summary
        finally:
            server.stop()


def delivered(text, server, scenario, args, query=""):
    """One load of a scenario, with what the server has fetched for it."""
    before = server.fetched_bytes()
    summary = load(text, server, server.url() + query, scenario, args)
    after = server.fetched_bytes()
    if before is not None and summary["written"]:
        events = summary["written"]["acknowledged"]
        summary["fetched"] = {"bytes_per_event": ratio(after - before, events)}
    return summary


# What is told as a multiple of the run without.
COMPARED = {"cpu": "server.cpu_s", "p50": "latency_us.p50", "p99": "latency_us.p99",
            "fetched": "fetched.bytes_per_event", "reads": "history.reads"}


def compared(summary, without):
    pairs = {name: (value(summary, key), value(without, key)) for name, key in COMPARED.items()}
    told = {f"{name}_ratio": ratio(*pair) for name, pair in pairs.items() if None not in pair}
    if None not in pairs["cpu"]:
        told["cpu_more_s"] = round(pairs["cpu"][0] - pairs["cpu"][1], 3)
    return told


def against(summary, before_kb, kept_kb):
    """Memory as a difference to what it was before all crowds came."""
    streams, used = summary["streams"], summary["server"]
    def each(kb):
        return round((kb - before_kb) * 1024 / streams, 1)
    used["private_bytes_per_stream"] = each(used["private_open_kb"])
    summary["crowds"] = {"kept_bytes_per_stream": each(kept_kb)}


def replay(scenario, server, folder, args):
    wanted = scenario.replay // args.shrink
    batch, rate, written = 250, 20_000, 0
    for _ in range(4):  # readers tell sixteen writers apart, and each time has four
        seconds = max(0.2, (wanted - written) / rate)
        fill = f"-n 0 --write {rate} --batch {batch} --writers 4 --size 1200 --seconds {seconds}"
        written += load(fill, server, server.url(), None, args)["written"]["acknowledged"]
        if written >= wanted * 0.9:
            break
    else:
        raise RuntimeError(f"only {written} of {wanted} events were taken")
    until = f" --until {written} --seconds {args.seconds or scenario.seconds}"
    if not scenario.without:
        return load(scenario.load + until, server, server.replay_url(), None, args)

    def read(text):
        server.restart(folder)  # what it has in memory of the writing is gone
        before = server.history_reads()
        summary = load(text + until, server, server.replay_url(), None, args)
        if before is not None:
            summary["history"] = {"reads": server.history_reads() - before}
        return summary

    without, summary = read(scenario.without), read(scenario.load)
    summary["without"] = compared(summary, without)
    return summary


def load(text, server, url, scenario, args):
    """Runs `tidegate load`; its summary."""
    words = text.split()
    if "-n" in words:
        at = words.index("-n") + 1
        words[at] = str(int(words[at]) // args.shrink or int(words[at]))
    if "--stall" in words:
        at = words.index("--stall") + 1
        words[at] = str(int(words[at]) // args.shrink)
    patience = PATIENCE_S
    if scenario:
        seconds = args.seconds or scenario.seconds
        words += ["--seconds", str(seconds)]
        patience += seconds
    if "--write" in words:
        words += server.write_args
    for pid in server.pids():
        words += ["--pid", str(pid)]
    command = [str(args.tidegate), "load", url, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patience, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip()[-500:])
    summary = slim(json.loads(done.stdout))
    if used := summary["server"]:
        used["private_more_kb"] = used["private_open_kb"] - used["private_before_kb"]
        used["private_growth"] = ratio(used["private_open_kb"], used["private_begin_kb"])
    return summary


def slim(summary):
    """Without what nobody compares, so that results stay readable."""
    def walk(node):
        if not isinstance(node, dict):
            return node
        if "p999" in node:
            return {key: node[key] for key in KEPT}
        return {key: walk(child) for key, child in node.items()}
    return walk(summary)


def option(text, name):
    words = text.split()
    return words[words.index(name) + 1] if name in words else None


def value(run, key):
    for part in key.split("."):
        if not isinstance(run, dict) or part not in run:
            return None
        run = run[part]
    return run


def ratio(a, b):
    return round(a / b, 4) if b else None


def conditions(args):
    def git(*words):
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True,
                              check=False)
        return done.stdout.strip()
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", cpuinfo, re.M)
    memory = re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())
    return {
        "command": " ".join(["bench/run.py", *sys.argv[1:]]),
        "commit": git("rev-parse", "--short=12", "HEAD"),
        "with changes": bool(git("status", "--porcelain", "--untracked-files=no", "--",
                                 ".", ":!bench/results")),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": model.group(1) if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_mb": int(memory.group(1)) // 1024 if memory else None,
        "kernel": platform.release(),
        "load before": round(os.getloadavg()[0], 2),
        "rounds": args.rounds,
        "shrink": args.shrink,
        **({"note": args.note} if args.note else {}),
    }


def write(results, args):
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{args.name}.json").write_text(json.dumps(results, indent=1) + "\n")
    (args.out / f"{args.name}.md").write_text(markdown(results, args.name))


def markdown(results, name):
    lines = [f"# {name}", ""]
    lines += [f"* {key}: {said}" for key, said in results["conditions"].items()]
    lines += ["", "Median of the rounds (least–most). A ratio is taken in each round, to the floor "
              "of that round.", ""]
    metrics = {s.name: s.metrics for s in SCENARIOS}
    for scenario, result in results["scenarios"].items():
        lines += [f"## {scenario}", "", f"{result['what']} (`{result['load']}`)", ""]
        lines += table(result, metrics[scenario]) + [""]
    return "\n".join(lines)


def table(result, metrics):
    floor = result["runs"].get(result["floor"])
    head = ["server"]
    for metric in metrics:
        head += [metric.title] + (["× floor"] if floor else [])
    head += ["lost", "repeated", "not opened or ended"]
    rows = []
    for server, runs in result["runs"].items():
        row = [server]
        for metric in metrics:
            row.append(spread([value(run, metric.key) for run in runs]))
            if floor:
                pairs = zip(runs, floor)
                row.append(spread([quotient(run, of, metric.key) for run, of in pairs]))
        for keys in (["deliveries.lost"], ["deliveries.repeated"]):
            row.append(str(sum(value(run, key) or 0 for run in runs for key in keys)))
        row.append(str(sum(faults(run) for run in runs)))
        failed = [run["error"] for run in runs if "error" in run]
        if failed:
            row[0] += f" ({len(failed)} of {len(runs)} runs failed: {failed[0][:80]})"
        rows.append(row)
    lines = [" | ".join(head), " | ".join(["---"] + ["--:"] * (len(head) - 1))]
    lines += [" | ".join(row) for row in rows]
    return [f"| {line} |" for line in lines]


def faults(run):
    if "error" in run:
        return 0
    over = run["disconnects"]["ended"] + run["disconnects"]["cut"]
    return over + run["streams"] - run["connects"]["opened"]


def quotient(run, floor, key):
    a, b = value(run, key), value(floor, key)
    return a / b if a is not None and b else None


def spread(values):
    values = [v for v in values if v is not None]
    if not values:
        return "–"
    middle = short(statistics.median(values))
    return f"{middle} ({short(min(values))}–{short(max(values))})"


def short(number):
    """Three digits that say something."""
    if number is None:
        return "–"
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.3g}"


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
