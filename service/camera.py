"""Live cameras: frames looked at one after the other, people followed."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from service.errors import Overloaded
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


class Cameras:
    """Those that are on."""

    def __init__(self, most: int, half_life: float) -> None:
        """None yet.

        Args:
            most: of them at a time.
            half_life: seconds after which a score counts half in a person's smoothed ones.
        """
        self._most = most
        self._half_life = half_life
        self._on = 0

    @contextmanager
    def open(self, look: Callable[[bytes], Awaitable[Glance]]) -> Iterator[Camera]:
        """One more.

        Args:
            look: as for `Camera`.

        Raises:
            Overloaded: as many are on as may be.
        """
        if self._on >= self._most:
            raise Overloaded(f"{self._on} cameras are on already: try again in 10 s", 10.0)
        self._on += 1
        try:
            yield Camera(look, Tracker(self._half_life))
        finally:
            self._on -= 1
