"""What a request costs the front without the model: ``python -m benchmarks.edge``.

A 64x64 JPEG is classified with faces=whole by a real server whose model answers at once. What is
told is CPU time, which other work on the machine disturbs little: microseconds of the front
process, all threads, user and system, for each request.
"""

import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import httpx
import typer

from benchmarks.pictures import crop
from benchmarks.processes import answers, running
from benchmarks.wrk import Request, closed_loop

PATH = "/classify?faces=whole"


@contextmanager
def hollow(port: int, fronts: int = 1) -> Iterator[int]:
    """A server whose model answers at once; gives its process number."""
    command = [sys.executable, "-m", "benchmarks.hollow", "serve"]
    environment = {
        "GIMEFIVE_PORT": str(port),
        "GIMEFIVE_WORKERS": "1",
        "GIMEFIVE_FRONTS": str(fronts),
        "GIMEFIVE_QUEUE_ITEMS": "4096",
    }
    with TemporaryDirectory() as folder, httpx.Client(timeout=20) as client:
        is_ready = partial(answers, client, f"http://127.0.0.1:{port}/readyz")
        with running(command, environment, is_ready, Path(folder, "log"), 180) as (processes, _):
            yield processes.main


def cpu_seconds(pid: int) -> float:
    """CPU time that all threads of a process have had."""
    schedules = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(schedule.read_text().split()[0]) for schedule in schedules) / 1e9


def cost(port: int, pid: int, request: Request, connections: int, seconds: int) -> float:
    """Microseconds of CPU a request."""
    before = cpu_seconds(pid)
    seen = closed_loop(port, request, connections, seconds)
    if seen.refused or seen.lost:
        raise RuntimeError(f"not every request was answered: {seen}")
    return (cpu_seconds(pid) - before) / seen.requests * 1e6


def main(
    seconds: Annotated[int, typer.Option(help="of each load")] = 3,
    rounds: Annotated[int, typer.Option(help="how often all loads run")] = 3,
    port: Annotated[int, typer.Option(help="that the server listens on")] = 8120,
) -> None:
    """Measure and print."""
    face = crop()
    requests = {"raw body": Request(PATH, face), "form": Request.form(PATH, "file", [face])}
    loads = [(name, connections) for name in requests for connections in (1, 32)]
    costs: dict[tuple[str, int], list[float]] = {load: [] for load in loads}
    with hollow(port) as pid:
        for request in requests.values():
            cost(port, pid, request, 32, 1)
        for _ in range(rounds):
            for name, connections in loads:
                spent = cost(port, pid, requests[name], connections, seconds)
                costs[name, connections].append(spent)
    for (name, connections), values in costs.items():
        each = ", ".join(f"{value:.0f}" for value in values)
        typer.echo(
            f"{name}, {connections} connections: {statistics.median(values):.0f} us ({each})"
        )


if __name__ == "__main__":
    typer.run(main)
