"""One visit to a system: started, asked in closed loops, ended."""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import httpx

from benchmarks.processes import Processes
from benchmarks.systems import System
from benchmarks.wrk import Request, closed_loop

WARM_SECONDS = 2
EMOTION = "happiness"
"""What the crop shows: a system that says something else is not measured."""


def visit(
    system: System,
    precision: str,
    port: int,
    connections: Sequence[int],
    seconds: int,
    patience: float,
) -> dict[str, Any]:
    """Everything that is measured of a system in one round.

    Raises:
        DidNotStartError: it did not come up.
        ValueError: it answers something else than the artefact says.
    """
    with system.serving(precision, port, patience) as (processes, started):
        said = system.emotion(port)
        if said != EMOTION:
            raise ValueError(f"the crop shows {EMOTION}, not {said}")
        idle, front = processes.memory(), processes.memory([processes.main])
        closed_loop(port, system.request, max(connections), WARM_SECONDS)
        loops = {}
        for count in connections:
            processes.settle()  # what a load leaves behind is no part of the next
            loops[count] = load(processes, port, system.request, count, seconds)
        return {
            "start_seconds": started,
            "idle_bytes": idle,
            "main_process_bytes": front,
            "connections": loops,
        }


def load(
    processes: Processes, port: int, request: Request, connections: int, seconds: int
) -> dict[str, Any]:
    """One closed loop, and what it cost."""
    before = _batches(port)
    scopes = None, [processes.main]
    start = [processes.cpu_seconds(pids) for pids in scopes]
    with peak(processes) as held:
        seen = closed_loop(port, request, connections, seconds)
    cpu, main = (processes.cpu_seconds(pids) - had for pids, had in zip(scopes, start, strict=True))
    good = seen.requests - seen.refused
    faces, batches = (now - then for now, then in zip(_batches(port), before, strict=True))
    return {
        **asdict(seen),
        "rate": seen.rate,
        "cpu_seconds_per_1000": cpu / good * 1000 if good else None,
        "main_process_cpu_seconds_per_1000": main / good * 1000 if good else None,
        "peak_bytes": max(held),
        "mean_batch": faces / batches if batches else None,
    }


@contextmanager
def peak(processes: Processes) -> Iterator[list[int]]:
    """Memory, looked at twice a second."""
    seen = [processes.memory()]
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.5):
            seen.append(processes.memory())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def _batches(port: int) -> tuple[float, float]:
    """Faces and batches that our service has counted; none elsewhere."""
    try:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    except httpx.HTTPError:
        return 0.0, 0.0
    return batches(text)


def batches(text: str) -> tuple[float, float]:
    """Faces and batches of single pictures in the text of ``/metrics``; none if it has no such."""
    name = r'gimefive_batch_size_{}\{{.*lane="interactive".*\}} (\S+)'
    found = [re.search(name.format(kind), text) for kind in ("sum", "count")]
    faces, batches = (float(each[1]) if each else 0.0 for each in found)
    return faces, batches
