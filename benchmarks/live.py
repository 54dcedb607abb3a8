"""Latency of camera frames: ``python -m benchmarks.live``.

Starts the service like `gimefive serve`. Each client sends 640x480 frames of the portrait in
examples/ to /live, each as soon as the previous one is answered, and measures the latency.
"""

import asyncio
import io
import json
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import typer
from PIL import Image
from websockets.asyncio.client import connect

from benchmarks.pictures import ROOT
from benchmarks.result_files import RESULTS, save_and_print
from benchmarks.systems import systems

RESULT = RESULTS / "live.json"
WARM_UP = 5
"""Answers per client before measuring."""


def frame() -> bytes:
    """A camera frame: 640x480 JPEG, with a face about 145 pixels high."""
    out = io.BytesIO()
    with Image.open(ROOT / "examples" / "eileen-collins.jpg") as portrait:
        portrait.resize((640, 640)).crop((0, 0, 640, 480)).save(out, "JPEG", quality=85)
    return out.getvalue()


async def client(url: str, picture: bytes, seconds: float) -> list[float]:
    """The seconds from sending each frame to its answer."""
    async with connect(url, compression=None) as socket:

        async def latency() -> float:
            sent = time.perf_counter()
            await socket.send(picture)
            answer = json.loads(await socket.recv())
            if len(answer.get("faces", ())) != 1:
                raise RuntimeError(f"the portrait's face was not answered: {answer}")
            return time.perf_counter() - sent

        for _ in range(WARM_UP):
            await latency()
        end = time.perf_counter() + seconds
        latencies = [await latency()]
        while time.perf_counter() < end:
            latencies.append(await latency())
        return latencies


async def measure(port: int, clients: int, query: str, seconds: float) -> dict[str, float]:
    """Latency of concurrent clients in milliseconds, and total answers per second."""
    url, picture = f"ws://127.0.0.1:{port}/live{query}", frame()
    each = await asyncio.gather(*(client(url, picture, seconds) for _ in range(clients)))
    latencies = np.concatenate(each) * 1000
    p50, p99 = np.percentile(latencies, (50, 99))
    return {
        "p50_ms": round(float(p50), 1),
        "p99_ms": round(float(p99), 1),
        "answers_per_second": round(len(latencies) / seconds, 1),
    }


def main(
    seconds: Annotated[float, typer.Option(help="seconds per load")] = 15,
    port: Annotated[int, typer.Option(help="port of the server")] = 8120,
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file to write")] = RESULT,
) -> None:
    """Measure one and eight clients, with and without maps."""
    with systems()["gimefive"].serving("auto", port):
        info = httpx.get(f"http://127.0.0.1:{port}/models/gimefive").json()["serving"]
        result: dict[str, Any] = {"model": info}
        for name, query in (("scores", ""), ("with maps", "?explain=gradcam")):
            for clients in (1, 8):
                load = measure(port, clients, query, seconds)
                result[f"{name}, {clients} at once"] = asyncio.run(load)
    save_and_print(result, output)


if __name__ == "__main__":
    typer.run(main)
