"""Explanations compared with classifications, in one run: ``python -m benchmarks.explanations``.

Starts the service like `gimefive serve`, with one model process per core, and sends it 64x64 crops
of the portrait in examples/ over HTTP. Loads alternate; medians over the rounds are reported.
"""

import io
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
from benchmarks.pictures import crop
from benchmarks.result_files import RESULTS, save_and_print
from benchmarks.systems import systems
from benchmarks.wrk import Request, closed_loop
from service.worker_pool import RECENT
from training.network import GiMeFive

RESULT = RESULTS / "explanations.json"
BATCH = 16
"""Frames per bulk request."""


def measure(port: int, seconds: int, rounds: int) -> dict[str, object]:
    """All loads in alternating rounds: rates per second, latencies in milliseconds."""
    face = crop()
    classify = Request("/classify?faces=whole", face)
    explain = Request("/explain?faces=whole", face, headers=(("Accept", "application/json"),))
    drawn = Request("/explain?faces=whole&view=face", face)
    bulk = Request.form("/classify/frames?faces=whole", "files", [face] * BATCH)
    rates: dict[str, list[float]] = defaultdict(list)
    tails: dict[str, list[float]] = defaultdict(list)
    with ThreadPoolExecutor(2) as background:
        for _ in range(rounds):
            for name, request in (
                ("classify", classify),
                ("explain, numbers", explain),
                ("explain, drawn", drawn),
            ):
                time.sleep(RECENT)  # until then, capacity is kept free for urgent requests
                rates[name].append(closed_loop(port, request, 32, seconds).rate)
            tails["alone"].append(closed_loop(port, classify, 1, seconds).p99)
            others = [
                background.submit(closed_loop, port, explain, 32, seconds + 2),
                background.submit(closed_loop, port, bulk, 4, seconds + 2),
            ]
            time.sleep(1)  # until the other connections are busy
            loaded = f"beside 32 explaining and 4 bulk connections of {BATCH} frames"
            tails[loaded].append(closed_loop(port, classify, 1, seconds).p99)
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
    """Faces per second of captum's Grad-CAM on the eager network, one face at a time.

    pytorch-grad-cam needs torchvision, which has no build for the pinned torch on CPUs.
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
    seconds: Annotated[int, typer.Option(help="seconds per load")] = 8,
    rounds: Annotated[int, typer.Option(help="rounds over all loads")] = 3,
    port: Annotated[int, typer.Option(help="port of the server")] = 8120,
) -> None:
    """Measure and write benchmarks/results/explanations.json."""
    result: dict[str, object] = {}
    for precision in ("int8", "fp32"):
        with systems()["gimefive"].serving(precision, port):
            result[precision] = measure(port, seconds, rounds)
    result["captum_loop_per_second"] = round(library_loop(seconds), 1)
    save_and_print(result, RESULT)


if __name__ == "__main__":
    typer.run(main)
