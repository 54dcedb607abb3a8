"""The tables of *Sizing* in docs/operations.md: ``python -m benchmarks.sizing``.

Rewrites them from the files in benchmarks/results; work without a result has no row.
"""

import re
from collections.abc import Iterator
from math import ceil

import typer

from benchmarks.pictures import ROOT
from benchmarks.result_files import load

DOCUMENT = ROOT / "docs" / "operations.md"
BUSY = 0.7
"""Share of its capacity that a replica is planned for; the rest is for peaks."""
LOAD = 100
"""Answers per second in the column of replicas."""


def rates() -> Iterator[tuple[str, float, str]]:
    """Kind of work, rate per second on the whole machine, and the command that measured it."""
    serving = load("serving.json")
    compare = "python -m benchmarks.compare"
    for precision, systems in serving["systems"].items():
        if "connections" in (ours := systems.get("gimefive", {})):
            yield f"face crops, {precision}", ours["connections"]["32"]["rate"], compare
    for name, loop in serving.get("extras", {}).get("variety", {}).items():
        if "rate" in loop:
            yield name, loop["rate"], compare
    explained = load("explanations.json").get("int8", {}).get("per_second_at_32_connections", {})
    for name, rate in explained.items():
        if name.startswith("explain"):
            yield name.replace("explain", "explanations"), rate, "python -m benchmarks.explanations"
    for name, loop in load("live.json").items():
        if name != "model":
            rate = loop["answers_per_second"]
            yield f"live frames 640x480, {name}", rate, "python -m benchmarks.live"
    if "whole" in (video := load("video.json").get("frames_per_second", {})):
        yield "frames of a 1280x720 video", video["whole"], "python -m benchmarks.video"


def table() -> str:
    """The Markdown table of rates, a row per kind of work."""
    cores = load("serving.json")["machine"]["cores"]
    replicas = f"{cores}-core replicas for {LOAD} per second"
    head = f"| work | per second, {cores} cores | per core | {replicas} | measured by |"
    rows = [head, "|---|---|---|---|---|"]
    for work, rate, command in rates():
        needed = ceil(LOAD / (rate * BUSY))
        rows.append(f"| {work} | {rate:.0f} | {rate / cores:.0f} | {needed} | `{command}` |")
    return "\n".join(rows) + "\n"


def memory() -> str:
    """The Markdown table of memory, a row per precision."""
    serving = load("serving.json")
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
            cells = [f"{part / 1e6:.0f}" for part in parts] + [""] * (len(names) - len(parts))
            rows.append(f"| {precision} | {' | '.join(cells)} | {ours['start_seconds']:.0f} |")
    return "\n".join(rows) + "\n"


def tables_of(document: str) -> list[str]:
    """The tables in the section *Sizing* of a document."""
    section = document.partition("\n## Sizing\n")[2].partition("\n## ")[0]
    return re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)


def main() -> None:
    """Replace both tables in the document."""
    document = DOCUMENT.read_text()
    for old, new in zip(tables_of(document), (table(), memory()), strict=True):
        document = document.replace(old, new)
    DOCUMENT.write_text(document)


if __name__ == "__main__":
    typer.run(main)
