"""The service on a GPU: ``python -m benchmarks.cuda``, where torch finds one.

The model alone, batch by batch, beside the same artefact called plainly, and its explanations; then
the service over HTTP, with fronts in several numbers. Medians are reported where there are rounds.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from benchmarks.compare import processor
from benchmarks.peers.network import STORE
from benchmarks.pictures import ROOT
from benchmarks.systems import systems
from benchmarks.wrk import closed_loop
from service.explanation import Question
from service.model import Model, choose_device
from service.settings import Settings
from service.store import ModelStore

RESULT = ROOT / "benchmarks" / "results" / "cuda.json"
PRECISIONS = ("fp16", "fp32")
BATCHES = (1, 8, 32, 128, 256)
CONNECTIONS = (1, 32, 128)
WARMING = 2
"""Seconds of load that are not counted."""

Faces = NDArray[np.uint8]
Call = Callable[[Faces], object]


def ways(precision: str) -> dict[str, Call]:
    """What is timed: scores as they are served, the artefact called plainly, explanations."""
    stored = ModelStore(Settings().model_store).gimefive()
    model = Model(stored, choose_device(stored.card, "cuda", precision))
    network = torch.jit.load(STORE / "model.fp32.pt").eval().cuda()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    network = network.half() if precision == "fp16" else network.float()

    @torch.inference_mode()
    def plainly(faces: Faces) -> object:
        return network(torch.from_numpy(faces).cuda()).float().softmax(1).cpu()

    return {
        "served": model.scores,
        "plain": plainly,
        "explained": lambda faces: model.explain(faces, [Question()] * len(faces)),
    }


def per_second(call: Call, batch: int, seconds: float) -> float:
    """Faces a second in batches of `batch`, once torch has got used to them."""
    faces = np.random.default_rng(0).integers(0, 256, (batch, 64, 64), dtype=np.uint8)
    for _ in range(3):
        call(faces)
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        call(faces)
        done += batch
    return done / spent


def alone(seconds: float, rounds: int) -> dict[str, dict[str, dict[int, float]]]:
    """Faces a second by precision, way and batch, in one process and without HTTP."""

    def rate(call: Call, batch: int) -> float:
        return round(statistics.median(per_second(call, batch, seconds) for _ in range(rounds)), 1)

    return {
        precision: {
            name: {batch: rate(call, batch) for batch in BATCHES}
            for name, call in ways(precision).items()
        }
        for precision in PRECISIONS
    }


def served(fronts: int, port: int, seconds: int) -> dict[int, dict[str, float]]:
    """Requests a second and their times, by connections, each with a 64x64 crop."""
    ours = systems()["gimefive"]
    waiting = Settings().max_frames * max(4, fronts)
    with ours.serving("fp16", port, 120, device="cuda", fronts=fronts, queue_items=waiting):
        load = partial(closed_loop, port, ours.request)
        load(max(CONNECTIONS), WARMING)
        seen = {count: load(count, seconds) for count in CONNECTIONS}
    return {
        count: {
            "per_second": round(each.rate, 1),
            "p50_ms": each.p50,
            "p99_ms": each.p99,
            "failed": each.refused + each.lost,
        }
        for count, each in seen.items()
    }


def main(
    counts: Annotated[str, typer.Option("--fronts", help="numbers, separated by commas")] = "1,4,8",
    seconds: Annotated[int, typer.Option(help="of each load")] = 3,
    rounds: Annotated[int, typer.Option(help="of the model alone")] = 3,
    port: Annotated[int, typer.Option(help="and the two above it")] = 8120,
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file to write")] = RESULT,
) -> None:
    """Measure, print and write."""
    result = {
        "machine": {
            "gpu": torch.cuda.get_device_name(),
            "cores": len(os.sched_getaffinity(0)),
            "processor": processor(),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "run": {"seconds": seconds, "rounds": rounds, "version": STORE.name},
        "faces_per_second": alone(seconds / 10, rounds),
        "fronts": {int(each): served(int(each), port, seconds) for each in counts.split(",")},
    }
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")
    typer.echo(output.read_text())


if __name__ == "__main__":
    typer.run(main)
