"""The table of docs/operations.md that says what a load needs: ``python -m benchmarks.sizing``.

Writes it anew from the files in benchmarks/results; what none of them tells has no row.
"""

import json
import re
from collections.abc import Iterator
from math import ceil
from typing import Any

import typer

from benchmarks.pictures import ROOT

RESULTS = ROOT / "benchmarks" / "results"
DOCUMENT = ROOT / "docs" / "operations.md"
BUSY = 0.7
"""Share of what it can do that a replica is planned for; the rest is for peaks."""
LOAD = 100
"""Answers a second that the last column is for."""


def read(name: str) -> dict[str, Any]:
    """A file of results; nothing if there is none."""
    path = RESULTS / name
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def rates() -> Iterator[tuple[str, float, str]]:
    """What is answered, how often a second on the whole machine, and by which command."""
    serving = read("serving.json")
    compare = "python -m benchmarks.compare"
    for precision, systems in serving["systems"].items():
        if "connections" in (ours := systems.get("gimefive", {})):
            yield f"face crops, {precision}", ours["connections"]["32"]["rate"], compare
    for name, loop in serving.get("extras", {}).get("variety", {}).items():
        if "rate" in loop:
            yield name, loop["rate"], compare
    explained = read("explanations.json").get("int8", {}).get("per_second_at_32_connections", {})
    for name, rate in explained.items():
        if name.startswith("explain"):
            yield name.replace("explain", "explanations"), rate, "python -m benchmarks.explanations"
    for name, loop in read("live.json").items():
        if name != "model":
            rate = loop["answers_per_second"]
            yield f"live frames 640x480, {name}", rate, "python -m benchmarks.live"
    if "whole" in (video := read("video.json").get("frames_per_second", {})):
        yield "frames of a 1280x720 video", video["whole"], "python -m benchmarks.video"


def table() -> str:
    """Markdown, a row for each kind of work."""
    cores = read("serving.json")["machine"]["cores"]
    replicas = f"{cores}-core replicas for {LOAD} per second"
    head = f"| work | per second, {cores} cores | per core | {replicas} | measured by |"
    rows = [head, "|---|---|---|---|---|"]
    for what, rate, command in rates():
        needed = ceil(LOAD / (rate * BUSY))
        rows.append(f"| {what} | {rate:.0f} | {rate / cores:.0f} | {needed} | `{command}` |")
    return "\n".join(rows) + "\n"


def memory() -> str:
    """Markdown, a row for each precision."""
    serving = read("serving.json")
    names = ("total, idle", "total, peak", "front-end process", "one model process")
    rows = [
        "| memory, MB | " + " | ".join(names) + " | ready after, s |",
        "|---|---|---|---|---|---|",
    ]
    for precision, systems in serving["systems"].items():
        if "connections" in (ours := systems.get("gimefive", {})):
            most = max(loop["peak_bytes"] for loop in ours["connections"].values())
            parts = [ours["idle_bytes"], most]
            if front := ours.get("main_process_bytes"):
                parts += [front, (ours["idle_bytes"] - front) / serving["machine"]["cores"]]
            told = [f"{part / 1e6:.0f}" for part in parts] + [""] * (len(names) - len(parts))
            rows.append(f"| {precision} | {' | '.join(told)} | {ours['start_seconds']:.0f} |")
    return "\n".join(rows) + "\n"


def tables_of(document: str) -> list[str]:
    """Both tables as a document has them, in its section Sizing."""
    section = document.partition("\n## Sizing\n")[2].partition("\n## ")[0]
    return re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)


def main() -> None:
    """Put both into the document."""
    document = DOCUMENT.read_text()
    for old, new in zip(tables_of(document), (table(), memory()), strict=True):
        document = document.replace(old, new)
    DOCUMENT.write_text(document)


if __name__ == "__main__":
    typer.run(main)
