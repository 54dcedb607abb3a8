"""What several fronts gain: ``python -m benchmarks.fronts``.

A 64x64 JPEG is classified with faces=whole by a real server whose model answers at once, so that
fronts and supervisor are all that costs. It shows a gain only with more cores than fronts: the
supervisor, the model process and wrk want theirs. Rounds go through all numbers of fronts; medians
are reported, with the CPU time of each kind of process a request, which tells what would be the
limit.
"""

import json
import os
import platform
import statistics
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.compare import processor
from benchmarks.pictures import ROOT
from benchmarks.systems import hollow
from benchmarks.wrk import closed_loop

RESULT = ROOT / "benchmarks" / "results" / "fronts.json"
WARMING = 1
"""Seconds of load that are not counted."""


def fronts_of(pid: int) -> list[int]:
    """The front processes of a supervisor; with one front, the process itself."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"service.front" in Path(f"/proc/{child}/cmdline").read_bytes()
    ] or [pid]


def measure(port: int, count: int, connections: int, seconds: int) -> dict[str, float]:
    """A closed loop against so many fronts.

    Raises:
        RuntimeError: not every request was answered.
    """
    system = hollow()
    settings = {"workers": 1, "fronts": count, "queue_items": 4096}
    with system.serving("auto", port, **settings) as (processes, _):
        closed_loop(port, system.request, connections, WARMING)
        fronts = fronts_of(processes.main)
        scopes = [processes.main], fronts
        before = [processes.cpu_seconds(pids) for pids in scopes]
        seen = closed_loop(port, system.request, connections, seconds)
        after = [processes.cpu_seconds(pids) for pids in scopes]
    if seen.refused or seen.lost:
        raise RuntimeError(f"not every request was answered: {seen}")
    supervisor_us, front_us = (
        (end - begin) / seen.requests * 1e6 for begin, end in zip(before, after, strict=True)
    )
    return {
        "per_second": round(seen.rate, 1),
        "p50_ms": round(seen.p50, 2),
        "p99_ms": round(seen.p99, 2),
        "front_us": round(front_us, 1),
        "supervisor_us": round(supervisor_us, 1) if fronts != [processes.main] else 0.0,
    }


def main(
    counts: Annotated[str, typer.Option("--fronts", help="numbers, separated by commas")] = "1,2,4",
    connections: Annotated[int, typer.Option(help="that ask all the time")] = 128,
    seconds: Annotated[int, typer.Option(help="of each load")] = 5,
    rounds: Annotated[int, typer.Option(help="through all numbers of fronts")] = 3,
    port: Annotated[int, typer.Option(help="that the server listens on")] = 8120,
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file to write")] = RESULT,
) -> None:
    """Measure, print and write."""
    numbers = [int(count) for count in counts.split(",")]
    measured: dict[int, list[dict[str, float]]] = {number: [] for number in numbers}
    for _ in range(rounds):
        for number in numbers:
            measured[number].append(measure(port, number, connections, seconds))
    result = {
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "processor": processor(),
            "python": platform.python_version(),
        },
        "run": {"connections": connections, "seconds": seconds, "rounds": rounds},
        "fronts": {
            number: {key: statistics.median(each[key] for each in found) for key in found[0]}
            for number, found in measured.items()
        },
    }
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")
    typer.echo(output.read_text())


if __name__ == "__main__":
    typer.run(main)
