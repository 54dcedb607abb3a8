"""Reading a video from asyncio, in a thread of its own."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from service.own_thread import OwnThread, own_thread
from service.records import VideoInfo
from service.video import Frame, Video


class AsyncVideo:
    """A video whose next frame is decoded while the caller works on the current one.

    Attributes:
        info: `Video.info`.
        span: `Video.span`.
    """

    def __init__(self, video: Video, thread: OwnThread) -> None:
        self.info: VideoInfo = video.info
        self.span = video.span
        self._frames = video.frames()
        self._thread = thread

    async def frames(self) -> AsyncGenerator[Frame]:
        """All frames of the wanted part, in order.

        Raises:
            BadInput: as `Video.frames` does.
        """
        while frame := await self._thread.run(next, self._frames, None):
            yield frame

    async def sampled(self) -> AsyncGenerator[Frame]:
        """The frames to analyse."""
        async with aclosing(self.frames()) as frames:
            async for frame in frames:
                if frame.sampled:
                    yield frame


@asynccontextmanager
async def open_async_video(open_video: Callable[[], Video]) -> AsyncIterator[AsyncVideo]:
    """Open a video, and close it at the end, even if cancelled while opening.

    Args:
        open_video: called in the thread.

    Raises:
        BadInput: as `Video` does.
    """
    async with own_thread("video") as thread:
        video = await thread.run(lambda: thread.resources.enter_context(open_video()))
        yield AsyncVideo(video, thread)
