"""What a request costs the front without the model: ``python -m benchmarks.edge``.

A 64x64 JPEG is classified with faces=whole by a real server whose model answers at once. What is
told is CPU time, which other work on the machine disturbs little: microseconds of the front
process, all threads, user and system, for each request.
"""

import statistics
from typing import Annotated

import typer

from benchmarks.pictures import crop
from benchmarks.processes import Processes
from benchmarks.systems import hollow
from benchmarks.wrk import Request, closed_loop


def cost(
    port: int, processes: Processes, request: Request, connections: int, seconds: int
) -> float:
    """Microseconds of the front's CPU a request."""
    before = processes.cpu_seconds([processes.main])
    seen = closed_loop(port, request, connections, seconds)
    if seen.refused or seen.lost:
        raise RuntimeError(f"not every request was answered: {seen}")
    return (processes.cpu_seconds([processes.main]) - before) / seen.requests * 1e6


def main(
    seconds: Annotated[int, typer.Option(help="of each load")] = 3,
    rounds: Annotated[int, typer.Option(help="how often all loads run")] = 3,
    port: Annotated[int, typer.Option(help="that the server listens on")] = 8120,
) -> None:
    """Measure and print."""
    system = hollow()
    form = Request.form(system.request.path, "file", [crop()])
    requests = {"raw body": system.request, "form": form}
    loads = [(name, connections) for name in requests for connections in (1, 32)]
    costs: dict[tuple[str, int], list[float]] = {load: [] for load in loads}
    with system.serving("auto", port, workers=1, queue_items=4096) as (processes, _):
        for request in requests.values():
            cost(port, processes, request, 32, 1)
        for _ in range(rounds):
            for name, connections in loads:
                spent = cost(port, processes, requests[name], connections, seconds)
                costs[name, connections].append(spent)
    for (name, connections), values in costs.items():
        each = ", ".join(f"{value:.0f}" for value in values)
        typer.echo(
            f"{name}, {connections} connections: {statistics.median(values):.0f} us ({each})"
        )


if __name__ == "__main__":
    typer.run(main)
