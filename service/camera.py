"""A live camera: frames looked at one after the other, people followed."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from service.explanation import LiveResult
from service.tracks import Tracker


class Camera:
    """One camera."""

    def __init__(self, look: Callable[[bytes], Awaitable[LiveResult]], tracker: Tracker) -> None:
        """Nothing has been seen yet.

        Args:
            look: finds the faces of one frame.
            tracker: follows them.
        """
        self._look = look
        self._tracker = tracker

    async def process(self, frame: bytes, time: float) -> LiveResult:
        """What a frame shows, with people's tracks and smoothed scores.

        Args:
            frame: an encoded picture.
            time: when it was taken, in seconds, not before the last one.

        Raises:
            ServiceError: as `Engine.classify` says.
        """
        result = await self._look(frame)
        seen = result.classification
        followed = self._tracker.follow(time, seen.predictions)
        return replace(result, classification=replace(seen, predictions=followed))
