"""This service and its peers in one run: ``python -m benchmarks.compare`` (`make bench`).

One system runs at a time, each once per round; medians over the rounds are reported. A system that
does not start, or answers incorrectly, is reported as failed. Results go to
benchmarks/results/serving.json and serving.png.
"""

import json
import os
import statistics
import subprocess
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from benchmarks import limit, overload
from benchmarks.chart import draw
from benchmarks.closed import measure
from benchmarks.processes import DidNotStartError
from benchmarks.result_files import RESULTS, machine, save
from benchmarks.systems import System, systems
from benchmarks.tables import show

CONNECTIONS = (1, 8, 32, 128)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
CORES = len(os.sched_getaffinity(0))
FAILURES = (DidNotStartError, ValueError, RuntimeError, OSError, subprocess.SubprocessError)
"""Failures of a peer, after which the benchmark continues."""


def schedule(names: list[str], precisions: list[str]) -> Iterator[tuple[System, str, list[int]]]:
    """System, precision and connections of each measurement in a round.

    This service always prepares its network, so it has no plain variant; peers have one load of it.
    """
    known = systems()
    for precision in precisions:
        for name in names:
            if precision != "plain":
                yield known[name], precision, list(CONNECTIONS)
            elif name != "gimefive":
                yield known[name], precision, [32]


def attempt(call: Any, *arguments: Any) -> Any:  # noqa: ANN401  # whatever is measured
    """The result of a measurement, or the reason for its failure."""
    try:
        return call(*arguments)
    except FAILURES as error:
        typer.echo(f"  failed: {error}", err=True)
        return {"failed": str(error)}


def median(values: list[Any]) -> Any:  # noqa: ANN401  # as nested as the measurements
    """The median of numbers, or of each entry of tables; a failure only if all have failed."""
    valid = [value for value in values if not (isinstance(value, dict) and "failed" in value)]
    if not valid or not isinstance(valid[0], dict):
        numbers = [value for value in valid if value is not None]
        return statistics.median(numbers) if numbers else values[0]
    return {key: median([value[key] for value in valid]) for key in valid[0]}


def main(
    names: Annotated[str, typer.Option("--systems", help="comma-separated; default: all")] = "",
    precisions: Annotated[str, typer.Option(help="comma-separated")] = "int8,fp32,plain",
    seconds: Annotated[int, typer.Option(help="seconds per load")] = 3,
    rounds: Annotated[int, typer.Option(help="rounds over all systems")] = 2,
    port: Annotated[int, typer.Option(help="this and the next two ports are used")] = 8120,
    patience: Annotated[float, typer.Option(help="longest start, in seconds")] = 120,
    extras: Annotated[
        bool, typer.Option(help="also overload, frames, photographs and scaling")
    ] = True,
) -> None:
    """Install missing systems, measure, and write JSON, figure and tables."""
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
        for system, kind, connections in schedule(chosen, kinds):
            typer.echo(f"round {number}: {system.name}, {kind}", err=True)
            result = attempt(measure, system, kind, port, connections, seconds, patience)
            measured[kind].setdefault(system.name, []).append(result)
    report: dict[str, Any] = {
        "machine": machine(),
        "run": {"seconds": seconds, "rounds": rounds},
        "limit": {kind: median(list(rates)) for kind, rates in limits.items()},
        "systems": {
            kind: {name: median(values) for name, values in found.items()}
            for kind, found in measured.items()
        },
    }
    if extras:
        report["extras"] = _extras(chosen, kinds[0], port, seconds, patience)
    save(report, RESULTS / "serving.json")
    stored = json.loads(json.dumps(report))  # keys of JSON objects are strings
    draw(stored, RESULTS / "serving.png")
    show(stored)


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


if __name__ == "__main__":
    typer.run(main)
