"""The front-end's CPU time per request, without the model: ``python -m benchmarks.edge``.

A real server with a stub model that answers at once classifies a 64x64 JPEG with faces=whole. The
result is the CPU time per request of the front-end process, over all threads, user and system, in
microseconds. Other load on the machine affects it little.
"""

import statistics
from typing import Annotated

import typer

from benchmarks.pictures import crop
from benchmarks.processes import Processes
from benchmarks.systems import with_stub_model
from benchmarks.wrk import Request, closed_loop


def cost(
    port: int, processes: Processes, request: Request, connections: int, seconds: int
) -> float:
    """CPU time of the front-end per request, in microseconds."""
    before = processes.cpu_seconds([processes.main])
    result = closed_loop(port, request, connections, seconds)
    if result.refused or result.lost:
        raise RuntimeError(f"not every request was answered: {result}")
    return (processes.cpu_seconds([processes.main]) - before) / result.requests * 1e6


def main(
    seconds: Annotated[int, typer.Option(help="seconds per load")] = 3,
    rounds: Annotated[int, typer.Option(help="rounds over all loads")] = 3,
    port: Annotated[int, typer.Option(help="port of the server")] = 8120,
) -> None:
    """Measure and print."""
    system = with_stub_model()
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
