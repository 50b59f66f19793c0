#!/usr/bin/env python3
"""Makes docs/performance.md and its pictures from bench/results/*.json.

    bench/report.py [RESULTS.json …]

Of a scenario that several files have, the last file's counts (by their dates). Everything that is
said comes from the files: numbers, conditions, and whether a goal of bench/scenarios.py is
reached. Python's standard library only; pictures are SVG.
"""

import json
import pathlib
import re
import statistics
import sys
from xml.sax.saxutils import escape

from run import faults, quotient, short, table, value
from scenarios import SCENARIOS
from servers import ROOT

DOCS = ROOT / "docs"
PICTURES = "performance"
# Bars: ours, what the kernel charges, and the others, on white and on black.
COLOURS = {"tidegate": "#0b7285", "tidegate-kafka": "#3bc9db", "floor": "#868e96",
           "floor-coalescing": "#868e96", "floor-synced": "#868e96",
           "floor-beside-kafka": "#868e96"}
OTHERS = "#d9a066"
WIDTH, LABEL, NUMBERS, BAR, GAP = 720, 140, 190, 22, 8


def main():
    given = [pathlib.Path(name) for name in sys.argv[1:]]
    files = given or sorted((ROOT / "bench/results").glob("*.json"))
    results = [(file.stem, json.loads(file.read_text())) for file in files]
    results = [(name, result) for name, result in results if "scenarios" in result]
    if not results:
        sys.exit("there are no results: bench/run.py makes them")
    results.sort(key=lambda result: result[1]["conditions"]["date"])
    latest = {}
    for name, result in results:
        for scenario in result["scenarios"]:
            latest[scenario] = name, result
    (DOCS / PICTURES).mkdir(parents=True, exist_ok=True)
    for old in (DOCS / PICTURES).glob("*.svg"):
        old.unlink()
    (DOCS / "performance.md").write_text(page(latest))
    print(f"written: {DOCS / 'performance.md'}")


def page(latest):
    lines = [
        "# Performance", "",
        "Made by `bench/report.py` from `bench/results/`, not by hand. Servers are measured side "
        "by side in one run, one after the other in every round; a number is the median of "
        "the rounds (least–most), a ratio is taken within each round. Absolute numbers are those "
        "of one small machine that has the load generator on it too; ratios say more. *floor* is "
        "the least that the kernel charges: plain epoll, one `write` per reader and event "
        "(`bench/floor`); *floor-coalescing* writes what piled up at once; *floor-synced* also "
        "syncs an event to disk before it delivers it, as Tidegate and durable-streams do and "
        "nchan and Mercure (in memory) do not; *floor-beside-kafka* is the floor while a Kafka takes "
        "as many events on the same machine.", ""]
    measured = [scenario for scenario in SCENARIOS if scenario.name in latest]
    lines += goals_part(measured, latest)
    for scenario in measured:
        name, result = latest[scenario.name]
        told = result["scenarios"][scenario.name]
        lines += [f"## {scenario.name}", "", f"{told['what']}. `tidegate load {told['load']}`; "
                  f"conditions: [{name}](#{anchor(name)}).", ""]
        picture = chart(scenario, told)
        if picture:
            (DOCS / PICTURES / f"{scenario.name}.svg").write_text(picture)
            lines += [f"![{scenario.metrics[0].title}]({PICTURES}/{scenario.name}.svg)", ""]
        lines += table(told, scenario.metrics) + [""]
    lines += ["# Conditions", ""]
    for name, result in {name: result for name, result in latest.values()}.items():
        lines += [f"## {name}", ""]
        lines += [f"* {key}: {said}" for key, said in result["conditions"].items()] + [""]
    missing = [scenario.name for scenario in SCENARIOS if scenario.name not in latest]
    if missing:
        lines += ["# Not measured yet", "", ", ".join(missing) + ".", ""]
    return "\n".join(lines)


def anchor(name):
    return re.sub(r"[^a-z0-9_-]", "", name.lower().replace(" ", "-"))


def goals_part(measured, latest):
    """A line for each goal: what was to be, what is."""
    lines = ["## Goals", "", "| scenario | what | goal | measured | reached |",
             "| --- | --- | --: | --: | --- |"]
    for scenario in measured:
        runs = latest[scenario.name][1]["scenarios"][scenario.name]["runs"]
        titles = {metric.key: metric.title for metric in scenario.metrics}
        for goal in scenario.goals:
            found = reached(goal, runs)
            sign = "≤" if goal.better == "less" else "≥"
            unit = f" × {goal.of}" if goal.of else ""
            title = titles.get(goal.key, goal.key)
            title += "" if goal.server == "tidegate" else f" ({goal.server})"
            row = [scenario.name, title, f"{sign} {short(goal.limit)}{unit}"]
            if found is None:
                row += ["–", "not measured"]
            else:
                is_well = found <= goal.limit if goal.better == "less" else found >= goal.limit
                missing = not_served(scenario, runs[goal.server])
                row += [short(found) + unit, missing or ("yes" if is_well else "**no**")]
            lines.append("| " + " | ".join(row) + " |")
    return lines + [""]


def not_served(scenario, runs):
    """A number that was reached with fewer streams, or fewer events, is none; empty: all were there."""
    wrong = sum((value(run, "deliveries.lost") or 0) + (value(run, "deliveries.repeated") or 0)
                for run in runs)
    if "--again" not in scenario.load.split():
        wrong += sum(faults(run) for run in runs)
    return f"**no**: {wrong} streams or events were not served" if wrong else ""


def reached(goal, runs):
    """The median that a goal is about."""
    ours = runs.get(goal.server, [])
    if goal.of:
        pairs = zip(ours, runs.get(goal.of, []))
        values = [quotient(run, of, goal.key) for run, of in pairs]
    else:
        values = [value(run, goal.key) for run in ours]
    values = [each for each in values if each is not None]
    return statistics.median(values) if values else None


def chart(scenario, told):
    """Bars of the scenario's first metric, each with a line from its least to its most."""
    metric, bars = scenario.metrics[0], []
    for server, runs in told["runs"].items():
        values = [each for run in runs if (each := value(run, metric.key)) is not None]
        if values:
            bars.append((server, statistics.median(values), min(values), max(values)))
    most = max((bar[3] for bar in bars), default=0)
    if most <= 0:
        return None
    height, scale = 40 + len(bars) * (BAR + GAP), (WIDTH - LABEL - NUMBERS) / most
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{escape(scenario.name)}: {escape(metric.title)}</title>",
        "<style>text{fill:#222}path{stroke:#222}@media(prefers-color-scheme:dark)"
        "{text{fill:#ddd}path{stroke:#ddd}}</style>",
        f'<text x="{LABEL}" y="18" font-weight="600">{escape(metric.title)} '
        f'({metric.better} is better)</text>']
    for place, (server, middle, least, top) in enumerate(bars):
        y = 32 + place * (BAR + GAP)
        text, centre = y + BAR / 2 + 4.5, y + BAR / 2
        left, right = (LABEL + max(0, each) * scale for each in (least, top))
        parts += [
            f'<text x="{LABEL - 8}" y="{text}" text-anchor="end">{escape(server)}</text>',
            f'<rect x="{LABEL}" y="{y}" width="{max(1, middle * scale):.1f}" height="{BAR}" '
            f'rx="2" fill="{COLOURS.get(server, OTHERS)}"/>',
            f'<path d="M{left:.1f} {centre}H{right:.1f}M{left:.1f} {centre - 4}v8'
            f'M{right:.1f} {centre - 4}v8" fill="none"/>',
            f'<text x="{right + 8:.1f}" y="{text}">{short(middle)} '
            f'({short(least)}–{short(top)})</text>']
    return "\n".join(parts + ["</svg>", ""])


if __name__ == "__main__":
    main()
