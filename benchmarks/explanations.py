"""Explanations beside classifications, in one run: ``python -m benchmarks.explanations``.

Starts the service as `gimefive serve` does, with one process per core, and loads it over HTTP with
the 64x64 crop of the portrait in examples/. Rounds alternate; medians are reported.
"""

import asyncio
import io
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import numpy as np
import torch
import typer
from captum.attr import LayerGradCam  # type: ignore[import-untyped]  # it has no types
from PIL import Image

from benchmarks.load import Call, closed_loop
from training.network import GiMeFive

ROOT = Path(__file__).parent.parent
JSON = (("Content-Type", "image/png"), ("Accept", "application/json"))


def crop() -> bytes:
    """The portrait's face, 64x64, as PNG."""
    out = io.BytesIO()
    with Image.open(ROOT / "examples" / "eileen-collins.jpg") as portrait:
        portrait.crop((176, 70, 276, 170)).resize((64, 64)).save(out, "PNG")
    return out.getvalue()


@contextmanager
def service() -> Iterator[int]:
    """A service in a process of its own; gives its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: S603  # our own command
    try:
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            try:
                httpx.get(f"http://127.0.0.1:{port}/readyz").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait()


async def measure(port: int, seconds: float, rounds: int) -> dict[str, object]:
    """All loads in alternating rounds; rates a second, latencies in milliseconds."""
    face = crop()
    classify = Call("/classify?faces=whole", face)
    explain = Call("/explain?faces=whole", face, JSON)
    drawn = Call("/explain?faces=whole&view=face", face)
    rates: dict[str, list[float]] = {"classify": [], "explain, numbers": [], "explain, drawn": []}
    alone: list[float] = []
    beside: list[float] = []
    for _ in range(rounds):
        for name, call in zip(rates, (classify, explain, drawn), strict=True):
            rates[name].append((await closed_loop(port, call, 32, seconds)).rate)
        alone.append((await closed_loop(port, classify, 1, seconds)).percentile(99))
        quick, _load = await asyncio.gather(
            closed_loop(port, classify, 1, seconds), closed_loop(port, explain, 32, seconds)
        )
        beside.append(quick.percentile(99))
    medians = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    return {
        "per_second_at_32_connections": medians,
        "explain_over_classify": round(medians["explain, numbers"] / medians["classify"], 2),
        "interactive_p99_ms": {
            "alone": round(statistics.median(alone), 1),
            "beside 32 explaining connections": round(statistics.median(beside), 1),
        },
    }


def library_loop(seconds: float) -> float:
    """Grad-CAM of one face after the other by captum on the eager network, a second.

    pytorch-grad-cam itself needs torchvision, which has no build for the pinned torch on CPUs.
    """
    artefact = torch.jit.load(ROOT / "model_store" / "gimefive" / "1" / "model.fp32.pt")  # type: ignore[no-untyped-call]  # torch leaves it untyped
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
    seconds: Annotated[float, typer.Option(help="of each load")] = 8,
    rounds: Annotated[int, typer.Option(help="how often all loads run")] = 3,
) -> None:
    """Measure and write benchmarks/results/explanations.json."""
    with service() as port:
        info = httpx.get(f"http://127.0.0.1:{port}/models/gimefive").json()["serving"]
        result = {"model": info, **asyncio.run(measure(port, seconds, rounds))}
    result["captum_loop_per_second"] = round(library_loop(seconds), 1)
    path = ROOT / "benchmarks" / "results" / "explanations.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    typer.echo(path.read_text())


if __name__ == "__main__":
    typer.run(main)
