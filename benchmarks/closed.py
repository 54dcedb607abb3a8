"""One measurement of a system: start it, apply closed-loop load, stop it."""

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
"""The emotion of the crop; a system with another answer is not measured."""


def measure(
    system: System,
    precision: str,
    port: int,
    connections: Sequence[int],
    seconds: int,
    patience: float,
) -> dict[str, Any]:
    """All measurements of a system in one round.

    Raises:
        DidNotStartError: it did not start.
        ValueError: its answer is wrong.
    """
    with system.serving(precision, port, patience) as (processes, started):
        answer = system.emotion(port)
        if answer != EMOTION:
            raise ValueError(f"the crop shows {EMOTION}, not {answer}")
        idle, front = processes.memory(), processes.memory([processes.main])
        closed_loop(port, system.request, max(connections), WARM_SECONDS)
        loops = {}
        for count in connections:
            processes.settle()  # the previous load must not affect this one
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
    """One closed loop: throughput, latency, CPU time and memory."""
    batches_before = _batches(port)
    scopes = None, [processes.main]
    start = [processes.cpu_seconds(pids) for pids in scopes]
    with memory_samples(processes) as memory:
        result = closed_loop(port, request, connections, seconds)
    cpu, main = (
        processes.cpu_seconds(pids) - before for pids, before in zip(scopes, start, strict=True)
    )
    good = result.requests - result.refused
    faces, batches = (now - then for now, then in zip(_batches(port), batches_before, strict=True))
    return {
        **asdict(result),
        "rate": result.rate,
        "cpu_seconds_per_1000": cpu / good * 1000 if good else None,
        "main_process_cpu_seconds_per_1000": main / good * 1000 if good else None,
        "peak_bytes": max(memory),
        "mean_batch": faces / batches if batches else None,
    }


@contextmanager
def memory_samples(processes: Processes) -> Iterator[list[int]]:
    """The memory of the processes in bytes, sampled twice a second."""
    samples = [processes.memory()]
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(0.5):
            samples.append(processes.memory())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def _batches(port: int) -> tuple[float, float]:
    """Faces and batches so far, from this service's metrics; zeros for other systems."""
    try:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    except httpx.HTTPError:
        return 0.0, 0.0
    return batches(text)


def batches(text: str) -> tuple[float, float]:
    """Faces and batches of single images in the text of ``/metrics``; zeros if it has none."""
    name = r'gimefive_batch_size_{}\{{.*lane="interactive".*\}} (\S+)'
    found = [re.search(name.format(kind), text) for kind in ("sum", "count")]
    faces, batches = (float(each[1]) if each else 0.0 for each in found)
    return faces, batches
