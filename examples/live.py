"""Classify the faces of a camera or a video, live: ``python examples/live.py [VIDEO]``."""

import argparse
import asyncio
from collections.abc import AsyncIterator

import cv2

from service.client import AsyncClient


async def frames(source: str) -> AsyncIterator[bytes]:
    """JPEG frames at the pace of the camera or the video."""
    capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    if not capture.isOpened():
        raise SystemExit(f"{source} cannot be opened")
    pause = 0 if source.isdecimal() else 1 / (capture.get(cv2.CAP_PROP_FPS) or 25)
    try:
        while True:
            there, picture = await asyncio.to_thread(capture.read)
            if not there:
                return
            yield cv2.imencode(".jpg", picture)[1].tobytes()
            await asyncio.sleep(pause)
    finally:
        capture.release()


async def main(source: str, url: str) -> None:
    """Print a line per face, or the problem of a frame."""
    async with AsyncClient(url) as client:
        async for answer in client.live(frames(source)):
            if answer.problem:
                print(f"frame {answer.seq}: {answer.problem.detail}")
            for face in answer.faces or ():
                print(f"frame {answer.seq}: #{face.track} {face.emotion} {face.confidence:.0%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("source", nargs="?", default="0", help="video file, or number of a camera")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    given = parser.parse_args()
    asyncio.run(main(given.source, given.url))
