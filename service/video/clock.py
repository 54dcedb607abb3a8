"""The times of a file, in which another one may follow."""

_BEGINNING = 0.5
"""A time before this, in seconds, that is a step back by more than this begins another video.

Other steps back are inaccuracies, or damage that ends with the frame.
"""


class Clock:
    """Goes on where times start over, as they do where another file was appended.

    Args:
        interval: the time to the next frame where the file does not say it, in seconds.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._shift = 0.0
        self._latest = 0.0

    def time(self, stated: float | None) -> float:
        """When the next frame is shown, in seconds, never before the last one.

        Args:
            stated: when the file says so, if it does.
        """
        following = self._latest + self._interval
        time = following if stated is None else stated + self._shift
        if stated is not None and stated < _BEGINNING and time < self._latest - _BEGINNING:
            self._shift += following - time
            time = following
        self._latest = max(self._latest, time)
        return self._latest
