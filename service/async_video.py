"""A video that is open, read by a thread of its own."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from service.own_thread import OwnThread, own_thread
from service.records import VideoInfo
from service.video import Frame, Video


class AsyncVideo:
    """The frames of a video, each decoded while the one before is worked on.

    Attributes:
        info: what the video says of itself.
        span: as `Video.span`.
    """

    def __init__(self, video: Video, thread: OwnThread) -> None:
        self.info: VideoInfo = video.info
        self.span = video.span
        self._frames = video.frames()
        self._thread = thread

    async def frames(self) -> AsyncGenerator[Frame]:
        """All frames from start to end, in order.

        Raises:
            BadInput: as `Video.frames` says.
        """
        while frame := await self._thread.run(next, self._frames, None):
            yield frame

    async def sampled(self) -> AsyncGenerator[Frame]:
        """The frames that are to be looked at."""
        async with aclosing(self.frames()) as frames:
            async for frame in frames:
                if frame.sampled:
                    yield frame


@asynccontextmanager
async def open_async_video(open_video: Callable[[], Video]) -> AsyncIterator[AsyncVideo]:
    """Open a video and close it at the end, also if that comes while it is being opened.

    Args:
        open_video: called in the video's thread.

    Raises:
        BadInput: as `Video` says.
    """
    async with own_thread("video") as thread:
        video = await thread.run(lambda: thread.resources.enter_context(open_video()))
        yield AsyncVideo(video, thread)
