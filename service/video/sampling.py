"""Which frames of a video are analysed."""

from dataclasses import dataclass
from math import ceil

from service.errors import BadParameter

MOST_FPS = 1000
"""Highest sampling rate that can be asked for."""
LATEST = 1_000_000
"""Latest time that can be asked for, in seconds."""
_SLACK = 1e-4
"""Tolerance for rounded timestamps, in seconds."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """The wanted part of a video and the frames to analyse in it; by default all.

    Attributes:
        fps: frames a second at most; None for no limit.
        every: every n-th frame; None for all.
        start: in seconds from the start of the video.
        end: likewise, exclusive; None for the end of the video.

    Raises:
        BadParameter: a value out of range, or both `fps` and `every`.
    """

    fps: float | None = None
    every: int | None = None
    start: float = 0.0
    end: float | None = None

    def __post_init__(self) -> None:
        if self.fps is not None and self.every is not None:
            raise BadParameter("send fps or every, not both")
        if self.fps is not None and not 0 < self.fps <= MOST_FPS:
            raise BadParameter(f"fps is above 0 and at most {MOST_FPS}, not {self.fps}")
        if self.every is not None and self.every < 1:
            raise BadParameter(f"every is 1 or more, not {self.every}")
        if not 0 <= self.start <= LATEST:
            raise BadParameter(f"start is 0 to {LATEST:,} s, not {self.start}")
        if self.end is not None and not self.start < self.end <= LATEST:
            raise BadParameter(
                f"end lies after start ({self.start}) and up to {LATEST:,} s, not at {self.end}"
            )

    @property
    def earliest(self) -> float:
        """The earliest time that counts as at the start."""
        return self.start - _SLACK

    def begins(self, time: float) -> bool:
        """Whether a time is at or after the start."""
        return time >= self.earliest

    def ends(self, time: float) -> bool:
        """Whether a time is at or after the end."""
        return self.end is not None and time >= self.end - _SLACK

    def expected(self, fps: float | None, duration: float | None) -> int | None:
        """An estimate of how many frames will be analysed; None if nothing tells."""
        end = duration if self.end is None else min(self.end, duration or self.end)
        if end is None or fps is None:
            return None
        seconds = max(0.0, end - self.start)
        if self.fps is not None and self.fps < fps:
            return max(1, ceil(seconds * self.fps - _SLACK))
        return max(1, ceil(round(seconds * fps) / (self.every or 1)))


class Sampler:
    """Decides for each frame from the start on, in order, whether it is analysed."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._count = 0
        self._due = sampling.start

    def pass_over(self, frames: int) -> None:
        """Skip frames that are damaged."""
        self._count += frames

    def takes(self, time: float) -> bool:
        """Whether to analyse the next frame, shown at `time`."""
        fps, every = self._sampling.fps, self._sampling.every or 1
        self._count += 1
        if fps is None:
            return (self._count - 1) % every == 0
        if time < self._due - _SLACK:
            return False
        steps = int((time + _SLACK - self._sampling.start) * fps) + 1
        self._due = self._sampling.start + steps / fps
        return True
