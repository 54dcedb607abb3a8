"""The service on a GPU: ``python -m benchmarks.cuda``.

First the model alone, by batch size: as served, the same file in plain torch, and explanations.
Then the service over HTTP, by number of front-end processes. Medians over rounds are reported.
"""

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

from benchmarks.peers.network import STORE
from benchmarks.result_files import RESULTS, machine, save_and_print
from benchmarks.systems import systems
from benchmarks.wrk import closed_loop
from service.explanation import Question
from service.model import Model, choose_device
from service.settings import Settings
from service.store import ModelStore

RESULT = RESULTS / "cuda.json"
PRECISIONS = ("fp16", "fp32")
BATCHES = (1, 8, 32, 128, 256)
CONNECTIONS = (1, 32, 128)
WARM_SECONDS = 2
"""Seconds of load before measuring."""

Faces = NDArray[np.uint8]
Call = Callable[[Faces], object]


def variants(precision: str) -> dict[str, Call]:
    """The calls to time: scores as served, the file in plain torch, explanations."""
    stored = ModelStore(Settings().model_store).gimefive()
    model = Model(stored, choose_device(stored.card, "cuda", precision))
    network = torch.jit.load(STORE / "model.fp32.pt").eval().cuda()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    network = network.half() if precision == "fp16" else network.float()

    @torch.inference_mode()
    def plain(faces: Faces) -> object:
        return network(torch.from_numpy(faces).cuda()).float().softmax(1).cpu()

    return {
        "served": model.scores,
        "plain": plain,
        "explained": lambda faces: model.explain(faces, [Question()] * len(faces)),
    }


def per_second(call: Call, batch: int, seconds: float) -> float:
    """Faces per second in batches of `batch`, after a warm-up."""
    faces = np.random.default_rng(0).integers(0, 256, (batch, 64, 64), dtype=np.uint8)
    for _ in range(3):
        call(faces)
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        call(faces)
        done += batch
    return done / spent


def alone(seconds: float, rounds: int) -> dict[str, dict[str, dict[int, float]]]:
    """Faces per second by precision, variant and batch size, in one process without HTTP."""

    def rate(call: Call, batch: int) -> float:
        return round(statistics.median(per_second(call, batch, seconds) for _ in range(rounds)), 1)

    return {
        precision: {
            name: {batch: rate(call, batch) for batch in BATCHES}
            for name, call in variants(precision).items()
        }
        for precision in PRECISIONS
    }


def served(fronts: int, port: int, seconds: int) -> dict[int, dict[str, float]]:
    """Throughput and latency by number of connections, with 64x64 crops."""
    ours = systems()["gimefive"]
    queue_items = Settings().max_frames * max(4, fronts)
    with ours.serving("fp16", port, 120, device="cuda", fronts=fronts, queue_items=queue_items):
        load = partial(closed_loop, port, ours.request)
        load(max(CONNECTIONS), WARM_SECONDS)
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
    counts: Annotated[
        str, typer.Option("--fronts", help="numbers of front-end processes, comma-separated")
    ] = "1,4,8",
    seconds: Annotated[int, typer.Option(help="seconds per load")] = 3,
    rounds: Annotated[int, typer.Option(help="rounds of the model alone")] = 3,
    port: Annotated[int, typer.Option(help="this and the next two ports are used")] = 8120,
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file to write")] = RESULT,
) -> None:
    """Measure, print and write."""
    result = {
        "machine": {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__} | machine(),
        "run": {"seconds": seconds, "rounds": rounds, "version": STORE.name},
        "faces_per_second": alone(seconds / 10, rounds),
        "fronts": {int(each): served(int(each), port, seconds) for each in counts.split(",")},
    }
    save_and_print(result, output)


if __name__ == "__main__":
    typer.run(main)
