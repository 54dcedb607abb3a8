"""How long a camera waits: ``python -m benchmarks.live``.

Starts the service as `gimefive serve` does. Each client sends 640x480 frames of the portrait in
examples/ to /live, the next one as soon as it has its answer, and notes the time between.
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
from benchmarks.systems import systems

RESULT = ROOT / "benchmarks" / "results" / "live.json"
WARMING = 5
"""Answers of each client that are not counted."""


def frame() -> bytes:
    """What a camera would send: 640x480 as JPEG, the face about 145 pixels high."""
    out = io.BytesIO()
    with Image.open(ROOT / "examples" / "eileen-collins.jpg") as portrait:
        portrait.resize((640, 640)).crop((0, 0, 640, 480)).save(out, "JPEG", quality=85)
    return out.getvalue()


async def client(url: str, picture: bytes, seconds: float) -> list[float]:
    """The seconds from each frame sent to its answer."""
    async with connect(url, compression=None) as socket:

        async def wait() -> float:
            sent = time.perf_counter()
            await socket.send(picture)
            answer = json.loads(await socket.recv())
            if len(answer.get("faces", ())) != 1:
                raise RuntimeError(f"the portrait's face was not answered: {answer}")
            return time.perf_counter() - sent

        for _ in range(WARMING):
            await wait()
        end = time.perf_counter() + seconds
        waits = [await wait()]
        while time.perf_counter() < end:
            waits.append(await wait())
        return waits


async def measure(port: int, clients: int, query: str, seconds: float) -> dict[str, float]:
    """What so many clients at once see, in milliseconds, and answers a second in all."""
    url, picture = f"ws://127.0.0.1:{port}/live{query}", frame()
    each = await asyncio.gather(*(client(url, picture, seconds) for _ in range(clients)))
    waits = np.concatenate(each) * 1000
    p50, p99 = np.percentile(waits, (50, 99))
    return {
        "p50_ms": round(float(p50), 1),
        "p99_ms": round(float(p99), 1),
        "answers_per_second": round(len(waits) / seconds, 1),
    }


def main(
    seconds: Annotated[float, typer.Option(help="of each load")] = 15,
    port: Annotated[int, typer.Option(help="that the server listens on")] = 8120,
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file to write")] = RESULT,
) -> None:
    """Measure one client and eight, with maps and without."""
    with systems()["gimefive"].serving("auto", port):
        info = httpx.get(f"http://127.0.0.1:{port}/models/gimefive").json()["serving"]
        result: dict[str, Any] = {"model": info}
        for name, query in (("scores", ""), ("with maps", "?explain=gradcam")):
            for clients in (1, 8):
                load = measure(port, clients, query, seconds)
                result[f"{name}, {clients} at once"] = asyncio.run(load)
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")
    typer.echo(output.read_text())


if __name__ == "__main__":
    typer.run(main)
