"""Our service and its peers in one run: ``python -m benchmarks.compare`` (`make bench`).

One system runs at a time; rounds go through all of them and begin anew; medians are reported. A
system that does not start, or that answers wrongly, is reported as such. Results go to
benchmarks/results/serving.json and serving.png.
"""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import limit, overload
from benchmarks.chart import draw
from benchmarks.closed import visit
from benchmarks.pictures import ROOT
from benchmarks.processes import DidNotStartError
from benchmarks.systems import System, systems
from benchmarks.tables import show

RESULTS = ROOT / "benchmarks" / "results"
CONNECTIONS = (1, 8, 32, 128)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
CORES = len(os.sched_getaffinity(0))
FAILURES = (DidNotStartError, ValueError, RuntimeError, OSError, subprocess.SubprocessError)
"""What a peer may do to its benchmark, which goes on."""


def visits(names: list[str], precisions: list[str]) -> Iterator[tuple[System, str, list[int]]]:
    """Who is asked how in a round: ours is prepared like fp32 always, and plain is one load."""
    known = systems()
    for precision in precisions:
        for name in names:
            if precision != "plain":
                yield known[name], precision, list(CONNECTIONS)
            elif name != "gimefive":
                yield known[name], precision, [32]


def attempt(call: Any, *arguments: Any) -> Any:  # noqa: ANN401  # whatever is measured
    """What a measurement gives, or why there is nothing."""
    try:
        return call(*arguments)
    except FAILURES as error:
        typer.echo(f"  failed: {error}", err=True)
        return {"failed": str(error)}


def median(values: list[Any]) -> Any:  # noqa: ANN401  # as nested as the measurements
    """The median of numbers; of tables, that of each entry; failures only if there is no more."""
    sound = [value for value in values if not (isinstance(value, dict) and "failed" in value)]
    if not sound or not isinstance(sound[0], dict):
        numbers = [value for value in sound if value is not None]
        return statistics.median(numbers) if numbers else values[0]
    return {key: median([value[key] for value in sound]) for key in sound[0]}


def main(
    names: Annotated[str, typer.Option("--systems", help="separated by commas")] = "",
    precisions: Annotated[str, typer.Option(help="int8, fp32, plain")] = "int8,fp32,plain",
    seconds: Annotated[int, typer.Option(help="of each load")] = 3,
    rounds: Annotated[int, typer.Option(help="through all systems")] = 2,
    port: Annotated[int, typer.Option(help="and the two above it")] = 8120,
    patience: Annotated[float, typer.Option(help="seconds that a start may take")] = 120,
    extras: Annotated[bool, typer.Option(help="overload, frames, photographs, growth")] = True,
) -> None:
    """Install what is missing, measure, and write table, picture and JSON."""
    chosen = [name for name in names.split(",") if name] or list(systems())
    kinds = precisions.split(",")
    measured: dict[str, dict[str, list[Any]]] = {kind: {} for kind in kinds}
    limits: dict[str, list[dict[int, float]]] = {kind: [] for kind in kinds}
    for name in chosen:
        typer.echo(f"installing {name}", err=True)
        attempt(systems()[name].install)
    for number in range(1, rounds + 1):
        for kind, rates in limits.items():
            rates.append(limit.images_per_second(kind, BATCHES, CORES, seconds / 2))
        for system, kind, connections in visits(chosen, kinds):
            typer.echo(f"round {number}: {system.name}, {kind}", err=True)
            result = attempt(visit, system, kind, port, connections, seconds, patience)
            measured[kind].setdefault(system.name, []).append(result)
    report: dict[str, Any] = {
        "machine": {"cores": CORES, "processor": processor(), "python": platform.python_version()},
        "run": {"seconds": seconds, "rounds": rounds},
        "limit": {kind: median(list(rates)) for kind, rates in limits.items()},
        "systems": {
            kind: {name: median(values) for name, values in found.items()}
            for kind, found in measured.items()
        },
    }
    if extras:
        report["extras"] = _extras(chosen, kinds[0], port, seconds, patience)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "serving.json").write_text(json.dumps(report, indent=1) + "\n")
    draw(json.loads(json.dumps(report)), RESULTS / "serving.png")
    show(json.loads(json.dumps(report)))


def _extras(
    chosen: list[str], kind: str, port: int, seconds: int, patience: float
) -> dict[str, Any]:
    arguments = (kind, port, seconds, patience)
    loaded = [name for name in ("gimefive", "mosec") if name in chosen]
    found: dict[str, Any] = {
        "overload": {
            name: attempt(overload.overload, systems()[name], *arguments) for name in loaded
        },
        "processes": {
            count: limit.images_per_second(kind, [32], count, seconds)[32]
            for count in range(1, CORES + 1)
        },
    }
    if "gimefive" in chosen:
        ours = systems()["gimefive"]
        found["variety"] = attempt(overload.variety, ours, *arguments)
        found["memory_by_queue"] = attempt(overload.memory_by_queue, ours, *arguments)
    return found


def processor() -> str:
    """The name of this machine's processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    typer.run(main)
