"""The gain of several front-end processes: ``python -m benchmarks.fronts``.

A real server with a stub model that answers at once classifies a 64x64 JPEG with faces=whole, so
only front-ends and supervisor cost time. A gain needs more cores than front-ends, because the
supervisor, the model process and wrk use some too. Medians over rounds are reported, with the CPU
time per request of each kind of process, which shows the bottleneck.
"""

import statistics
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.result_files import RESULTS, machine, save_and_print
from benchmarks.systems import with_stub_model
from benchmarks.wrk import closed_loop

RESULT = RESULTS / "fronts.json"
WARM_SECONDS = 1
"""Seconds of load before measuring."""


def fronts_of(pid: int) -> list[int]:
    """The front-end processes of a supervisor; with a single one, the process itself."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"service.front" in Path(f"/proc/{child}/cmdline").read_bytes()
    ] or [pid]


def measure(port: int, count: int, connections: int, seconds: int) -> dict[str, float]:
    """A closed loop against a server with `count` front-end processes.

    Raises:
        RuntimeError: not every request was answered.
    """
    system = with_stub_model()
    settings = {"workers": 1, "fronts": count, "queue_items": 4096}
    with system.serving("auto", port, **settings) as (processes, _):
        closed_loop(port, system.request, connections, WARM_SECONDS)
        fronts = fronts_of(processes.main)
        scopes = [processes.main], fronts
        before = [processes.cpu_seconds(pids) for pids in scopes]
        result = closed_loop(port, system.request, connections, seconds)
        after = [processes.cpu_seconds(pids) for pids in scopes]
    if result.refused or result.lost:
        raise RuntimeError(f"not every request was answered: {result}")
    supervisor_us, front_us = (
        (end - begin) / result.requests * 1e6 for begin, end in zip(before, after, strict=True)
    )
    return {
        "per_second": round(result.rate, 1),
        "p50_ms": round(result.p50, 2),
        "p99_ms": round(result.p99, 2),
        "front_us": round(front_us, 1),
        "supervisor_us": round(supervisor_us, 1) if fronts != [processes.main] else 0.0,
    }


def main(
    counts: Annotated[
        str, typer.Option("--fronts", help="numbers of front-end processes, comma-separated")
    ] = "1,2,4",
    connections: Annotated[int, typer.Option(help="concurrent connections")] = 128,
    seconds: Annotated[int, typer.Option(help="seconds per load")] = 5,
    rounds: Annotated[int, typer.Option(help="rounds over all numbers")] = 3,
    port: Annotated[int, typer.Option(help="port of the server")] = 8120,
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file to write")] = RESULT,
) -> None:
    """Measure, print and write."""
    numbers = [int(count) for count in counts.split(",")]
    measured: dict[int, list[dict[str, float]]] = {number: [] for number in numbers}
    for _ in range(rounds):
        for number in numbers:
            measured[number].append(measure(port, number, connections, seconds))
    result = {
        "machine": machine(),
        "run": {"connections": connections, "seconds": seconds, "rounds": rounds},
        "fronts": {
            number: {key: statistics.median(each[key] for each in found) for key in found[0]}
            for number, found in measured.items()
        },
    }
    save_and_print(result, output)


if __name__ == "__main__":
    typer.run(main)
