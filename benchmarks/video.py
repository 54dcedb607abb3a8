"""Video classification, its stages alone, and its memory: ``python -m benchmarks.video``.

Everything runs in one process and its model processes, on generated videos of the portrait in
examples/. Rounds alternate between the stages; medians are reported. The goal: the whole pipeline
comes within 15% of its slowest stage, and memory is the same for ten seconds and for an hour.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import av
import numpy as np
import typer
from av.video.frame import VideoFrame

from benchmarks.pictures import wandering
from benchmarks.result_files import RESULTS, save_and_print
from service.detection import configure_opencv
from service.engine import Engine
from service.faces import FaceDetector, crop
from service.records import FrameResult, Picture
from service.settings import Settings
from service.store import ModelStore
from service.video import Sampling, Video

RESULT = RESULTS / "video.json"
FPS, SIZE, SIDE = 25, (1280, 720), 600
SMALL, SMALL_SIDE = (640, 360), 300
"""For the memory videos, of which an hour is decoded in a few minutes."""
DETECTED = 100
"""Images for measuring detection alone."""


def clip(seconds: int, size: tuple[int, int] = SIZE, side: int = SIDE) -> bytes:
    """A video in which the portrait moves across the image."""
    options = {"preset": "ultrafast", "crf": "16"}
    with tempfile.NamedTemporaryFile() as file:
        with av.open(file.name, "w", format="mp4") as out:
            stream = out.add_stream("libx264", rate=FPS, options=options)
            (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
            for picture in wandering(seconds * FPS, size, side):
                out.mux(stream.encode(VideoFrame.from_ndarray(np.asarray(picture))))
            out.mux(stream.encode())
        return file.read()


def repeated(data: bytes, times: int, out: Path) -> None:
    """The clip repeated `times` times as one video, without re-encoding."""
    with av.open(str(out), "w", format="mp4") as target:
        stream, shift = None, 0
        for _ in range(times):
            with tempfile.TemporaryFile() as file:
                file.write(data)
                file.seek(0)
                with av.open(file, "r") as source:
                    picture = source.streams.video[0]
                    stream = stream or target.add_stream_from_template(picture, opaque=True)
                    for packet in source.demux(picture):
                        if packet.pts is None or packet.dts is None:
                            continue
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        packet.stream = stream
                        target.mux(packet)
                    shift += picture.duration or 0


def opened(file: BinaryIO, settings: Settings) -> Video:
    """The video, with every frame sampled."""
    return Video(
        file,
        Sampling(),
        max_pixels=settings.max_pixels,
        max_seconds=settings.max_video_seconds,
        threads=settings.decoders,
    )


def decode_alone(path: Path, settings: Settings) -> int:
    """Decode every frame to an upright RGB image, in a thread pool; returns their number."""
    with (
        path.open("rb") as file,
        opened(file, settings) as video,
        ThreadPoolExecutor(settings.decoders) as pool,
    ):
        return sum(1 for _ in pool.map(lambda frame: frame.picture().shape, video.frames()))


def detect_alone(detector: FaceDetector, pictures: list[Picture], threads: int) -> int:
    """Detect and crop the faces of decoded images; returns the number of images."""

    def look(picture: Picture) -> int:
        return len([crop(picture, face) for face in detector.detect(picture)])

    with ThreadPoolExecutor(threads) as pool:
        return sum(1 for _ in pool.map(look, pictures))


async def whole(engine: Engine, path: Path, sampling: Sampling) -> int:
    """Classify the video; returns the number of frames."""
    with path.open("rb") as file:
        async with aclosing(engine.footage.watch(file, sampling)) as answers:
            return len([1 async for answer in answers if isinstance(answer, FrameResult)])


async def peak_mb(engine: Engine, path: Path, sampling: Sampling) -> float:
    """Peak memory of this process while it classifies a video, in MB; Linux only."""
    process = Path("/proc/self")
    (process / "clear_refs").write_text("5")  # resets the peak
    await whole(engine, path, sampling)
    status = (process / "status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


async def measured(
    rounds: int, seconds: int, minutes: int, every: int, folder: Path
) -> dict[str, Any]:
    """Frames per second, and peak memory in MB by length of the video."""
    settings = Settings()
    configure_opencv()
    short, ten, long = (folder / name for name in ("short.mp4", "ten.mp4", "long.mp4"))
    short.write_bytes(clip(seconds))
    small = clip(10, SMALL, SMALL_SIDE)
    repeated(small, 1, ten)
    repeated(small, minutes * 6, long)
    async with Engine.open(settings) as engine:
        sampling = Sampling(every=every)
        await whole(engine, ten, sampling)  # one-time allocations happen here
        lengths = (("10 s", ten), (f"{minutes} min", long))
        peaks = {name: round(await peak_mb(engine, path, sampling)) for name, path in lengths}
        found = await rates(engine, short, rounds)
    return {**found, "peak_megabytes": peaks}


async def rates(engine: Engine, path: Path, rounds: int) -> dict[str, Any]:
    """Frames per second of each stage alone and of the whole pipeline."""
    settings = engine.settings
    detector = FaceDetector(ModelStore(settings.model_store).detector())
    with path.open("rb") as file, opened(file, settings) as video:
        pictures = [frame.picture() for frame in islice(video.frames(), DETECTED)]
    stages: dict[str, Callable[[], int]] = {
        "decode alone": partial(decode_alone, path, settings),
        "detection alone": partial(detect_alone, detector, pictures, settings.decoders),
    }
    seen: dict[str, list[float]] = {name: [] for name in (*stages, "whole")}
    for _ in range(rounds):
        for name, stage in stages.items():
            start = time.perf_counter()
            frames = await asyncio.to_thread(stage)
            seen[name].append(frames / (time.perf_counter() - start))
        start = time.perf_counter()
        frames = await whole(engine, path, Sampling())
        seen["whole"].append(frames / (time.perf_counter() - start))
    rate = {name: statistics.median(values) for name, values in seen.items()}
    slowest = min(rate[name] for name in stages)
    return {
        "frames_per_second": {name: round(value, 1) for name, value in rate.items()},
        "whole_over_slowest_stage": round(rate["whole"] / slowest, 2),
    }


def main(
    rounds: Annotated[int, typer.Option(help="rounds over all stages")] = 5,
    seconds: Annotated[int, typer.Option(help="length of the video for rates, in seconds")] = 10,
    minutes: Annotated[int, typer.Option(help="length of the video for memory, in minutes")] = 60,
    every: Annotated[int, typer.Option(help="for memory, use every n-th frame")] = 5,
) -> None:
    """Measure, and write benchmarks/results/video.json."""
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(measured(rounds, seconds, minutes, every, Path(folder)))
    save_and_print(result, RESULT)


if __name__ == "__main__":
    typer.run(main)
