"""Explanations beside classifications, in one run: ``python -m benchmarks.explanations``.

Starts the service as `gimefive serve` does, with one process per core, and loads it over HTTP with
the 64x64 crop of the portrait in examples/. Rounds alternate; medians are reported.
"""

import io
import json
import statistics
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import numpy as np
import torch
import typer
from captum.attr import LayerGradCam  # type: ignore[import-untyped]  # it has no types
from PIL import Image

from benchmarks.peers.network import STORE
from benchmarks.pictures import ROOT, crop
from benchmarks.systems import systems
from benchmarks.wrk import Request, closed_loop
from service.worker_pool import RECENT
from training.network import GiMeFive

RESULTS = ROOT / "benchmarks" / "results" / "explanations.json"
BATCH = 16
"""Frames in a bulk request."""


def measure(port: int, seconds: int, rounds: int) -> dict[str, object]:
    """All loads in alternating rounds; rates a second, latencies in milliseconds."""
    face = crop()
    classify = Request("/classify?faces=whole", face)
    explain = Request("/explain?faces=whole", face, headers=(("Accept", "application/json"),))
    drawn = Request("/explain?faces=whole&view=face", face)
    bulk = Request.form("/classify/frames?faces=whole", "files", [face] * BATCH)
    rates: dict[str, list[float]] = defaultdict(list)
    tails: dict[str, list[float]] = defaultdict(list)
    with ThreadPoolExecutor(2) as beside:
        for _ in range(rounds):
            for name, request in (
                ("classify", classify),
                ("explain, numbers", explain),
                ("explain, drawn", drawn),
            ):
                time.sleep(RECENT)  # until then, what can wait makes way for urgent work to come
                rates[name].append(closed_loop(port, request, 32, seconds).rate)
            tails["alone"].append(closed_loop(port, classify, 1, seconds).p99)
            others = [
                beside.submit(closed_loop, port, explain, 32, seconds + 2),
                beside.submit(closed_loop, port, bulk, 4, seconds + 2),
            ]
            time.sleep(1)
            full_tilt = f"beside 32 explaining and 4 bulk connections of {BATCH} frames"
            tails[full_tilt].append(closed_loop(port, classify, 1, seconds).p99)
            for other in others:
                other.result()
    medians = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    return {
        "per_second_at_32_connections": medians,
        "explain_over_classify": round(medians["explain, numbers"] / medians["classify"], 2),
        "interactive_p99_ms": {
            name: round(statistics.median(values), 1) for name, values in tails.items()
        },
    }


def library_loop(seconds: float) -> float:
    """Grad-CAM of one face after the other by captum on the eager network, a second.

    pytorch-grad-cam itself needs torchvision, which has no build for the pinned torch on CPUs.
    """
    artefact = torch.jit.load(STORE / "model.fp32.pt")  # type: ignore[no-untyped-call]  # torch leaves it untyped
    network = GiMeFive()
    network.load_state_dict(artefact.float().state_dict())
    explainer = LayerGradCam(network.eval(), network.conv5)
    with Image.open(io.BytesIO(crop())) as image:
        face = torch.from_numpy(np.array(image.convert("L")))[None]
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        target = int(network(face).argmax())
        explainer.attribute(face.float(), target=target, relu_attributions=True)
        done += 1
    return done / (time.perf_counter() - start)


def main(
    seconds: Annotated[int, typer.Option(help="of each load")] = 8,
    rounds: Annotated[int, typer.Option(help="how often all loads run")] = 3,
    port: Annotated[int, typer.Option(help="that the server listens on")] = 8120,
) -> None:
    """Measure and write benchmarks/results/explanations.json."""
    result: dict[str, object] = {}
    for precision in ("int8", "fp32"):
        with systems()["gimefive"].serving(precision, port):
            result[precision] = measure(port, seconds, rounds)
    result["captum_loop_per_second"] = round(library_loop(seconds), 1)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    typer.echo(RESULTS.read_text())


if __name__ == "__main__":
    typer.run(main)
