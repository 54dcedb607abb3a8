"""Videos and movies are closed before their files, even on cancellation or an error."""

import asyncio
import io
import os
import tempfile
import threading

import numpy as np
import pytest

from service.annotator import writing
from service.async_video import open_async_video
from service.own_thread import own_thread
from service.video import Sampling, Video
from tests.disks import room_for
from tests.videos import counting, encode
from tests.waiting import LIMIT, settle

pytestmark = pytest.mark.anyio


class ObservedVideo(Video):
    """A video that records whether it was closed."""

    closed = False

    def close(self) -> None:
        super().close()
        self.closed = True


def observed_video() -> ObservedVideo:
    data = io.BytesIO(encode(counting(5)))
    return ObservedVideo(data, Sampling(), max_pixels=10**6, max_seconds=60)


async def test_cancellation_while_opening_waits_until_the_video_is_closed() -> None:
    opened: list[ObservedVideo] = []
    begun, free = threading.Event(), threading.Event()

    def slowly() -> ObservedVideo:
        begun.set()
        free.wait(LIMIT)
        opened.append(observed_video())
        return opened[0]

    async def look() -> None:
        async with open_async_video(slowly):
            pytest.fail("it is not open yet")

    looking = asyncio.create_task(look())
    assert await asyncio.to_thread(begun.wait, 60)
    looking.cancel()
    await settle()
    assert not looking.done()
    free.set()
    await asyncio.wait([looking])
    assert looking.cancelled()
    assert opened[0].closed


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.99])
async def test_full_disk_while_writing_a_movie_is_one_error(
    share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (3, 240, 320, 3), dtype=np.uint8)

    async def size_of_movie(room: int) -> int:
        with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as out:
            file.write(encode(counting(5)))
            file.seek(0)
            async with open_async_video(observed_video) as video:
                with room_for(room):
                    async with writing(video, file, out, 1, 10**9) as write:
                        for index, picture in enumerate(noise):
                            await write(picture, index / 25)
            return out.seek(0, os.SEEK_END)

    size = await size_of_movie(10**7)
    with pytest.raises(OSError, match="too large"):
        await size_of_movie(round(size * share))
    assert capfd.readouterr().err == "", "nothing else is said"


async def test_resources_are_closed_even_after_a_second_cancellation() -> None:
    begun, free, closed = threading.Event(), threading.Event(), threading.Event()

    def slowly() -> None:
        begun.set()
        free.wait(LIMIT)

    async def work() -> None:
        async with own_thread("slow") as thread:
            thread.resources.callback(closed.set)
            await thread.run(slowly)

    working = asyncio.create_task(work())
    assert await asyncio.to_thread(begun.wait, 60)
    for _ in range(2):
        working.cancel()
        await settle()
    assert working.cancelled()
    assert not closed.is_set()
    free.set()
    assert await asyncio.to_thread(closed.wait, 60)
