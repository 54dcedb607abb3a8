"""This service under overload, and requests that only it supports.

``python -m benchmarks.overload`` measures the effect of a deadline: the figures of ADR 4.
"""

from dataclasses import asdict, replace
from typing import Any

import typer

from benchmarks.arrivals import open_loop
from benchmarks.closed import load, memory_samples
from benchmarks.pictures import crop, photograph
from benchmarks.systems import System, systems
from benchmarks.wrk import Request, closed_loop

SHARES = (0.5, 0.8, 1.5, 3.0)
QUEUES = (16, 256, 1024, 4096)
FRAMES = 32
DEADLINES_MS = (10_000, 250)


def overload(
    system: System, precision: str, port: int, seconds: int, patience: float
) -> list[dict[str, Any]]:
    """Open loops at shares of the throughput of a closed loop with 32 connections."""
    with system.serving(precision, port, patience):
        return _shares(port, system.request, _capacity(port, system.request, seconds), seconds)


def variety(
    ours: System, precision: str, port: int, seconds: int, patience: float
) -> dict[str, Any]:
    """Batches of frames, and photographs in which faces must be detected."""
    requests = {
        f"{FRAMES} crops, /classify/frames": Request.form(
            "/classify/frames?faces=whole", "files", [crop()] * FRAMES
        ),
        "photograph 640x480, faces=detect": Request("/classify", photograph(640, 480)),
        "photograph 1920x1080, faces=detect": Request("/classify", photograph(1920, 1080)),
    }
    with ours.serving(precision, port, patience) as (processes, _):
        return {
            name: load(processes, port, request, 8, seconds) for name, request in requests.items()
        }


def memory_by_queue(
    ours: System, precision: str, port: int, seconds: int, patience: float
) -> dict[int, int]:
    """Peak memory in bytes by queue size, at three times the capacity."""
    peaks = {}
    for items in QUEUES:
        with ours.serving(precision, port, patience, queue_items=items, max_frames=QUEUES[0]) as (
            processes,
            _,
        ):
            rate = closed_loop(port, ours.request, 32, seconds).rate
            with memory_samples(processes) as memory:
                open_loop(port, ours.request, 3 * rate, seconds)
            peaks[items] = max(memory)
    return peaks


def _capacity(port: int, request: Request, seconds: int) -> float:
    """Throughput of a closed loop with 32 connections, after a warm-up."""
    closed_loop(port, request, 32, 2)
    return closed_loop(port, request, 32, seconds).rate


def _shares(port: int, request: Request, capacity: float, seconds: int) -> list[dict[str, Any]]:
    return [
        {"share": share, **asdict(open_loop(port, request, share * capacity, seconds))}
        for share in SHARES
    ]


def main(precision: str = "int8", seconds: int = 6, port: int = 8120) -> None:
    """Send crops at shares of the capacity, with a long and a short deadline."""
    ours = systems()["gimefive"]
    with ours.serving(precision, port):
        capacity = _capacity(port, ours.request, seconds)
        typer.echo(f"capacity: {capacity:.0f} per second in a closed loop with 32 connections")
        for deadline in DEADLINES_MS:
            request = replace(ours.request, headers=(("X-Deadline-Ms", str(deadline)),))
            for row in _shares(port, request, capacity, seconds):
                typer.echo(f"deadline {deadline} ms: {row}")


if __name__ == "__main__":
    typer.run(main)
