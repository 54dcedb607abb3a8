"""A live camera: its frames processed one after the other, with people tracked."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from service.explanation import LiveResult
from service.tracks import Tracker


class Camera:
    """One camera."""

    def __init__(self, look: Callable[[bytes], Awaitable[LiveResult]], tracker: Tracker) -> None:
        """Start before the first frame.

        Args:
            look: finds and classifies the faces of one frame.
            tracker: tracks them.
        """
        self._look = look
        self._tracker = tracker

    async def process(self, frame: bytes, time: float) -> LiveResult:
        """Classify a frame, with tracks and smoothed scores.

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
