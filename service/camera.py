"""A live camera: frames looked at one after the other, people followed."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from service.explanation import Glance
from service.tracks import Tracker


class Camera:
    """One camera."""

    def __init__(self, look: Callable[[bytes], Awaitable[Glance]], tracker: Tracker) -> None:
        """Nothing has been seen yet.

        Args:
            look: finds the faces of one frame.
            tracker: follows them.
        """
        self._look = look
        self._tracker = tracker

    async def see(self, frame: bytes, time: float) -> Glance:
        """What a frame shows, with people's tracks and smoothed scores.

        Args:
            frame: an encoded picture.
            time: when it was taken, in seconds, not before the last one.

        Raises:
            ServiceError: as `Engine.classify` says.
        """
        glance = await self._look(frame)
        seen = glance.classification
        followed = self._tracker.follow(time, seen.predictions)
        return replace(glance, classification=replace(seen, predictions=followed))
